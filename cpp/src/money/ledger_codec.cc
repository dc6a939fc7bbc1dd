#include "money/ledger_codec.h"

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

template <typename T>
void put(std::string& out, T value) {
  static_assert(std::is_integral_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
void put_int128(std::string& out, base::int128 value) {
  put(out, static_cast<std::uint64_t>(value));
  put(out, static_cast<std::int64_t>(value >> 64));
}
void put_text(std::string& out, std::string_view text) {
  const std::string_view kept = text.substr(0, 255);
  put(out, static_cast<std::uint8_t>(kept.size()));
  out += kept;
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

  bool ok = true;

 private:
  std::string_view bytes_;
};

void put_postings(std::string& out, const Record& record) {
  put(out, static_cast<std::uint32_t>(record.postings.size()));
  for (const Posting& posting : record.postings) {
    put(out, posting.budget);
    put(out, posting.window_start_us);
    put(out, posting.held);
    put(out, posting.used);
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

void put_reserve(std::string& out, const Record& record) {
  put(out, record.bound.input_pico);
  put(out, record.bound.input_tokens);
  put(out, record.bound.output_rate);
  put(out, record.bound.choices);
  put(out, record.bound.max_output_tokens);
  put(out, static_cast<std::uint8_t>(record.bound.kind));
  put(out, static_cast<std::uint8_t>(record.bound.hidden_output ? 1 : 0));
  put(out, record.attempt);
  put(out, record.lease_us);
  put_text(out, record.model);
  put_text(out, record.service);
  put_text(out, record.call_id);
  put_text(out, record.key_id);
  put(out, static_cast<std::uint32_t>(record.scopes.size()));
  for (const std::string& scope : record.scopes) put_text(out, scope);
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
}

void put_settle(std::string& out, const Record& record) {
  put(out, record.held_pico);
  put(out, static_cast<std::uint32_t>(record.units.size()));
  for (const auto& [unit, quantity] : record.units) {
    put(out, static_cast<std::uint8_t>(unit));
    put(out, quantity);
  }
  put_text(out, record.price_version);
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

void put_limit(std::string& out, const Record& record) {
  const BudgetSpec& spec = record.spec;
  put(out, record.budget);
  put(out, record.revision);
  put_text(out, spec.scope);
  put(out, static_cast<std::uint8_t>(spec.unit));
  put(out, static_cast<std::uint8_t>(spec.on_limit));
  put(out, spec.limit);
  put_text(out, spec.window.name);
  put_text(out, spec.window.zone);
  put(out, std::int64_t{spec.window.rolling.count()});
  put_text(out, {reinterpret_cast<const char*>(spec.alerts.data()), spec.alerts.size()});
  put(out, static_cast<std::uint32_t>(spec.window.edges_us.size()));
  for (const std::int64_t edge : spec.window.edges_us) put(out, edge);
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
}

void put_checkpoint(std::string& out, const Record& record) {
  put_int128(out, record.totals.spent);
  put_int128(out, record.totals.held);
  put(out, record.totals.tokens);
  put(out, record.totals.reserved);
  put(out, record.totals.settled);
  put(out, record.totals.voided);
  put(out, record.totals.open);
  put(out, static_cast<std::uint8_t>(record.closed ? 1 : 0));
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

void put_payload(std::string& out, const Record& record) {
  put(out, record.at_us);
  put(out, record.id.epoch);
  put(out, record.id.seq);
  put(out, record.pico);
  put(out, record.tokens);
  put_postings(out, record);
  switch (record.type) {
    case RecordType::kReserve:
      return put_reserve(out, record);
    case RecordType::kSettle:
    case RecordType::kVoid:
    case RecordType::kExpire:
    case RecordType::kAdjust:
    case RecordType::kPriceVersion:
      return put_settle(out, record);
    case RecordType::kLimit:
      return put_limit(out, record);
    case RecordType::kGrant:
    case RecordType::kAlert:
      put(out, record.budget);
      put(out, record.revision);
      put(out, record.amount);
      put(out, record.until_us);
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
  std::string rest;
  put(rest, header.epoch);
  put(rest, header.begun_us);
  put(rest, header.process);
  std::string out(kMagic);
  put(out, kFormatVersion);
  put(out, base::crc32c(rest));
  return out + rest;
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
  put(out, std::uint32_t{0});
  put(out, std::uint32_t{0});
  put(out, static_cast<std::uint8_t>(record.type));
  put(out, kRecordVersion);
  put(out, record.flags);
  put(out, record.seq);
  put_payload(out, record);
  const auto payload = static_cast<std::uint32_t>(out.size() - begin - kRecordHead);
  std::memcpy(out.data() + begin, &payload, sizeof(payload));
  out.append((8 - (out.size() - begin) % 8) % 8, '\0');
  const std::uint32_t crc = checksum(std::string_view(out).substr(begin));
  std::memcpy(out.data() + begin + 4, &crc, sizeof(crc));
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
