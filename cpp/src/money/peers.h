// src/money/peers.h - the ledger files of the other processes on this data folder.
//
// Reads what they append, finds out who died. A live process holds a lock on its file; the lock
// of the whole folder (`ledger/lock`) is held by whoever begins a file, admits a call that meets
// a budget, or declares somebody dead.
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

namespace dure::money {

class Peers {
 public:
  using Each = std::function<void(const Record&)>;

  Peers(base::Files& files, std::string folder) : files_(files), folder_(std::move(folder)) {}

  // Reads what is new in the live files, after looking for new ones. Fails with kIo, kCorrupt.
  base::Status catch_up(const Each& each);
  // REQUIRES: the folder's lock is held. Reads the last of each process that died, cuts a torn
  // tail, and forgets its file. Returns true if somebody died. Fails with kIo, kCorrupt.
  [[nodiscard]] base::Result<bool> bury(const Each& each);
  // REQUIRES: the folder's lock is held. Tells the other processes that a file was begun.
  base::Status announce(std::uint64_t epoch);
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
    std::unique_ptr<base::ReadFile> file;
    std::unique_ptr<base::LockFile> lock;
    std::uint64_t offset = 0;  // 0: the header was not read yet
    std::uint64_t seq = 0;     // of the last record read
  };

  base::Status look_for_new();
  base::Status read_new(Peer& peer, const Each& each);
  // After the death of `peer`: its rest must be sound, or a torn tail which is cut.
  base::Status read_last(Peer& peer, const Each& each);

  base::Files& files_;
  const std::string folder_;
  std::unique_ptr<base::ReadFile> announced_;  // `epochs`: grows whenever a file is begun
  std::uint64_t announced_bytes_ = 0;
  bool looked_ = false;
  std::uint64_t highest_ = 0;
  std::set<std::uint64_t> known_;
  std::set<std::uint64_t> live_;
  std::vector<Peer> peers_;  // live, ascending by epoch
};

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_PEERS_H_
