#include "dure/money/ledger.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "money/ledger_codec.h"

namespace dure::money {
namespace {

constexpr std::array<std::string_view, 11> kTypeNames{
    "RESERVE", "SENT",  "PROGRESS", "SETTLE",        "VOID",      "EXPIRE",
    "ADJUST",  "LIMIT", "GRANT",    "PRICE_VERSION", "CHECKPOINT"};

bool is_ledger_name(std::string_view name) {
  return name.size() == 15 && name.ends_with(".ledger") &&
         std::all_of(name.begin(), name.begin() + 8, [](char c) { return c >= '0' && c <= '9'; });
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::optional<std::vector<std::string>> ledgers_in(base::Files& files, const std::string& folder) {
  const auto names = files.list(folder);
  if (!names) return std::nullopt;
  std::vector<std::string> paths;
  for (const std::string& name : *names) {
    if (is_ledger_name(name)) paths.push_back(folder + "/" + name);
  }
  return paths;
}

// What a hold looked like when it was made, and what has happened to it since.
struct Seen {
  std::vector<Posting> postings;
  std::int64_t pico = 0;
  bool ended = false;
};

// Sums over one file, to compare with its checkpoints.
using Key = std::pair<std::uint32_t, std::int64_t>;
struct Sums {
  Totals totals;
  std::map<Key, std::pair<std::int64_t, std::int64_t>> counters;  // held, used
};

// Replays records one after the other and tells the first thing that does not add up.
class Verifier {
 public:
  // `whole`: every file of the folder is read, so that no record may speak of strangers.
  explicit Verifier(bool whole) : whole_(whole) {}

  // A first reading of every file: a hold may be ended, and a budget set, in an older file than
  // the one that uses it.
  void know(const Record& record) {
    if (record.type == RecordType::kLimit) units_[record.budget] = record.spec.unit;
    if (record.type == RecordType::kReserve) {
      holds_[record.id] = {record.postings, record.pico, false};
    }
  }

  // Empty: it adds up.
  std::string add(const Record& record) {
    switch (record.type) {
      case RecordType::kReserve:
        return reserve(record);
      case RecordType::kSent:
      case RecordType::kProgress:
        return known(record) ? "" : "speaks of a hold that nobody made";
      case RecordType::kSettle:
      case RecordType::kVoid:
      case RecordType::kExpire:
        return end(record);
      case RecordType::kAdjust:
        return adjust(record);
      case RecordType::kLimit:
        return "";
      case RecordType::kGrant:
        return known(record.budget) ? "" : "grants on a budget that nobody set";
      case RecordType::kCheckpoint:
        return checkpoint(record);
      case RecordType::kPriceVersion:
        return "";
    }
    return "has no known type";
  }

  void begin_file() { file_ = Sums(); }

  [[nodiscard]] std::int64_t open_holds() const {
    return std::count_if(holds_.begin(), holds_.end(),
                         [](const auto& entry) { return !entry.second.ended; });
  }
  [[nodiscard]] base::int128 spent() const { return spent_; }
  [[nodiscard]] base::int128 held() const { return held_; }

 private:
  [[nodiscard]] bool known(const Record& record) const {
    return holds_.contains(record.id) || (!whole_ && record.id.epoch != record.epoch);
  }
  [[nodiscard]] bool known(std::uint32_t budget) const {
    return units_.contains(budget) || !whole_;
  }

  [[nodiscard]] std::int64_t in_unit(std::uint32_t budget, std::int64_t pico,
                                     std::int64_t tokens) const {
    const auto unit = units_.find(budget);
    if (unit == units_.end() || unit->second == BudgetUnit::kRequests) return 1;
    return unit->second == BudgetUnit::kPico ? pico : tokens;
  }

  void post(const Record& record) {
    file_.totals.apply(record);
    for (const Posting& posting : record.postings) {
      auto& [held, used] = file_.counters[{posting.budget, posting.window_start_us}];
      held += posting.held;
      used += posting.used;
    }
  }

  std::string reserve(const Record& record) {
    if (record.id != ReservationId{record.epoch, record.seq}) return "has another record's id";
    for (const Posting& posting : record.postings) {
      if (!known(posting.budget)) return "holds in a budget that nobody set";
      if (posting.used != 0) return "uses before it settles";
      const std::int64_t expected = in_unit(posting.budget, record.pico, record.tokens);
      if (units_.contains(posting.budget) && posting.held != expected && posting.held != 0)
        return "holds another amount than its own";
    }
    holds_.emplace(record.id, Seen{record.postings, record.pico, false});
    held_ += record.pico;
    post(record);
    return "";
  }

  std::string end(const Record& record) {
    const auto hold = holds_.find(record.id);
    if (hold == holds_.end() && known(record)) {
      count_end(record);
      return "";
    }
    if (hold == holds_.end()) return "ends a hold that nobody made";
    if (hold->second.ended) return "ends a hold a second time";
    if (record.held_pico != hold->second.pico) return "gives back another amount than was held";
    if (record.postings.size() != hold->second.postings.size()) return "moves other budgets";
    const bool settles = record.type == RecordType::kSettle;
    if (!settles && (record.pico != 0 || record.tokens != 0)) return "voids but costs";
    for (std::size_t i = 0; i < record.postings.size(); ++i) {
      const Posting& given = record.postings[i];
      const Posting& taken = hold->second.postings[i];
      if (given.budget != taken.budget || given.window_start_us != taken.window_start_us) {
        return "moves other budgets than the hold";
      }
      if (given.held != -taken.held) return "gives back another amount than was held";
      const std::int64_t used = settles ? in_unit(given.budget, record.pico, record.tokens) : 0;
      if (units_.contains(given.budget) && given.used != used)
        return "uses another amount than it settles";
    }
    hold->second.ended = true;
    count_end(record);
    return "";
  }

  void count_end(const Record& record) {
    held_ -= record.held_pico;
    spent_ += record.pico;
    post(record);
  }

  std::string adjust(const Record& record) {
    if (!known(record)) return "adjusts a hold that nobody made";
    spent_ += record.pico;
    post(record);
    return "";
  }

  std::string checkpoint(const Record& record) {
    const Totals& told = record.totals;
    const Totals& sum = file_.totals;
    if (told != sum) {
      return "differs from the sum of the records before it: spent " + format_dollars(told.spent) +
             " against " + format_dollars(sum.spent) + ", held " + format_dollars(told.held) +
             " against " + format_dollars(sum.held);
    }
    std::map<Key, std::pair<std::int64_t, std::int64_t>> counters;
    for (const Posting& posting : record.postings) {
      counters[{posting.budget, posting.window_start_us}] = {posting.held, posting.used};
    }
    std::erase_if(file_.counters, [](const auto& entry) {
      return entry.second == std::pair<std::int64_t, std::int64_t>{0, 0};
    });
    return counters == file_.counters ? "" : "differs from the sum of the budgets before it";
  }

  const bool whole_;
  std::map<ReservationId, Seen> holds_;
  std::map<std::uint32_t, BudgetUnit> units_;
  Sums file_;
  base::int128 spent_ = 0;
  base::int128 held_ = 0;
};

}  // namespace

void Totals::apply(const Record& record) noexcept {
  switch (record.type) {
    case RecordType::kReserve:
      ++reserved;
      ++open;
      held += record.pico;
      return;
    case RecordType::kSettle:
    case RecordType::kVoid:
    case RecordType::kExpire:
      ++(record.type == RecordType::kSettle ? settled : voided);
      --open;
      held -= record.held_pico;
      [[fallthrough]];
    case RecordType::kAdjust:
      spent += record.pico;
      tokens += record.tokens;
      return;
    default:
      return;
  }
}

std::string_view name(RecordType type) noexcept {
  return kTypeNames[static_cast<std::size_t>(type) - 1];
}

base::Result<std::uint64_t> read_ledger(base::Files& files, const std::string& path,
                                        const std::function<bool(const Record&)>& each) {
  const auto bytes = files.read(path);
  if (!bytes) return base::fail(bytes.error());
  if (bytes->size() < kHeaderBytes) return bytes->size();  // died while it began
  const auto header = decode_header(*bytes, path);
  if (!header) return base::fail(header.error());
  std::size_t offset = kHeaderBytes;
  Record record;
  std::uint64_t seq = 1;
  while (decode_next(*bytes, offset, header->epoch, seq, record)) {
    if (!each(record)) return 0;
    ++seq;
  }
  if (has_record_after(*bytes, offset, seq)) {
    return base::fail(base::Status(base::Code::kCorrupt,
                                   path + " is damaged at byte " + std::to_string(offset) +
                                       " (record " + std::to_string(seq) +
                                       "): nothing is skipped; restore it from a backup, or move "
                                       "it away and keep it")
                          .with("path", path)
                          .with("offset", static_cast<std::int64_t>(offset)));
  }
  return bytes->size() - offset;
}

base::Result<std::vector<std::string>> ledger_files(base::Files& files, const std::string& path) {
  if (is_ledger_name(base_name(path))) return std::vector<std::string>{path};
  if (auto inside = ledgers_in(files, path + "/ledger")) return *inside;
  if (auto here = ledgers_in(files, path); here && !here->empty()) return *here;
  return base::fail(
      base::Status(base::Code::kNotFound, "No ledger in " + path +
                                              ": name a data folder (dure --data), its "
                                              "ledger folder, or a .ledger file")
          .with("path", path));
}

base::Result<LedgerReport> verify_ledger(base::Files& files, const std::string& path) {
  const auto paths = ledger_files(files, path);
  if (!paths) return base::fail(paths.error());
  LedgerReport report;
  Verifier verifier(!is_ledger_name(base_name(path)));
  for (const std::string& file : *paths) {
    (void)read_ledger(files, file, [&](const Record& record) {  // damage is told below
      verifier.know(record);
      return true;
    });
  }
  for (const std::string& file : *paths) {
    verifier.begin_file();
    ++report.files;
    std::string difference;
    const auto tail = read_ledger(files, file, [&](const Record& record) {
      ++report.records;
      difference = verifier.add(record);
      if (!difference.empty()) {
        difference = "record " + std::to_string(record.seq) + " (" +
                     std::string(name(record.type)) + ") " + difference;
      }
      return difference.empty();
    });
    if (!tail) {
      if (tail.error().code() != base::Code::kCorrupt) return base::fail(tail.error());
      difference = tail.error().message();
    } else if (*tail > 0 && difference.empty()) {
      difference = "the last " + std::to_string(*tail) +
                   " bytes are no record: a torn tail, cut when the account is next opened";
    }
    if (!difference.empty() && report.ok) {
      report.ok = false;
      report.first_difference = base_name(file) + " " + difference;
    }
  }
  report.open_holds = verifier.open_holds();
  report.spent = verifier.spent();
  report.held = verifier.held();
  return report;
}

}  // namespace dure::money
