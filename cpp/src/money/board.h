// src/money/board.h - what the processes on one data folder tell each other without system calls.
//
// A mapped file, `ledger/board`. Each live ledger file has a slot with the end of its last whole
// record: a reader looks there whether there is anything new, and a file that is shorter than its
// slot says was cut. One lock orders the admissions of all processes; it survives its holder's
// death, because the ledgers alone are the truth.
//
// Thread-safe, except `open`.
#ifndef DURE_SRC_MONEY_BOARD_H_
#define DURE_SRC_MONEY_BOARD_H_

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/files.h"
#include "dure/base/result.h"

namespace dure::money {

// A place behind a whole record.
struct FileEnd {
  std::uint64_t records = 0;
  std::uint64_t bytes = 0;  // a multiple of 8
  friend bool operator==(const FileEnd&, const FileEnd&) = default;
};

class Board {
 public:
  // One live ledger file; in shared memory. Written by the process that owns the file.
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> epoch{0};    // 0: free
    std::atomic<std::uint64_t> end{0};      // packed FileEnd: what is told to be written
    std::atomic<std::uint64_t> synced{0};   // packed FileEnd: what survives power loss
    std::atomic<std::uint32_t> writing{0};  // 1: bytes behind `end` are being stored
    std::atomic<std::uint32_t> sealed{0};   // 1: the file failed; what lies behind `end` is void
  };
  // A slot as read at one moment.
  struct Reading {
    std::uint64_t epoch = 0;
    FileEnd end;  // of another boot: what was synced
    bool writing = false;
    bool sealed = false;
  };
  static constexpr std::size_t kSlots = 1022;

  // Maps the board of `folder`, begins it if it is new or from before the machine's last start.
  // REQUIRES: the folder's lock is held. Fails with kIo, kCorrupt.
  [[nodiscard]] static base::Result<std::unique_ptr<Board>> open(base::Files& files,
                                                                 const std::string& folder);
  // The slots of a board's bytes (empty: none); `boot` is the machine's. Fails with kCorrupt.
  [[nodiscard]] static base::Result<std::vector<Reading>> read(std::string_view bytes,
                                                               std::uint64_t boot);

  // Orders admissions. Fails with kIo if the lock is broken.
  base::Status lock() noexcept;
  void unlock() noexcept;

  // Grows whenever a file is begun.
  [[nodiscard]] std::uint64_t begun() const noexcept;
  // A slot for a file that was begun; nullptr: all are taken. REQUIRES: locked.
  [[nodiscard]] Slot* claim(std::uint64_t epoch, FileEnd end) noexcept;
  // The slot of a live file; nullptr: it has none.
  [[nodiscard]] Slot* find(std::uint64_t epoch) noexcept;
  static void release(Slot& slot) noexcept { slot.epoch.store(0, std::memory_order_release); }
  // What the slots of the previous boot said was synced.
  [[nodiscard]] const std::vector<Reading>& earlier() const noexcept { return earlier_; }

  [[nodiscard]] static std::uint64_t pack(FileEnd end) noexcept {
    return end.records << 32U | end.bytes >> 3U;
  }
  [[nodiscard]] static FileEnd unpack(std::uint64_t packed) noexcept {
    return {packed >> 32U, (packed & 0xFFFFFFFFU) << 3U};
  }

 private:
  struct Header {
    std::uint64_t magic = 0;
    std::uint64_t boot = 0;
    std::atomic<std::uint64_t> begun{0};
    std::array<std::uint64_t, 5> unused{};
    alignas(64) pthread_mutex_t mutex{};
  };
  struct Layout {
    Header header;
    std::array<Slot, kSlots> slots;
  };
  static_assert(sizeof(Layout) == 65'536);

  explicit Board(std::unique_ptr<base::SharedMemory> memory) : memory_(std::move(memory)) {}
  [[nodiscard]] Layout& layout() const noexcept {
    return *reinterpret_cast<Layout*>(memory_->data());
  }
  base::Status begin(std::uint64_t boot);

  std::unique_ptr<base::SharedMemory> memory_;
  std::vector<Reading> earlier_;
};

// Holds the board's lock while it lives.
class BoardLock {
 public:
  explicit BoardLock(Board& board) : board_(board), status_(board.lock()) {}
  ~BoardLock() {
    if (status_.ok()) board_.unlock();
  }
  BoardLock(const BoardLock&) = delete;
  BoardLock& operator=(const BoardLock&) = delete;
  [[nodiscard]] const base::Status& status() const { return status_; }

 private:
  Board& board_;
  base::Status status_;
};

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_BOARD_H_
