#include "money/ledger_codec.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include "dure/base/hash.h"

namespace dure::money {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little-endian");

constexpr std::string_view kMagic = "DURELDG1";
constexpr std::size_t kRecordHead = 20;  // length, crc, type, version, flags, seq
constexpr std::uint8_t kRecordVersion = 1;
constexpr std::uint32_t kMostPayload = 1U << 24U;
constexpr std::size_t kMostText = 255;

// Stores fields one behind the other. REQUIRES: room for all of them.
class Writer {
 public:
  explicit Writer(char* at) noexcept : at_(at) {}

  template <typename T>
  void put(T value) noexcept {
    static_assert(std::is_integral_v<T>);
    std::memcpy(at_, &value, sizeof(value));
    at_ += sizeof(value);
  }
  void put_int128(base::int128 value) noexcept {
    put(static_cast<std::uint64_t>(value));
    put(static_cast<std::int64_t>(value >> 64));
  }
  void put_text(std::string_view text) noexcept {
    const std::size_t size = std::min(text.size(), kMostText);
    put(static_cast<std::uint8_t>(size));
    if (size != 0) std::memcpy(at_, text.data(), size);  // no text may have no place
    at_ += size;
  }
  [[nodiscard]] char* at() const noexcept { return at_; }

 private:
  char* at_;
};

// No record of this content is larger.
std::size_t most_bytes(const Record& record) noexcept {
  constexpr std::size_t kFixed = 256;  // head, padding, every field of fixed size
  std::size_t texts = 0;
  for (const std::string* text :
       {&record.model, &record.service, &record.call_id, &record.key_id, &record.price_version,
        &record.service_tier, &record.region, &record.returned_model, &record.request_id,
        &record.spec.scope, &record.spec.window.name, &record.spec.window.zone}) {
    texts += 1 + std::min(text->size(), kMostText);
  }
  for (const std::string& scope : record.scopes) texts += 1 + std::min(scope.size(), kMostText);
  return kFixed + texts + 28 * record.postings.size() + 9 * record.units.size() +
         16 * record.rates.size() + record.spec.alerts.size() +
         8 * record.spec.window.edges_us.size();
}

// Reads fields in order; once something is missing everything reads as zero and ok is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  T get() {
    T value{};
    if (bytes_.size() < sizeof(T)) {
      ok = false;
      return value;
    }
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_.remove_prefix(sizeof(T));
    return value;
  }
  base::int128 get_int128() {
    const auto low = get<std::uint64_t>();
    const auto high = get<std::int64_t>();
    return (static_cast<base::int128>(high) << 64) | low;
  }
  void get_text(std::string& text) {
    const std::size_t size = get<std::uint8_t>();
    if (bytes_.size() < size) {
      ok = false;
      return text.clear();
    }
    text.assign(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
  }
  // A count that the remaining bytes can hold at `each` bytes.
  std::size_t get_count(std::size_t each) {
    const std::size_t count = get<std::uint32_t>();
    if (count > bytes_.size() / each) {
      ok = false;
      return 0;
    }
    return count;
  }
  // False where records of earlier versions end.
  [[nodiscard]] bool has_more() const noexcept { return !bytes_.empty(); }

  bool ok = true;

 private:
  std::string_view bytes_;
};

void put_postings(Writer& out, const Record& record) {
  out.put(static_cast<std::uint32_t>(record.postings.size()));
  for (const Posting& posting : record.postings) {
    out.put(posting.budget);
    out.put(posting.window_start_us);
    out.put(posting.held);
    out.put(posting.used);
  }
}

void get_postings(Reader& in, Record& record) {
  const std::size_t count = in.get_count(28);
  record.postings.resize(count);
  for (Posting& posting : record.postings) {
    posting.budget = in.get<std::uint32_t>();
    posting.window_start_us = in.get<std::int64_t>();
    posting.held = in.get<std::int64_t>();
    posting.used = in.get<std::int64_t>();
  }
}

void put_reserve(Writer& out, const Record& record) {
  out.put(record.bound.input_pico);
  out.put(record.bound.input_tokens);
  out.put(record.bound.output_rate);
  out.put(record.bound.choices);
  out.put(record.bound.max_output_tokens);
  out.put(static_cast<std::uint8_t>(record.bound.kind));
  out.put(static_cast<std::uint8_t>(record.bound.hidden_output ? 1 : 0));
  out.put(record.attempt);
  out.put(record.lease_us);
  out.put_text(record.model);
  out.put_text(record.service);
  out.put_text(record.call_id);
  out.put_text(record.key_id);
  out.put(static_cast<std::uint32_t>(record.scopes.size()));
  for (const std::string& scope : record.scopes) out.put_text(scope);
  if (record.parent.epoch == 0) return;
  out.put(record.parent.epoch);
  out.put(record.parent.seq);
}

void get_reserve(Reader& in, Record& record) {
  record.bound.pico = record.pico;
  record.bound.tokens = record.tokens;
  record.bound.input_pico = in.get<std::int64_t>();
  record.bound.input_tokens = in.get<std::int64_t>();
  record.bound.output_rate = in.get<std::int64_t>();
  record.bound.choices = in.get<std::int64_t>();
  record.bound.max_output_tokens = in.get<std::int64_t>();
  record.bound.kind = static_cast<BoundKind>(in.get<std::uint8_t>());
  record.bound.hidden_output = in.get<std::uint8_t>() != 0;
  record.attempt = in.get<std::uint16_t>();
  record.lease_us = in.get<std::int64_t>();
  in.get_text(record.model);
  in.get_text(record.service);
  in.get_text(record.call_id);
  in.get_text(record.key_id);
  record.scopes.resize(in.get_count(1));
  for (std::string& scope : record.scopes) in.get_text(scope);
  if (!in.has_more()) return;
  record.parent.epoch = in.get<std::uint64_t>();
  record.parent.seq = in.get<std::uint64_t>();
}

void put_settle(Writer& out, const Record& record) {
  out.put(record.held_pico);
  out.put(static_cast<std::uint32_t>(record.units.size()));
  for (const auto& [unit, quantity] : record.units) {
    out.put(static_cast<std::uint8_t>(unit));
    out.put(quantity);
  }
  out.put_text(record.price_version);
}

void get_settle(Reader& in, Record& record) {
  record.held_pico = in.get<std::int64_t>();
  record.units.resize(in.get_count(9));
  for (auto& [unit, quantity] : record.units) {
    unit = static_cast<catalog::Unit>(in.get<std::uint8_t>());
    quantity = in.get<std::int64_t>();
  }
  in.get_text(record.price_version);
}

// What the answer said, and at which prices: behind the rest, where earlier versions end.
void put_answer(Writer& out, const Record& record) {
  const auto texts = {&record.service_tier, &record.region, &record.returned_model,
                      &record.request_id};
  const bool silent = std::all_of(texts.begin(), texts.end(),
                                  [](const std::string* text) { return text->empty(); });
  if (silent && record.rates.empty()) return;
  for (const std::string* text : texts) out.put_text(*text);
  out.put(static_cast<std::uint32_t>(record.rates.size()));
  for (const catalog::Rate& rate : record.rates) {
    out.put(rate.pico);
    out.put(rate.per);
  }
}

void get_answer(Reader& in, Record& record) {
  if (!in.has_more()) return;
  for (std::string* text :
       {&record.service_tier, &record.region, &record.returned_model, &record.request_id}) {
    in.get_text(*text);
  }
  record.rates.resize(in.get_count(16));
  for (catalog::Rate& rate : record.rates) {
    rate.pico = in.get<std::int64_t>();
    rate.per = in.get<std::int64_t>();
  }
}

void put_limit(Writer& out, const Record& record) {
  const BudgetSpec& spec = record.spec;
  out.put(record.budget);
  out.put(record.revision);
  out.put_text(spec.scope);
  out.put(static_cast<std::uint8_t>(spec.unit));
  out.put(static_cast<std::uint8_t>(spec.on_limit));
  out.put(spec.limit);
  out.put_text(spec.window.name);
  out.put_text(spec.window.zone);
  out.put(std::int64_t{spec.window.rolling.count()});
  out.put_text({reinterpret_cast<const char*>(spec.alerts.data()), spec.alerts.size()});
  out.put(static_cast<std::uint32_t>(spec.window.edges_us.size()));
  for (const std::int64_t edge : spec.window.edges_us) out.put(edge);
  if (spec.forbids_provider_side) out.put(std::uint8_t{1});
}

void get_limit(Reader& in, Record& record) {
  BudgetSpec& spec = record.spec;
  record.budget = in.get<std::uint32_t>();
  record.revision = in.get<std::uint64_t>();
  in.get_text(spec.scope);
  spec.unit = static_cast<BudgetUnit>(in.get<std::uint8_t>());
  spec.on_limit = static_cast<OnLimit>(in.get<std::uint8_t>());
  spec.limit = in.get<std::int64_t>();
  in.get_text(spec.window.name);
  in.get_text(spec.window.zone);
  spec.window.rolling = base::Duration(in.get<std::int64_t>());
  std::string alerts;
  in.get_text(alerts);
  spec.alerts.assign(alerts.begin(), alerts.end());
  spec.window.edges_us.resize(in.get_count(8));
  for (std::int64_t& edge : spec.window.edges_us) edge = in.get<std::int64_t>();
  spec.forbids_provider_side = in.has_more() && in.get<std::uint8_t>() != 0;
}

void put_checkpoint(Writer& out, const Record& record) {
  out.put_int128(record.totals.spent);
  out.put_int128(record.totals.held);
  out.put(record.totals.tokens);
  out.put(record.totals.reserved);
  out.put(record.totals.settled);
  out.put(record.totals.voided);
  out.put(record.totals.open);
  out.put(static_cast<std::uint8_t>(record.closed ? 1 : 0));
}

void get_checkpoint(Reader& in, Record& record) {
  record.totals.spent = in.get_int128();
  record.totals.held = in.get_int128();
  record.totals.tokens = in.get<std::int64_t>();
  record.totals.reserved = in.get<std::int64_t>();
  record.totals.settled = in.get<std::int64_t>();
  record.totals.voided = in.get<std::int64_t>();
  record.totals.open = in.get<std::int64_t>();
  record.closed = in.get<std::uint8_t>() != 0;
}

void put_payload(Writer& out, const Record& record) {
  out.put(record.at_us);
  out.put(record.id.epoch);
  out.put(record.id.seq);
  out.put(record.pico);
  out.put(record.tokens);
  put_postings(out, record);
  switch (record.type) {
    case RecordType::kReserve:
      return put_reserve(out, record);
    case RecordType::kSettle:
      put_settle(out, record);
      return put_answer(out, record);
    case RecordType::kVoid:
    case RecordType::kExpire:
    case RecordType::kAdjust:
    case RecordType::kPriceVersion:
      return put_settle(out, record);
    case RecordType::kLimit:
      return put_limit(out, record);
    case RecordType::kGrant:
    case RecordType::kAlert:
      out.put(record.budget);
      out.put(record.revision);
      out.put(record.amount);
      out.put(record.until_us);
      return;
    case RecordType::kCheckpoint:
      return put_checkpoint(out, record);
    case RecordType::kSent:
    case RecordType::kProgress:
      return;
  }
}

bool get_payload(std::string_view payload, Record& record) {
  Reader in(payload);
  record.at_us = in.get<std::int64_t>();
  record.id.epoch = in.get<std::uint64_t>();
  record.id.seq = in.get<std::uint64_t>();
  record.pico = in.get<std::int64_t>();
  record.tokens = in.get<std::int64_t>();
  get_postings(in, record);
  switch (record.type) {
    case RecordType::kReserve:
      get_reserve(in, record);
      break;
    case RecordType::kSettle:
      get_settle(in, record);
      get_answer(in, record);
      break;
    case RecordType::kVoid:
    case RecordType::kExpire:
    case RecordType::kAdjust:
    case RecordType::kPriceVersion:
      get_settle(in, record);
      break;
    case RecordType::kLimit:
      get_limit(in, record);
      break;
    case RecordType::kGrant:
    case RecordType::kAlert:
      record.budget = in.get<std::uint32_t>();
      record.revision = in.get<std::uint64_t>();
      record.amount = in.get<std::int64_t>();
      record.until_us = in.get<std::int64_t>();
      break;
    case RecordType::kCheckpoint:
      get_checkpoint(in, record);
      break;
    case RecordType::kSent:
    case RecordType::kProgress:
      break;
  }
  return in.ok;
}

// The checksum of a record: its length and all behind the checksum.
std::uint32_t checksum(std::string_view record) {
  return base::crc32c(record.substr(8), base::crc32c(record.substr(0, 4)));
}

template <typename T>
T field(std::string_view bytes, std::size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

// The whole record at `offset` if length and checksum fit, else empty.
std::string_view sound_record(std::string_view bytes, std::size_t offset) {
  if (bytes.size() < offset + kRecordHead) return {};
  const auto payload = field<std::uint32_t>(bytes, offset);
  if (payload > kMostPayload) return {};
  const std::size_t whole = (kRecordHead + payload + 7) & ~std::size_t{7};
  if (bytes.size() - offset < whole) return {};
  const std::string_view record = bytes.substr(offset, whole);
  return checksum(record) == field<std::uint32_t>(record, 4) ? record : std::string_view();
}

}  // namespace

std::string encode_header(const FileHeader& header) {
  std::string out(kHeaderBytes, '\0');
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  Writer rest(out.data() + 16);
  rest.put(header.epoch);
  rest.put(header.begun_us);
  rest.put(header.process);
  Writer head(out.data() + kMagic.size());
  head.put(kFormatVersion);
  head.put(base::crc32c(std::string_view(out).substr(16)));
  return out;
}

base::Result<FileHeader> decode_header(std::string_view bytes, const std::string& path) {
  const auto version = field<std::uint32_t>(bytes, 8);
  const std::string_view rest = bytes.substr(16, kHeaderBytes - 16);
  if (bytes.substr(0, kMagic.size()) != kMagic ||
      field<std::uint32_t>(bytes, 12) != base::crc32c(rest)) {
    return base::fail(base::Status(base::Code::kCorrupt,
                                   path + " is no ledger file, or its header is damaged: move it "
                                          "away and keep it, or restore it from a backup")
                          .with("path", path));
  }
  if (version != kFormatVersion) {
    return base::fail(base::Status(base::Code::kIo, path + " has format " +
                                                        std::to_string(version) +
                                                        ": read it with a newer dure")
                          .as("StoreVersionError")
                          .with("path", path));
  }
  return FileHeader{field<std::uint64_t>(rest, 0), field<std::int64_t>(rest, 8),
                    field<std::uint64_t>(rest, 16)};
}

void encode(const Record& record, std::string& out) {
  const std::size_t begin = out.size();
  out.resize(begin + most_bytes(record));
  char* const head = out.data() + begin;
  Writer to(head + 8);
  to.put(static_cast<std::uint8_t>(record.type));
  to.put(kRecordVersion);
  to.put(record.flags);
  to.put(record.seq);
  put_payload(to, record);
  const auto size = static_cast<std::size_t>(to.at() - head);
  const auto payload = static_cast<std::uint32_t>(size - kRecordHead);
  std::memcpy(head, &payload, sizeof(payload));
  out.resize(begin + ((size + 7) & ~std::size_t{7}));  // zeros: resize made them
  const std::uint32_t crc = checksum(std::string_view(out).substr(begin));
  std::memcpy(head + 4, &crc, sizeof(crc));
}

bool decode_next(std::string_view bytes, std::size_t& offset, std::uint64_t epoch,
                 std::uint64_t seq, Record& record) {
  const std::string_view whole = sound_record(bytes, offset);
  if (whole.empty() || field<std::uint64_t>(whole, 12) != seq) return false;
  const auto type = field<std::uint8_t>(whole, 8);
  if (type < 1 || type > static_cast<std::uint8_t>(RecordType::kAlert)) return false;
  record.clear();
  record.type = static_cast<RecordType>(type);
  record.flags = field<std::uint16_t>(whole, 10);
  record.epoch = epoch;
  record.seq = seq;
  const auto payload = field<std::uint32_t>(whole, 0);
  if (!get_payload(whole.substr(kRecordHead, payload), record)) return false;
  offset += whole.size();
  return true;
}

std::uint8_t skip_record(std::string_view bytes, std::size_t& offset) noexcept {
  if (bytes.size() < offset + kRecordHead) return 0;
  const auto payload = field<std::uint32_t>(bytes, offset);
  const std::size_t whole = (kRecordHead + std::size_t{payload} + 7) & ~std::size_t{7};
  if (payload > kMostPayload || bytes.size() - offset < whole) return 0;
  const auto type = field<std::uint8_t>(bytes, offset + 8);
  if (type != 0) offset += whole;
  return type;
}

bool has_record_after(std::string_view bytes, std::size_t offset, std::uint64_t seq) {
  for (std::size_t at = (offset + 8) & ~std::size_t{7}; at + kRecordHead <= bytes.size(); at += 8) {
    const auto found = field<std::uint64_t>(bytes, at + 12);
    if (found < seq || found > seq + bytes.size()) continue;
    if (!sound_record(bytes, at).empty()) return true;
  }
  return false;
}

}  // namespace dure::money
