#include "money/peers.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "money/ledger_codec.h"

namespace dure::money {
namespace {

base::Status was_cut(const std::string& path, const std::string& what) {
  return base::Status(base::Code::kCorrupt,
                      path + " " + what +
                          ": restore it from a backup; to go on without, delete `epochs` and "
                          "`board` beside it while no process uses the folder")
      .with("path", path);
}

base::Status damaged_board() {
  return {base::Code::kCorrupt,
          "ledger/board is damaged: end all processes on this data folder, run `dure ledger "
          "verify`, then delete the file; it is made anew"};
}

base::Status replaced_board(const std::string& path) {
  return base::Status(base::Code::kIo,
                      "ledger/board was deleted or replaced while the process that writes " + path +
                          " uses it: end all processes on this data folder, then try again")
      .with("path", path);
}

}  // namespace

bool Peers::nothing_new() const noexcept {
  return std::all_of(peers_.begin(), peers_.end(), [](const Peer& peer) {
    if (peer.slot == nullptr) return true;  // it may get a slot: then begun() grows
    return in_use(peer) && peer.slot->end.load(std::memory_order_acquire) == peer.word;
  });
}

base::Status Peers::look_for_new() {
  const std::uint64_t begun = board_->begun();
  if (looked_ && begun == begun_) return {};
  if (!looked_) {
    auto index = read_index(files_, folder_);
    if (!index) return std::move(index.error());
    ends_ = std::move(*index);
  }
  for (Peer& peer : peers_) {
    if (peer.slot == nullptr) peer.slot = board_->find(peer.epoch);
  }
  const auto paths = ledger_files(files_, folder_);
  if (!paths && paths.error().code() != base::Code::kNotFound) return paths.error();
  for (const std::string& path : paths.value_or(std::vector<std::string>())) {
    const std::uint64_t epoch = std::strtoull(path.c_str() + path.rfind('/') + 1, nullptr, 10);
    if (!known_.insert(epoch).second) continue;
    highest_ = std::max(highest_, epoch);
    Peer peer;
    peer.epoch = epoch;
    peer.path = path;
    peer.slot = board_->find(epoch);
    peers_.push_back(std::move(peer));
    live_.insert(epoch);  // until buried
  }
  for (const auto& [epoch, end] : ends_) {
    if (!known_.contains(epoch)) {
      return was_cut(ledger_path(folder_, epoch), "is missing");
    }
  }
  looked_ = true;
  begun_ = begun;
  return {};
}

base::Result<std::uint64_t> Peers::size_of(Peer& peer) {
  if (peer.file == nullptr) {
    auto file = files_.open_read(peer.path);
    if (!file) return base::fail(std::move(file.error()));
    peer.file = std::move(*file);
  }
  return peer.file->size();
}

base::Status Peers::read_to(Peer& peer, std::uint64_t end, bool may_begin, const Each& each) {
  if (end <= peer.read.bytes) return {};
  if (const auto size = size_of(peer); !size) return size.error();
  const auto bytes = peer.file->read_at(peer.read.bytes, end - peer.read.bytes);
  if (!bytes) return bytes.error();
  std::size_t at = 0;
  if (peer.read.bytes == 0) {
    if (bytes->size() < kHeaderBytes || is_blank(*bytes)) return {};
    const auto header = decode_header(*bytes, peer.path);
    if (!header) return may_begin ? base::Status() : header.error();
    at = kHeaderBytes;
  }
  Record record;
  while (decode_next(*bytes, at, peer.epoch, peer.read.records + 1, record)) {
    ++peer.read.records;
    each(record);
  }
  peer.read.bytes += at;
  return {};
}

const Board::Reading* Peers::before_restart(std::uint64_t epoch) const {
  const auto& slots = board_->earlier();
  const auto found = std::find_if(slots.begin(), slots.end(),
                                  [&](const auto& slot) { return slot.epoch == epoch; });
  return found == slots.end() ? nullptr : &*found;
}

base::Status Peers::check_end(const Peer& peer) {
  std::optional<FileEnd> told;
  const auto ended = ends_.find(peer.epoch);
  const bool exactly = ended != ends_.end() && ended->second.has_value();
  if (exactly) told = ended->second;
  if (!told && in_use(peer)) told = Board::unpack(peer.slot->end.load());
  if (const Board::Reading* slot = before_restart(peer.epoch); !told && slot) told = slot->end;
  const std::string wrong = told && told->bytes > 0 ? difference(peer.read, *told, exactly) : "";
  return wrong.empty() ? base::Status() : was_cut(peer.path, wrong);
}

base::Status Peers::note_end(Peer& peer) {
  const auto ended = ends_.find(peer.epoch);
  if (ended != ends_.end() && ended->second) return {};
  if (peer.read.bytes == 0) return {};  // it died while it began
  auto file = files_.open_append(peer.path, false);
  if (!file) return std::move(file.error());
  if (base::Status status = (*file)->sync(); !status.ok()) return status;
  return note_ended(files_, folder_, peer.epoch, peer.read);
}

base::Status Peers::read_last(Peer& peer, const Each& each) {
  const bool ours_to_bury = in_use(peer) || peer.slot == nullptr;
  const bool sealed = in_use(peer) && peer.slot->sealed.load() != 0;
  const auto size = size_of(peer);
  if (!size) return size.error();
  const std::uint64_t end = sealed ? Board::unpack(peer.slot->end.load()).bytes : *size;
  if (base::Status status = read_to(peer, end, false, each); !status.ok()) return status;
  if (*size > peer.read.bytes) {
    // What is left is no record: zeros, a tail torn by the death, or damage if one follows it.
    // After a restart of the machine anything may lie behind what was synced, in any order.
    const bool may_be_torn = sealed || before_restart(peer.epoch) != nullptr;
    const auto rest = may_be_torn
                          ? base::Result<std::uint64_t>(0)
                          : read_ledger(files_, peer.path, [](const Record&) { return true; });
    if (!rest) return rest.error();
  }
  if (base::Status status = check_end(peer); !status.ok()) return status;
  if (*size > peer.read.bytes && ours_to_bury) {
    if (base::Status status = files_.truncate(peer.path, peer.read.bytes); !status.ok()) {
      return status;
    }
  }
  if (!ours_to_bury) return {};
  if (base::Status status = note_end(peer); !status.ok()) return status;
  if (in_use(peer)) Board::release(*peer.slot);
  return {};
}

base::Status Peers::read_all(const Each& each) {
  if (base::Status status = look_for_new(); !status.ok()) return status;
  for (auto peer = peers_.begin(); peer != peers_.end();) {
    const bool live = in_use(*peer);
    const std::uint64_t word = live ? peer->slot->end.load(std::memory_order_acquire) : 0;
    if (live && !Board::is_sound(word)) return damaged_board();
    std::uint64_t end = Board::unpack(word).bytes;
    if (!live) {  // just begun, or buried by another process: then its file is final
      const auto size = size_of(*peer);
      if (!size) return size.error();
      end = *size;
    }
    const bool may_begin = peer->slot == nullptr;  // its header may be half stored
    if (base::Status status = read_to(*peer, end, may_begin, each); !status.ok()) return status;
    peer->word = word;
    if (!live && peer->slot != nullptr) {
      somebody_left_ = true;
      live_.erase(peer->epoch);
      peer = peers_.erase(peer);
    } else {
      ++peer;
    }
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
    if (!*free && peer->slot == nullptr) return base::fail(replaced_board(peer->path));
    if (!*free) {
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
  DURE_RETURN_IF_ERROR(read_all(each));
  return std::exchange(somebody_left_, false) || somebody_died;
}

}  // namespace dure::money
