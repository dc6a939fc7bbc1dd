#include "money/ledger_index.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <string_view>

#include "dure/base/hash.h"

namespace dure::money {
namespace {

std::string path_in(const std::string& folder) { return folder + "/epochs"; }

std::string checked_line(const std::string& fact) {
  std::array<char, 16> crc{};
  (void)std::snprintf(crc.data(), crc.size(), " %08x\n", base::crc32c(fact));
  return fact + crc.data();
}

// Takes the next word off `line` as a number; false: it is none.
bool take_number(std::string_view& line, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  if (error != std::errc()) return false;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  if (line.empty()) return true;
  if (line.front() != ' ') return false;
  line.remove_prefix(1);
  return true;
}

// Adds one line to the index; false: it is damaged.
bool add_line(std::string_view line, LedgerIndex& index) {
  std::uint64_t epoch = 0;
  if (std::string_view bare = line; take_number(bare, epoch) && bare.empty()) {
    index.try_emplace(epoch);  // as the first versions wrote it
    return true;
  }
  const std::size_t space = line.rfind(' ');
  if (space == std::string_view::npos) return false;
  std::string_view fact = line.substr(0, space);
  const std::string whole = checked_line(std::string(fact));
  if (std::string_view(whole).substr(0, whole.size() - 1) != line) return false;
  const bool ended = fact.starts_with("ended ");
  if (!ended && !fact.starts_with("begun ")) return false;
  fact.remove_prefix(6);
  FileEnd end;
  if (!take_number(fact, epoch)) return false;
  if (!ended) {
    index.try_emplace(epoch);
    return fact.empty();
  }
  if (!take_number(fact, end.records) || !take_number(fact, end.bytes)) return false;
  index[epoch] = end;
  return fact.empty();
}

base::Status append_line(base::Files& files, const std::string& folder, const std::string& fact) {
  const std::string path = path_in(folder);
  auto known = files.read(path);
  if (!known && known.error().code() != base::Code::kNotFound) return known.error();
  if (known && !known->empty() && known->back() != '\n') {  // torn by a full disk or a death
    const std::size_t whole = known->rfind('\n') + 1;       // npos + 1 is 0
    if (base::Status status = files.truncate(path, whole); !status.ok()) return status;
  }
  auto file = files.open_append(path, false);
  if (!file) return std::move(file.error());
  if (base::Status status = (*file)->append(checked_line(fact)); !status.ok()) return status;
  if (base::Status status = (*file)->sync(); !status.ok()) return status;
  return known ? base::Status() : files.sync_folder(folder);
}

}  // namespace

std::string ledger_path(const std::string& folder, std::uint64_t epoch) {
  std::array<char, 40> name{};
  (void)std::snprintf(name.data(), name.size(), "/%08llu.ledger",
                      static_cast<unsigned long long>(epoch));
  return folder + name.data();
}

base::Result<LedgerIndex> read_index(base::Files& files, const std::string& folder, bool* torn) {
  LedgerIndex index;
  const auto bytes = files.read(path_in(folder));
  if (!bytes) {
    if (bytes.error().code() == base::Code::kNotFound) return index;
    return base::fail(bytes.error());
  }
  std::string_view rest = *bytes;
  for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    if (!add_line(rest.substr(0, end), index)) {
      return base::fail(base::Status(base::Code::kCorrupt,
                                     path_in(folder) + " is damaged at byte " +
                                         std::to_string(bytes->size() - rest.size()) +
                                         ": restore it from a backup, or run `dure ledger verify` "
                                         "and delete it to go on without")
                            .with("path", path_in(folder)));
    }
    rest.remove_prefix(end + 1);
  }
  if (torn != nullptr) *torn = !rest.empty();
  return index;
}

base::Status note_begun(base::Files& files, const std::string& folder, std::uint64_t epoch) {
  return append_line(files, folder, "begun " + std::to_string(epoch));
}

base::Status note_ended(base::Files& files, const std::string& folder, std::uint64_t epoch,
                        FileEnd end) {
  return append_line(files, folder,
                     "ended " + std::to_string(epoch) + " " + std::to_string(end.records) + " " +
                         std::to_string(end.bytes));
}

std::string difference(FileEnd found, FileEnd told, bool exactly) {
  if (found.records < told.records) {
    const bool one = found.records + 1 == told.records;
    return "was cut: " + std::string(one ? "record " : "records ") +
           std::to_string(found.records + 1) + (one ? "" : " to " + std::to_string(told.records)) +
           " (" + std::to_string(told.bytes > found.bytes ? told.bytes - found.bytes : 0) +
           " bytes) " + (one ? "is" : "are") + " missing at its end";
  }
  if (found.records == told.records && found.bytes != told.bytes) {
    return "ends at byte " + std::to_string(found.bytes) + ", but was written to byte " +
           std::to_string(told.bytes);
  }
  if (exactly && found.records > told.records) {
    return "goes on behind record " + std::to_string(told.records) + ", where it ended";
  }
  return "";
}

}  // namespace dure::money
