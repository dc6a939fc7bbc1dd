#include "money/ledger_writer.h"

#include <unistd.h>

#include <array>
#include <cstdio>

#include "money/ledger_codec.h"

namespace dure::money {
namespace {

constexpr std::uint64_t kCheckpointEvery = 4096;

}  // namespace

std::string ledger_path(const std::string& folder, std::uint64_t epoch) {
  std::array<char, 40> name{};
  (void)std::snprintf(name.data(), name.size(), "/%08llu.ledger",
                      static_cast<unsigned long long>(epoch));
  return folder + name.data();
}

base::Result<std::unique_ptr<LedgerWriter>> LedgerWriter::begin(base::Files& files,
                                                                const std::string& folder,
                                                                std::uint64_t epoch,
                                                                base::WallTime now,
                                                                Durability durability) {
  std::unique_ptr<LedgerWriter> writer(
      new LedgerWriter(files, ledger_path(folder, epoch), epoch, durability));
  auto file = files.open_append(writer->path_, true);
  if (!file) return base::fail(std::move(file.error()));
  writer->file_ = std::move(*file);
  const std::string header = encode_header({epoch, now.us, static_cast<std::uint64_t>(::getpid())});
  if (base::Status status = writer->file_->append(header); !status.ok()) {
    writer->file_.reset();
    (void)files.remove(writer->path_);  // else it stays: a file without records is sound
    return base::fail(std::move(status));
  }
  writer->good_bytes_ = header.size();
  return writer;
}

base::Status LedgerWriter::append(Record& record) {
  if (base::Status status = write(record); !status.ok()) return status;
  if (seq_ % kCheckpointEvery == 0) (void)checkpoint(record.at_us, false);  // broken() tells
  return {};
}

base::Status LedgerWriter::write(Record& record) {
  record.epoch = epoch_;
  record.seq = seq_ + 1;
  if (record.type == RecordType::kReserve) record.id = {epoch_, record.seq};
  buffer_.clear();
  encode(record, buffer_);
  base::Status status = file_->append(buffer_);
  if (status.ok() && durability_ == Durability::kPower) status = file_->sync();
  if (!status.ok()) {
    broken_ = true;
    file_.reset();
    // Cut what was half written, so that the file ends with a whole record; if that fails too,
    // readers stop at the torn tail all the same.
    (void)files_.truncate(path_, good_bytes_);
    return status;
  }
  seq_ = record.seq;
  good_bytes_ += buffer_.size();
  count(record);
  return {};
}

base::Status LedgerWriter::sync() {
  base::Status status = file_->sync();
  if (!status.ok()) {
    broken_ = true;
    file_.reset();
  }
  return status;
}

void LedgerWriter::count(const Record& record) {
  if (record.type == RecordType::kCheckpoint) return;
  totals_.apply(record);
  for (const Posting& posting : record.postings) {
    auto& [held, used] = counters_[{posting.budget, posting.window_start_us}];
    held += posting.held;
    used += posting.used;
  }
}

base::Status LedgerWriter::checkpoint(std::int64_t at_us, bool closed) {
  Record record;
  record.type = RecordType::kCheckpoint;
  record.at_us = at_us;
  record.totals = totals_;
  record.closed = closed;
  for (const auto& [key, sums] : counters_) {
    if (sums.first == 0 && sums.second == 0) continue;
    record.postings.push_back({key.first, key.second, sums.first, sums.second});
  }
  return write(record);
}

}  // namespace dure::money
