#include "money/peers.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "money/ledger_codec.h"

namespace dure::money {

base::Status Peers::announce(std::uint64_t epoch) {
  auto file = files_.open_append(folder_ + "/epochs", false);
  if (!file) return std::move(file.error());
  if (base::Status status = (*file)->append(std::to_string(epoch) + "\n"); !status.ok()) {
    return status;
  }
  return files_.sync_folder(folder_);
}

base::Status Peers::look_for_new() {
  if (announced_ == nullptr) {
    auto file = files_.open_read(folder_ + "/epochs");
    if (file) announced_ = std::move(*file);
  }
  if (announced_ != nullptr) {
    const auto bytes = announced_->size();
    if (!bytes) return bytes.error();
    if (looked_ && *bytes == announced_bytes_) return {};
    announced_bytes_ = *bytes;
  }
  looked_ = true;
  const auto paths = ledger_files(files_, folder_);
  if (!paths) return paths.error().code() == base::Code::kNotFound ? base::Status() : paths.error();
  for (const std::string& path : *paths) {
    const std::uint64_t epoch = std::strtoull(path.c_str() + path.rfind('/') + 1, nullptr, 10);
    if (!known_.insert(epoch).second) continue;
    highest_ = std::max(highest_, epoch);
    Peer peer;
    peer.epoch = epoch;
    peer.path = path;
    peers_.push_back(std::move(peer));
    live_.insert(epoch);  // until buried
  }
  return {};
}

base::Status Peers::read_new(Peer& peer, const Each& each) {
  if (peer.file == nullptr) {
    auto file = files_.open_read(peer.path);
    if (!file) return std::move(file.error());
    peer.file = std::move(*file);
  }
  const auto size = peer.file->size();
  if (!size) return size.error();
  if (*size <= peer.offset) return {};
  const auto bytes = peer.file->read_at(peer.offset, *size - peer.offset);
  if (!bytes) return bytes.error();
  std::size_t at = 0;
  if (peer.offset == 0) {
    if (bytes->size() < kHeaderBytes) return {};
    const auto header = decode_header(*bytes, peer.path);
    if (!header) return header.error();
    at = kHeaderBytes;
  }
  Record record;
  while (decode_next(*bytes, at, peer.epoch, peer.seq + 1, record)) {
    ++peer.seq;
    each(record);
  }
  peer.offset += at;
  return {};
}

base::Status Peers::read_last(Peer& peer, const Each& each) {
  if (base::Status status = read_new(peer, each); !status.ok()) return status;
  const auto size = peer.file->size();
  if (!size) return size.error();
  if (*size <= peer.offset) return {};
  // What is left is no record: damage if one follows it, else a tail torn by the death.
  const auto torn = read_ledger(files_, peer.path, [](const Record&) { return true; });
  if (!torn) return torn.error();
  return files_.truncate(peer.path, peer.offset);
}

base::Status Peers::catch_up(const Each& each) {
  if (base::Status status = look_for_new(); !status.ok()) return status;
  for (Peer& peer : peers_) {
    if (base::Status status = read_new(peer, each); !status.ok()) return status;
  }
  return {};
}

base::Result<bool> Peers::bury(const Each& each) {
  DURE_RETURN_IF_ERROR(look_for_new());
  bool somebody_died = false;
  for (auto peer = peers_.begin(); peer != peers_.end();) {
    if (peer->lock == nullptr) {
      auto lock = files_.open_lock(peer->path);
      if (!lock) return base::fail(std::move(lock.error()));
      peer->lock = std::move(*lock);
    }
    const auto free = peer->lock->try_acquire();
    if (!free) return base::fail(free.error());
    if (!*free) {
      DURE_RETURN_IF_ERROR(read_new(*peer, each));
      ++peer;
      continue;
    }
    base::Status status = read_last(*peer, each);
    if (!status.ok()) {
      peer->lock->release();
      return base::fail(std::move(status));
    }
    live_.erase(peer->epoch);
    peer = peers_.erase(peer);
    somebody_died = true;
  }
  return somebody_died;
}

}  // namespace dure::money
