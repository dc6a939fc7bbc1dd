#include "dure/money/ledger.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>

#include "dure/base/cancel.h"
#include "money/board.h"
#include "money/ledger_codec.h"
#include "money/ledger_index.h"
#include "money/posting_sums.h"

namespace dure::money {
namespace {

constexpr std::array<std::string_view, 12> kTypeNames{
    "RESERVE", "SENT",  "PROGRESS", "SETTLE",        "VOID",       "EXPIRE",
    "ADJUST",  "LIMIT", "GRANT",    "PRICE_VERSION", "CHECKPOINT", "ALERT"};

bool is_ledger_name(std::string_view name) {
  return name.size() == 15 && name.ends_with(".ledger") &&
         std::all_of(name.begin(), name.begin() + 8, [](char c) { return c >= '0' && c <= '9'; });
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::optional<std::vector<std::string>> ledgers_in(base::Files& files, const std::string& folder) {
  const auto names = files.list(folder);
  if (!names) return std::nullopt;
  std::vector<std::string> paths;
  for (const std::string& name : *names) {
    if (is_ledger_name(name)) paths.push_back(folder + "/" + name);
  }
  return paths;
}

// Sums over one file, to compare with its checkpoints.
struct Sums {
  Totals totals;
  PostingSums counters;
};

// What every hold looked like when it was made, and whether it was ended: 24 bytes and its
// postings each.
class Holds {
 public:
  struct Hold {
    std::int64_t pico = 0;
    std::size_t first = 0;
    std::uint32_t count = 0;
    bool ended = false;
  };

  void add(const Record& record) {
    auto& of_epoch = index_[record.id.epoch];
    if (of_epoch.size() <= record.id.seq) of_epoch.resize(record.id.seq + record.id.seq / 2 + 64);
    of_epoch[record.id.seq] = static_cast<std::uint32_t>(holds_.size() + 1);
    holds_.push_back(
        {record.pico, postings_.size(), static_cast<std::uint32_t>(record.postings.size()), false});
    postings_.insert(postings_.end(), record.postings.begin(), record.postings.end());
    ++open_;
  }
  Hold* find(ReservationId id) {
    const auto of_epoch = index_.find(id.epoch);
    if (of_epoch == index_.end() || of_epoch->second.size() <= id.seq) return nullptr;
    const std::uint32_t place = of_epoch->second[id.seq];
    return place == 0 ? nullptr : &holds_[place - 1];
  }
  [[nodiscard]] std::span<const Posting> postings(const Hold& hold) const {
    return std::span(postings_).subspan(hold.first, hold.count);
  }
  void end(Hold& hold) {
    hold.ended = true;
    --open_;
  }
  [[nodiscard]] std::int64_t open() const noexcept { return open_; }

 private:
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> index_;  // by epoch, by seq
  std::vector<Hold> holds_;
  std::vector<Posting> postings_;
  std::int64_t open_ = 0;
};

// Replays records one after the other and tells the first thing that does not add up.
class Verifier {
 public:
  // `whole`: every file of the folder is read, so that no record may speak of strangers.
  explicit Verifier(bool whole) : whole_(whole) {}

  // A first look at every file: a budget may be set in a later one than that which uses it.
  void know(const Record& limit) {
    if (units_.size() <= limit.budget) units_.resize(limit.budget + 1);
    units_[limit.budget] = limit.spec.unit;
  }
  void begin_file() { file_ = Sums(); }

  // Empty: it adds up. A record that speaks of a hold of a file not read yet is kept for `finish`.
  std::string add(const Record& record) {
    count(record);
    switch (record.type) {
      case RecordType::kReserve:
        return reserve(record);
      case RecordType::kSent:
      case RecordType::kProgress:
      case RecordType::kAdjust:
      case RecordType::kSettle:
      case RecordType::kVoid:
      case RecordType::kExpire:
        if (record.id.epoch > record.epoch && holds_.find(record.id) == nullptr) {
          waiting_.push_back(record);
          return "";
        }
        return follow(record);
      case RecordType::kGrant:
        return known(record.budget) ? "" : "grants on a budget that nobody set";
      case RecordType::kAlert:
        return known(record.budget) ? "" : "tells of a budget that nobody set";
      case RecordType::kCheckpoint:
        return checkpoint(record);
      case RecordType::kLimit:
      case RecordType::kPriceVersion:
        return "";
    }
    return "has no known type";
  }
  // After the last file: the first kept record that does not add up.
  std::optional<std::pair<Record, std::string>> finish() {
    for (const Record& record : waiting_) {
      if (std::string wrong = follow(record); !wrong.empty()) return std::pair(record, wrong);
    }
    return std::nullopt;
  }

  [[nodiscard]] std::int64_t open_holds() const { return holds_.open(); }
  [[nodiscard]] const Totals& all() const { return all_; }

 private:
  void count(const Record& record) {
    if (record.type == RecordType::kCheckpoint) return;
    all_.apply(record);
    file_.totals.apply(record);
    file_.counters.add(record);
  }
  [[nodiscard]] bool has_unit(std::uint32_t budget) const {
    return budget < units_.size() && units_[budget].has_value();
  }
  [[nodiscard]] bool known(std::uint32_t budget) const { return has_unit(budget) || !whole_; }

  [[nodiscard]] std::int64_t in_unit(std::uint32_t budget, std::int64_t pico,
                                     std::int64_t tokens) const {
    if (!has_unit(budget) || units_[budget] == BudgetUnit::kRequests) return 1;
    return units_[budget] == BudgetUnit::kPico ? pico : tokens;
  }

  std::string reserve(const Record& record) {
    if (record.id != ReservationId{record.epoch, record.seq}) return "has another record's id";
    for (const Posting& posting : record.postings) {
      if (!known(posting.budget)) return "holds in a budget that nobody set";
      if (posting.used != 0) return "uses before it settles";
      const std::int64_t expected = in_unit(posting.budget, record.pico, record.tokens);
      if (has_unit(posting.budget) && posting.held != expected && posting.held != 0)
        return "holds another amount than its own";
    }
    holds_.add(record);
    return "";
  }

  // A record that speaks of a hold.
  std::string follow(const Record& record) {
    Holds::Hold* hold = holds_.find(record.id);
    const bool ends = record.type == RecordType::kSettle || record.type == RecordType::kVoid ||
                      record.type == RecordType::kExpire;
    if (hold == nullptr) {
      if (!whole_ && record.id.epoch != record.epoch) return "";
      return std::string(ends ? "ends" : "speaks of") + " a hold that nobody made";
    }
    return ends ? end(record, *hold) : "";
  }

  std::string end(const Record& record, Holds::Hold& hold) {
    if (hold.ended) return "ends a hold a second time";
    if (record.held_pico != hold.pico) return "gives back another amount than was held";
    if (record.postings.size() != hold.count) return "moves other budgets";
    const bool settles = record.type == RecordType::kSettle;
    if (!settles && (record.pico != 0 || record.tokens != 0)) return "voids but costs";
    const std::span<const Posting> taken = holds_.postings(hold);
    for (std::size_t i = 0; i < record.postings.size(); ++i) {
      const Posting& given = record.postings[i];
      if (given.budget != taken[i].budget || given.window_start_us != taken[i].window_start_us) {
        return "moves other budgets than the hold";
      }
      if (given.held != -taken[i].held) return "gives back another amount than was held";
      const std::int64_t used = settles ? in_unit(given.budget, record.pico, record.tokens) : 0;
      if (has_unit(given.budget) && given.used != used) {
        return "uses another amount than it settles";
      }
    }
    holds_.end(hold);
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
    return file_.counters.equal(record.postings) ? ""
                                                 : "differs from the sum of the budgets before it";
  }

  const bool whole_;
  Holds holds_;
  std::vector<std::optional<BudgetUnit>> units_;  // by number of the budget
  std::vector<Record> waiting_;
  Sums file_;
  Totals all_;
};

// A file's records, and what lies behind the last one.
struct Scan {
  FileEnd end;
  std::uint64_t torn = 0;  // bytes up to the last that is not zero
};

// `any_tail`: whatever follows the last whole record is a torn tail, also another record.
base::Result<Scan> scan(std::string_view bytes, const std::string& path,
                        const std::function<bool(const Record&)>& each, bool any_tail = false) {
  Scan scan;
  if (bytes.size() < kHeaderBytes) {  // died while it began
    scan.torn = bytes.size();
    return scan;
  }
  if (is_blank(bytes)) return scan;  // it has its space, nothing else
  const auto header = decode_header(bytes, path);
  if (!header) return base::fail(header.error());
  std::size_t offset = kHeaderBytes;
  Record record;
  base::CancelTick<1024> tick;
  while (decode_next(bytes, offset, header->epoch, scan.end.records + 1, record)) {
    tick();
    if (!each(record)) return scan;
    ++scan.end.records;
  }
  scan.end.bytes = offset;
  const std::size_t last = bytes.find_last_not_of('\0');
  scan.torn = last == std::string_view::npos || last < offset ? 0 : last + 1 - offset;
  if (scan.torn > 0 && !any_tail && has_record_after(bytes, offset, scan.end.records + 1)) {
    return base::fail(base::Status(base::Code::kCorrupt,
                                   path + " is damaged at byte " + std::to_string(offset) +
                                       " (record " + std::to_string(scan.end.records + 1) +
                                       "): nothing is skipped; restore it from a backup, or move "
                                       "it away and keep it")
                          .with("path", path)
                          .with("offset", static_cast<std::int64_t>(offset)));
  }
  return scan;
}

// What the folder says beside its files: where each ends.
struct Folder {
  LedgerIndex index;
  bool torn_index = false;
  bool board = false;  // there is one
  std::vector<Board::Reading> slots;

  [[nodiscard]] const Board::Reading* slot(std::uint64_t epoch) const {
    const auto found = std::find_if(slots.begin(), slots.end(),
                                    [&](const auto& entry) { return entry.epoch == epoch; });
    return found == slots.end() ? nullptr : &*found;
  }
};

base::Result<std::vector<Board::Reading>> read_board(base::Files& files, const std::string& folder,
                                                     bool* there = nullptr) {
  constexpr int kLooks = 3;  // a word may be stored while it is read; damage stays
  for (int look = 1;; ++look) {
    const auto bytes = files.read(folder + "/board");
    if (!bytes && bytes.error().code() != base::Code::kNotFound) return base::fail(bytes.error());
    if (there != nullptr) *there = bytes && !Board::is_blank(*bytes);
    auto slots = Board::read(bytes ? std::string_view(*bytes) : std::string_view(), files.boot());
    if (slots || look == kLooks) return slots;
  }
}

// The board before the index: a file that ends meanwhile has its end in the one or the other.
base::Result<Folder> read_folder(base::Files& files, const std::string& folder) {
  Folder told;
  auto slots = read_board(files, folder, &told.board);
  if (!slots) return base::fail(std::move(slots.error()));
  told.slots = std::move(*slots);
  auto index = read_index(files, folder, &told.torn_index);
  if (!index) return base::fail(std::move(index.error()));
  told.index = std::move(*index);
  return told;
}

std::uint64_t epoch_of(const std::string& path) {
  return std::strtoull(base_name(path).c_str(), nullptr, 10);
}

// The proof of one folder or file.
class Proof {
 public:
  Proof(base::Files& files, std::string folder, bool whole)
      : files_(files), folder_(std::move(folder)), whole_(whole), verifier_(whole) {}

  base::Result<LedgerReport> run(const std::vector<std::string>& paths) {
    auto told = read_folder(files_, folder_);
    if (!told && told.error().code() != base::Code::kCorrupt) {
      return base::fail(std::move(told.error()));
    }
    if (!told) differs("", told.error().message());
    if (told) told_ = std::move(*told);
    if (whole_) check_index(paths);
    for (const std::string& path : paths) {
      if (base::Status status = look_for_limits(path); !status.ok()) return base::fail(status);
    }
    for (const std::string& path : paths) {
      if (base::Status status = read(path); !status.ok()) return base::fail(status);
    }
    if (const auto wrong = verifier_.finish()) {
      differs(base_name(ledger_path(folder_, wrong->first.epoch)), shown(*wrong));
    }
    report_.open_holds = verifier_.open_holds();
    report_.spent = verifier_.all().spent;
    report_.held = verifier_.all().held;
    return std::move(report_);
  }

 private:
  void differs(const std::string& where, const std::string& what) {
    if (what.empty() || !report_.ok) return;
    report_.ok = false;
    report_.first_difference = where.empty() ? what : where + " " + what;
  }
  static std::string shown(const std::pair<Record, std::string>& wrong) {
    return "record " + std::to_string(wrong.first.seq) + " (" +
           std::string(name(wrong.first.type)) + ") " + wrong.second;
  }

  void check_index(const std::vector<std::string>& paths) {
    if (told_.torn_index) {
      differs("epochs", "ends in half a line: mended when the account is next opened");
    }
    for (const auto& [epoch, end] : told_.index) {
      const std::string path = ledger_path(folder_, epoch);
      if (std::find(paths.begin(), paths.end(), path) == paths.end()) {
        differs(base_name(path),
                "is missing" + (end ? " with its " + std::to_string(end->records) + " records"
                                    : std::string()));
      } else if (!end && told_.slot(epoch) == nullptr && !is_told(epoch)) {
        differs(base_name(path),
                std::string("has no known end: ") +
                    (told_.board ? "`board` does not know it" : "`board` is missing") +
                    ", so that nobody can tell whether records were cut off; what it holds counts "
                    "from when the account is next opened");
      }
    }
  }

  // Whether index or board tell its end now: it may have been begun or ended while we read.
  [[nodiscard]] bool is_told(std::uint64_t epoch) {
    const auto now = read_folder(files_, folder_);
    if (!now) return false;
    const auto listed = now->index.find(epoch);
    return now->slot(epoch) != nullptr ||
           (listed != now->index.end() && listed->second.has_value());
  }

  base::Status look_for_limits(const std::string& path) {
    const auto bytes = files_.read(path);
    if (!bytes) return bytes.error();
    std::size_t offset = kHeaderBytes;
    Record record;
    for (std::uint64_t seq = 1;; ++seq) {
      std::size_t at = offset;
      const std::uint8_t type = skip_record(*bytes, offset);
      if (type == 0) return {};
      if (type == static_cast<std::uint8_t>(RecordType::kLimit) &&
          decode_next(*bytes, at, 0, seq, record) && record.budget < kMostBudgets) {
        verifier_.know(record);
      }
    }
  }

  base::Status read(const std::string& path) {
    const auto bytes = files_.read(path);
    if (!bytes) return bytes.error();
    ++report_.files;
    verifier_.begin_file();
    const Board::Reading* slot = told_.slot(epoch_of(path));
    std::string_view whole = *bytes;
    if (slot != nullptr && slot->sealed) whole = whole.substr(0, slot->end.bytes);
    std::string wrong;
    const auto check = [&](const Record& record) {
      ++report_.records;
      wrong = verifier_.add(record);
      if (!wrong.empty()) wrong = shown({record, wrong});
      return wrong.empty();
    };
    const auto found = scan(whole, path, check, slot != nullptr && slot->restarted);
    const bool newer = !found && found.error().leaf() == "StoreVersionError";  // the others count
    if (!found && !newer && found.error().code() != base::Code::kCorrupt) return found.error();
    differs(base_name(path), found ? wrong : found.error().message());
    if (found && wrong.empty()) differs(base_name(path), check_end(path, *found, slot));
    return {};
  }

  std::string check_end(const std::string& path, const Scan& found, const Board::Reading* slot) {
    const auto listed = told_.index.find(epoch_of(path));
    const bool exactly = listed != told_.index.end() && listed->second.has_value();
    if (exactly) {
      if (std::string wrong = difference(found.end, *listed->second, true); !wrong.empty()) {
        return wrong;
      }
    } else if (slot != nullptr && slot->end.bytes > 0) {
      if (std::string wrong = difference(found.end, slot->end, false); !wrong.empty()) return wrong;
    }
    if (found.torn > 0 && !is_being_written(slot)) {
      return "the last " + std::to_string(found.torn) +
             " bytes are no record: a torn tail, cut when the account is next opened";
    }
    if (whole_ && found.end.records > 0 && listed == told_.index.end()) {
      return "is not in `epochs`: that file is damaged, or was deleted; it is mended when the "
             "account is next opened";
    }
    return "";
  }

  // True if the owner was storing a record while we read.
  bool is_being_written(const Board::Reading* before) {
    if (before == nullptr || before->sealed) return before != nullptr;
    if (before->writing) return true;
    const auto slots = read_board(files_, folder_);
    if (!slots) return false;
    for (const Board::Reading& now : *slots) {
      if (now.epoch == before->epoch) return now.writing || now.end != before->end;
    }
    return true;  // ended and cut meanwhile
  }

  static constexpr std::uint32_t kMostBudgets = 1U << 24U;

  base::Files& files_;
  const std::string folder_;
  const bool whole_;
  Verifier verifier_;
  Folder told_;
  LedgerReport report_;
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

void Record::clear() noexcept {
  if (type == RecordType::kLimit) spec = {};  // no other has one
  type = RecordType::kReserve;
  flags = 0;
  epoch = seq = 0;
  at_us = 0;
  id = {};
  postings.clear();
  pico = tokens = held_pico = 0;
  bound = {};
  lease_us = 0;
  attempt = 0;
  for (std::string* text : {&model, &service, &call_id, &key_id, &price_version, &service_tier,
                            &region, &returned_model, &request_id}) {
    text->clear();
  }
  scopes.clear();
  parent = {};
  units.clear();
  rates.clear();
  budget = 0;
  revision = 0;
  amount = until_us = 0;
  totals = {};
  closed = false;
}

std::string_view name(RecordType type) noexcept {
  return kTypeNames[static_cast<std::size_t>(type) - 1];
}

base::Result<std::uint64_t> read_ledger(base::Files& files, const std::string& path,
                                        const std::function<bool(const Record&)>& each) {
  const auto bytes = files.read(path);
  if (!bytes) return base::fail(bytes.error());
  const auto found = scan(*bytes, path, each);
  if (!found) return base::fail(found.error());
  return found->torn;
}

base::Result<LedgerPlace> read_ledger_on(base::Files& files, const std::string& path,
                                         LedgerPlace from,
                                         const std::function<void(const Record&)>& each) {
  auto file = files.open_read(path);
  if (!file) return base::fail(std::move(file.error()));
  const auto size = (*file)->size();
  if (!size) return base::fail(size.error());
  if (*size < kHeaderBytes || *size <= from.bytes) return from;
  const auto head = (*file)->read_at(0, kHeaderBytes);
  if (!head) return base::fail(head.error());
  const auto header = decode_header(*head, path);
  if (!header) return base::fail(header.error());
  from.bytes = std::max<std::uint64_t>(from.bytes, kHeaderBytes);
  const auto bytes = (*file)->read_at(from.bytes, *size - from.bytes);
  if (!bytes) return base::fail(bytes.error());
  std::size_t offset = 0;
  Record record;
  while (decode_next(*bytes, offset, header->epoch, from.records + 1, record)) {
    ++from.records;
    each(record);
  }
  from.bytes += offset;
  return from;
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
  const bool whole = !is_ledger_name(base_name(path));
  const std::string folder = paths->empty() ? path + "/ledger" : folder_of(paths->front());
  return Proof(files, folder, whole).run(*paths);
}

}  // namespace dure::money
