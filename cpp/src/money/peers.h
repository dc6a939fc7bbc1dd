// src/money/peers.h - the ledger files of the other processes on this data folder.
//
// Reads what they append, finds out who died. A live process holds a lock on its file and a slot
// on the board, which says where its last record ends: a peer that wrote nothing costs one load.
//
// One thread at a time.
#ifndef DURE_SRC_MONEY_PEERS_H_
#define DURE_SRC_MONEY_PEERS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "dure/base/files.h"
#include "dure/money/ledger.h"
#include "money/board.h"
#include "money/ledger_index.h"

namespace dure::money {

class Peers {
 public:
  using Each = std::function<void(const Record&)>;

  Peers(base::Files& files, std::string folder) : files_(files), folder_(std::move(folder)) {}

  // The board of this folder; outlives the peers. REQUIRES: called before all else.
  void use(Board& board) noexcept { board_ = &board; }
  // Reads what is new in the live files, after looking for new ones. Fails with kIo, kCorrupt.
  base::Status catch_up(const Each& each) {
    return is_up_to_date() ? base::Status() : read_all(each);
  }
  [[nodiscard]] bool is_up_to_date() const noexcept {
    return looked_ && board_->begun() == begun_ && nothing_new();
  }
  // REQUIRES: the board is locked. Reads the last of each process that died, cuts what it had not
  // finished, notes where its file ends, and forgets it. Returns true if somebody died or left.
  // Fails with kIo, also if the board was replaced while others use it, and with kCorrupt if a file
  // is missing, damaged, or shorter than it was.
  [[nodiscard]] base::Result<bool> bury(const Each& each);
  // A number above every epoch seen, never given twice; its file is ours and never read here.
  [[nodiscard]] std::uint64_t claim_epoch() {
    known_.insert(++highest_);
    return highest_;
  }
  [[nodiscard]] bool alive(std::uint64_t epoch) const { return live_.contains(epoch); }

 private:
  struct Peer {
    std::uint64_t epoch = 0;
    std::string path;
    Board::Slot* slot = nullptr;  // nullptr: its process has ended
    std::uint64_t word = 0;       // the slot's end, when we last looked
    std::unique_ptr<base::ReadFile> file;
    std::unique_ptr<base::LockFile> lock;
    FileEnd read;  // how far; bytes 0: not even the header
  };

  // Until the file is buried by somebody its slot is its own.
  [[nodiscard]] static bool in_use(const Peer& peer) noexcept {
    return peer.slot != nullptr &&
           peer.slot->epoch.load(std::memory_order_acquire) == Board::checked(peer.epoch);
  }
  [[nodiscard]] bool nothing_new() const noexcept;
  base::Status read_all(const Each& each);
  base::Status look_for_new();
  [[nodiscard]] base::Result<std::uint64_t> size_of(Peer& peer);
  // Reads whole records up to byte `end`.
  base::Status read_to(Peer& peer, std::uint64_t end, bool may_begin, const Each& each);
  // After the death of `peer`.
  base::Status read_last(Peer& peer, const Each& each);
  base::Status check_end(const Peer& peer);
  // What the machine's last start left of `epoch`; nullptr: it was begun later.
  [[nodiscard]] const Board::Reading* before_restart(std::uint64_t epoch) const;
  base::Status note_end(Peer& peer);

  base::Files& files_;
  const std::string folder_;
  Board* board_ = nullptr;
  std::uint64_t begun_ = 0;  // the board's, when we last looked
  bool looked_ = false;
  bool somebody_left_ = false;  // in order, since the last burial
  std::uint64_t highest_ = 0;
  std::set<std::uint64_t> known_;
  std::set<std::uint64_t> live_;
  LedgerIndex ends_;         // as told when we first looked
  std::vector<Peer> peers_;  // live, ascending by epoch
};

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_PEERS_H_
