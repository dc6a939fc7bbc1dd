#include "money/ledger_writer.h"

#include <unistd.h>

#include <utility>

#include "money/ledger_codec.h"

namespace dure::money {
namespace {

constexpr std::uint64_t kCheckpointEvery = 4096;
constexpr std::size_t kCapacity = 128U << 20U;  // twice what the account rotates at

}  // namespace

base::Result<std::unique_ptr<LedgerWriter>> LedgerWriter::begin(base::Files& files,
                                                                const std::string& folder,
                                                                std::uint64_t epoch,
                                                                base::WallTime now,
                                                                Durability durability) {
  std::unique_ptr<LedgerWriter> writer(new LedgerWriter(files, folder, epoch, durability));
  // Synced records are told one by one; the others are stored into mapped space, which survives
  // kill -9 as a write does.
  const bool mapped = durability == Durability::kProcess;
  // Under another name until its header is whole: who reads the folder never meets half of one.
  const std::string fresh = writer->path_ + ".new";
  (void)files.remove(fresh);  // of one who died here
  auto file = mapped ? files.open_mapped(fresh, kCapacity) : files.open_append(fresh, true);
  if (!file) return base::fail(std::move(file.error()));
  writer->file_ = std::move(*file);
  const std::string header = encode_header({epoch, now.us, static_cast<std::uint64_t>(::getpid())});
  base::Status status = writer->file_->append(header);
  if (status.ok()) status = writer->file_->sync();  // before its name: power loss finds it whole
  if (status.ok()) status = files.rename(fresh, writer->path_);
  if (!status.ok()) {
    writer->file_.reset();
    (void)files.remove(fresh);
    return base::fail(std::move(status));
  }
  writer->file_->renamed(writer->path_);
  writer->good_bytes_ = header.size();
  return writer;
}

base::Status LedgerWriter::append(Record& record) {
  base::Status status = write(record);
  if (status.ok() && seq_ % kCheckpointEvery == 0) {
    (void)checkpoint(record.at_us, false);  // broken() tells
  }
  return status;
}

base::Status LedgerWriter::write(Record& record) {
  record.epoch = epoch_;
  record.seq = seq_ + 1;
  if (record.type == RecordType::kReserve) record.id = {epoch_, record.seq};
  buffer_.clear();
  encode(record, buffer_);
  base::Status status = store();
  if (!status.ok()) {
    fail();
    return status;
  }
  seq_ = record.seq;
  good_bytes_ += buffer_.size();
  if (published()) {
    slot_->end.store(Board::pack(end()), std::memory_order_release);
    if (durability_ == Durability::kPower) slot_->synced.store(Board::pack(end()));
    slot_->writing.store(0, std::memory_order_relaxed);
  }
  count(record);
  return status;
}

base::Status LedgerWriter::store() {
  if (published()) {
    (void)slot_->writing.exchange(Board::kYes, std::memory_order_acq_rel);  // before the bytes
  }
  base::Status status = file_->append(buffer_);
  if (status.ok() && durability_ == Durability::kPower) status = file_->sync();
  return status;
}

void LedgerWriter::fail() noexcept {
  broken_ = true;
  file_.reset();
  if (published()) slot_->sealed.store(Board::kYes, std::memory_order_release);
  // Cut what was half written, or written and not synced. If that fails too, the seal says where
  // the file ends.
  (void)files_.truncate(path_, good_bytes_);
}

base::Status LedgerWriter::sync() {
  base::Status status = file_->sync();
  if (!status.ok()) {
    fail();
  } else if (published()) {
    slot_->synced.store(Board::pack(end()), std::memory_order_release);
  }
  return status;
}

base::Status LedgerWriter::finish(std::int64_t at_us) {
  if (base::Status status = checkpoint(at_us, true); !status.ok()) return status;
  if (base::Status status = files_.truncate(path_, good_bytes_); !status.ok()) return status;
  if (base::Status status = sync(); !status.ok()) return status;
  finished_ = true;
  file_.reset();
  return {};
}

base::Status LedgerWriter::retire() {
  if (!finished_ || !published()) return {};
  if (base::Status status = note_ended(files_, folder_, epoch_, end()); !status.ok()) return status;
  Board::release(*slot_);
  return {};
}

void LedgerWriter::count(const Record& record) {
  if (record.type == RecordType::kCheckpoint) return;
  totals_.apply(record);
  counters_.add(record);
}

base::Status LedgerWriter::checkpoint(std::int64_t at_us, bool closed) {
  Record record;
  record.type = RecordType::kCheckpoint;
  record.at_us = at_us;
  record.totals = totals_;
  record.closed = closed;
  counters_.list(record.postings);
  return write(record);
}

}  // namespace dure::money
