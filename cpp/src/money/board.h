// src/money/board.h - what the processes on one data folder tell each other without system calls.
//
// A mapped file, `ledger/board`. Each live ledger file has a slot with the end of its last whole
// record: a reader looks there whether there is anything new, and a file that is shorter than its
// slot says was cut. One lock orders the admissions of all processes; it survives its holder's
// death, because the ledgers alone are the truth. Calls that wait for room stand in one queue.
//
// Every word carries its own check, so that a flipped bit is found at any moment; when the last
// process leaves, the whole file is sealed with a checksum. Only the 40 bytes of the lock itself
// are unchecked after a process was killed: they hold no figure.
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
  // A number below 2^48 with its check in the upper 16 bits; 0 is sound.
  [[nodiscard]] static constexpr std::uint64_t checked(std::uint64_t value) noexcept {
    return value | check_of(value) << 48U;
  }
  [[nodiscard]] static constexpr std::uint64_t plain(std::uint64_t word) noexcept {
    return word & kPlain;
  }
  [[nodiscard]] static constexpr bool is_sound(std::uint64_t word) noexcept {
    return word >> 48U == check_of(plain(word));
  }
  static constexpr std::uint32_t kYes = 0x5945'5321;  // no single bit from 0

  // One live ledger file; in shared memory. Written by the process that owns the file.
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> epoch{0};    // checked; 0: free
    std::atomic<std::uint64_t> end{0};      // packed FileEnd: what is told to be written
    std::atomic<std::uint64_t> synced{0};   // packed FileEnd: what survives power loss
    std::atomic<std::uint32_t> writing{0};  // kYes: bytes behind `end` are being stored
    std::atomic<std::uint32_t> sealed{0};   // kYes: the file failed; what lies behind `end` is void
    std::array<std::uint64_t, 4> unused{};
  };
  // A slot as read at one moment.
  struct Reading {
    std::uint64_t epoch = 0;
    FileEnd end;  // what is written; `restarted`: what was synced
    bool writing = false;
    bool sealed = false;
    bool restarted = false;  // the machine was started anew since
  };
  static constexpr std::size_t kSlots = 1022;
  static constexpr std::size_t kPlaces = 2048;

  // Maps the board of `folder`, begins it if it is new or from before the machine's last start.
  // REQUIRES: the folder's lock is held. Fails with kIo, kCorrupt.
  [[nodiscard]] static base::Result<std::unique_ptr<Board>> open(base::Files& files,
                                                                 const std::string& folder);
  // The slots of a board's bytes (empty: none); `boot` is the machine's. Fails with kCorrupt if a
  // word is not what its check says, or the whole not what its seal says.
  [[nodiscard]] static base::Result<std::vector<Reading>> read(std::string_view bytes,
                                                               std::uint64_t boot);
  // True if the bytes were given their space and nothing else.
  [[nodiscard]] static bool is_blank(std::string_view bytes) noexcept;

  // Breaks the seal. REQUIRES: the folder's lock is held. Fails with kIo.
  base::Status enter();
  // Seals the board if no file is live and nobody waits. REQUIRES: the folder's lock is held.
  void leave() noexcept;

  // Orders admissions. Fails with kIo if the lock is broken, or was not given back in 30 s.
  base::Status lock() noexcept;
  void unlock() noexcept;

  // Grows whenever a file is begun.
  [[nodiscard]] std::uint64_t begun() const noexcept;
  // A slot for a file that was begun, safe from power loss; nullptr: all are taken. REQUIRES:
  // locked.
  [[nodiscard]] Slot* claim(std::uint64_t epoch, FileEnd end) noexcept;
  // The slot of a live file; nullptr: it has none.
  [[nodiscard]] Slot* find(std::uint64_t epoch) noexcept;
  static void release(Slot& slot) noexcept { slot.epoch.store(0, std::memory_order_release); }
  // What the slots of the previous boot said was synced.
  [[nodiscard]] const std::vector<Reading>& earlier() const noexcept { return earlier_; }

  // A file has below 2^25 * 8 bytes and 2^23 records: twice what the account rotates at, of records
  // of 64 bytes and more.
  [[nodiscard]] static constexpr std::uint64_t pack(FileEnd end) noexcept {
    return checked(end.records << 25U | end.bytes >> 3U);
  }
  [[nodiscard]] static constexpr FileEnd unpack(std::uint64_t packed) noexcept {
    return {plain(packed) >> 25U, (packed & 0x1FF'FFFFU) << 3U};
  }

  // The queue of calls that wait for room in a budget. A place is kept for a second after its
  // holder last asked for it, so that one who died stops nobody for longer.
  //
  // Grows whenever something may have got room while somebody waits.
  [[nodiscard]] std::uint64_t freed() const noexcept;
  void note_freed() noexcept;
  [[nodiscard]] bool anybody_waits() const noexcept;
  // REQUIRES (all below): locked; `now_ms` of one monotonic clock on this machine.
  //
  // A place for `amount` of `budget` at the end of the queue, or the one of `ticket` again, in
  // which it may change both; 0: every place is taken.
  [[nodiscard]] std::uint64_t wait(std::uint64_t ticket, std::uint32_t budget, std::int64_t amount,
                                   std::uint64_t now_ms) noexcept;
  void stop_waiting(std::uint64_t ticket) noexcept;
  // True if somebody before `ticket` (0: anybody) waits for `budget`.
  [[nodiscard]] bool waits_before(std::uint64_t ticket, std::uint32_t budget,
                                  std::uint64_t now_ms) noexcept;
  struct Waiter {
    std::uint64_t ticket = 0;
    std::uint32_t budget = 0;
    std::int64_t amount = 0;
  };
  // Everybody who waits, in the order of the tickets.
  [[nodiscard]] std::vector<Waiter> waiters(std::uint64_t now_ms) const;

 private:
  struct Place {
    std::atomic<std::uint64_t> ticket{0};   // checked, as all here; 0: free
    std::atomic<std::uint64_t> budget{0};   // its number, and above it the amount's upper bits
    std::atomic<std::uint64_t> seen_ms{0};  // when its holder last asked
    std::atomic<std::uint64_t> amount{0};   // of what it waits for, the lower 48 bits
  };
  struct Header {
    std::uint64_t magic = 0;
    std::uint64_t boot = 0;
    std::uint64_t not_boot = 0;           // its complement
    std::atomic<std::uint64_t> seal{0};   // 0: in use; else kSealed | checksum of all else
    std::atomic<std::uint64_t> begun{0};  // checked, as all below
    std::atomic<std::uint64_t> freed{0};
    std::atomic<std::uint64_t> tickets{0};  // the last one given
    std::atomic<std::uint64_t> waiting{0};  // places in use
  };
  struct Layout {
    Header header;
    alignas(64) pthread_mutex_t mutex{};
    std::array<std::byte, 64 - sizeof(pthread_mutex_t)> unused{};
    std::array<Slot, kSlots> slots;
    std::array<Place, kPlaces> places;
  };
  static_assert(sizeof(Layout) == 131'072 && sizeof(pthread_mutex_t) <= 40);

  static constexpr unsigned kPlainBits = 48;
  static constexpr std::uint64_t kPlain = 0xFFFF'FFFF'FFFFU;
  static constexpr std::uint64_t kSealed = 0x5EA1'ED00U;
  static constexpr std::uint64_t check_of(std::uint64_t value) noexcept {
    return (value * 0x9E37'79B9'7F4A'7C15U) >> 48U;
  }

  explicit Board(std::unique_ptr<base::SharedMemory> memory) : memory_(std::move(memory)) {}
  [[nodiscard]] Layout& layout() const noexcept {
    return *reinterpret_cast<Layout*>(memory_->data());
  }
  base::Status begin(std::uint64_t boot);
  [[nodiscard]] static std::uint64_t seal_of(std::string_view bytes) noexcept;
  [[nodiscard]] static bool is_sound(const Layout& layout) noexcept;
  [[nodiscard]] Place* place_of(std::uint64_t ticket) noexcept;
  [[nodiscard]] static std::uint32_t budget_of(const Place& place) noexcept;
  void clear(Place& place) noexcept;

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
