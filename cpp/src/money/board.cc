#include "money/board.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <new>
#include <utility>

#include "dure/base/hash.h"

namespace dure::money {
namespace {

constexpr std::uint64_t kMagic = 0x32'44'52'42'45'52'55'44;  // "DUREBRD2"
constexpr std::uint64_t kPlaceKeptMs = 1'000;
constexpr int kLooksAtOnce = 16;          // before who waits for the lock lets others run
constexpr int kLooks = 4'112;             // before it sleeps
constexpr std::time_t kLongestHold = 30;  // seconds; a holder needs microseconds

// The check finds every single flipped bit: neither a number's own nor one of the check.
constexpr bool every_flip_shows() {
  for (unsigned bit = 0; bit < 48; ++bit) {
    const std::uint64_t step = Board::checked(std::uint64_t{1} << bit) >> 48U;
    if (step == 0 || step == 0xFFFF) return false;
  }
  return true;
}
static_assert(every_flip_shows());

base::Status damaged() {
  return {base::Code::kCorrupt,
          "ledger/board is damaged: end all processes on this data folder, run `dure ledger "
          "verify`, then delete the file; it is made anew"};
}

bool is_flag(const std::atomic<std::uint32_t>& flag) {
  const std::uint32_t value = flag.load(std::memory_order_relaxed);
  return value == 0 || value == Board::kYes;
}

template <typename Bytes>
bool all_zero(const Bytes& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](auto one) { return one == decltype(one){}; });
}

}  // namespace

bool Board::is_blank(std::string_view bytes) noexcept {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

base::Result<std::unique_ptr<Board>> Board::open(base::Files& files, const std::string& folder) {
  auto memory = files.map_shared(folder + "/board", sizeof(Layout));
  if (!memory) return base::fail(std::move(memory.error()));
  const std::string_view bytes(reinterpret_cast<const char*>((*memory)->data()), sizeof(Layout));
  const std::uint64_t boot = files.boot();
  auto slots = read(bytes, boot);
  if (!slots) return base::fail(std::move(slots.error()));
  std::unique_ptr<Board> board(new Board(std::move(*memory)));
  if (board->layout().header.magic == kMagic && board->layout().header.boot == boot) return board;
  board->earlier_ = std::move(*slots);
  DURE_RETURN_IF_ERROR(board->begin(boot));
  return board;
}

base::Status Board::begin(std::uint64_t boot) {
  std::memset(memory_->data(), 0, sizeof(Layout));
  auto* fresh = new (memory_->data()) Layout;
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int made = pthread_mutex_init(&fresh->mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  if (made != 0) {
    return {base::Code::kUnsupported, "this system has no locks shared by processes"};
  }
  fresh->header.boot = boot;
  fresh->header.not_boot = ~boot;
  fresh->header.magic = kMagic;  // last: a board without it was not begun
  return {};
}

std::uint64_t Board::seal_of(std::string_view bytes) noexcept {
  constexpr std::size_t kAt = offsetof(Header, seal);
  const std::uint32_t before = base::crc32c(bytes.substr(0, kAt));
  return kSealed << 32U | base::crc32c(bytes.substr(kAt + 8), before);
}

bool Board::is_sound(const Layout& layout) noexcept {
  const auto word = [](const std::atomic<std::uint64_t>& value) {
    return is_sound(value.load(std::memory_order_acquire));
  };
  const Header& header = layout.header;
  return header.not_boot == ~header.boot && word(header.begun) && word(header.freed) &&
         word(header.tickets) && word(header.waiting) && all_zero(layout.unused) &&
         std::all_of(layout.slots.begin(), layout.slots.end(),
                     [&](const Slot& slot) {
                       return word(slot.epoch) && word(slot.end) && word(slot.synced) &&
                              is_flag(slot.writing) && is_flag(slot.sealed) &&
                              all_zero(slot.unused);
                     }) &&
         std::all_of(layout.places.begin(), layout.places.end(), [&](const Place& place) {
           return word(place.ticket) && word(place.budget) && word(place.seen_ms) &&
                  word(place.amount);
         });
}

base::Result<std::vector<Board::Reading>> Board::read(std::string_view bytes, std::uint64_t boot) {
  std::vector<Reading> slots;
  if (bytes.empty()) return slots;
  if (bytes.size() != sizeof(Layout)) return base::fail(damaged());
  const auto* layout = reinterpret_cast<const Layout*>(bytes.data());
  const std::uint64_t magic = layout->header.magic;
  // Without the magic it was being begun when its process died: nobody has written on it.
  if (magic == 0 && std::all_of(layout->slots.begin(), layout->slots.end(),
                                [](const Slot& slot) { return slot.epoch.load() == 0; })) {
    return slots;
  }
  if (magic != kMagic || !is_sound(*layout)) return base::fail(damaged());
  const std::uint64_t seal = layout->header.seal.load(std::memory_order_acquire);
  if (seal != 0 && seal != seal_of(bytes)) return base::fail(damaged());
  const bool same_boot = layout->header.boot == boot;
  for (const Slot& slot : layout->slots) {
    Reading reading;
    reading.epoch = plain(slot.epoch.load(std::memory_order_acquire));
    if (reading.epoch == 0) continue;
    reading.writing = slot.writing.load(std::memory_order_relaxed) != 0;
    reading.restarted = !same_boot;
    reading.sealed = slot.sealed.load(std::memory_order_relaxed) != 0;
    reading.end = unpack((same_boot ? slot.end : slot.synced).load(std::memory_order_acquire));
    slots.push_back(reading);
  }
  return slots;
}

base::Status Board::enter() {
  if (layout().header.seal.load() == 0) return {};
  layout().header.seal.store(0);
  return memory_->sync();
}

void Board::leave() noexcept {
  const bool live = std::any_of(layout().slots.begin(), layout().slots.end(),
                                [](const Slot& slot) { return slot.epoch.load() != 0; });
  if (live) return;
  for (Place& place : layout().places) {  // of waiters who died
    if (place.ticket.load() != 0) clear(place);
  }
  layout().header.waiting.store(0);
  // Synced before and after: power loss leaves no seal over other bytes.
  if (!memory_->sync().ok()) return;
  const auto* bytes = reinterpret_cast<const char*>(memory_->data());
  layout().header.seal.store(seal_of({bytes, sizeof(Layout)}));
  (void)memory_->sync();
}

base::Status Board::lock() noexcept {
  int error = pthread_mutex_trylock(&layout().mutex);
  for (int look = 0; error == EBUSY && look < kLooks; ++look) {
    // Held for a microsecond: asleep one waits for the scheduler as well.
    if (look >= kLooksAtOnce) sched_yield();
    error = pthread_mutex_trylock(&layout().mutex);
  }
  if (error == EBUSY) {
    std::timespec until{};
    std::timespec_get(&until, TIME_UTC);
    until.tv_sec += kLongestHold;
    error = pthread_mutex_timedlock(&layout().mutex, &until);
  }
  if (error == 0) return {};
  // The holder died. Whatever it was doing, its ledger holds whole records only.
  if (error == EOWNERDEAD && pthread_mutex_consistent(&layout().mutex) == 0) return {};
  return {base::Code::kIo,
          "the lock in ledger/board is broken: end all processes on this data "
          "folder and delete that file; it is made anew"};
}

void Board::unlock() noexcept { pthread_mutex_unlock(&layout().mutex); }

std::uint64_t Board::begun() const noexcept {
  return layout().header.begun.load(std::memory_order_acquire);
}

Board::Slot* Board::claim(std::uint64_t epoch, FileEnd end) noexcept {
  Slot* slot = find(0);
  if (slot == nullptr) return nullptr;
  slot->end.store(pack(end), std::memory_order_relaxed);
  slot->synced.store(0, std::memory_order_relaxed);
  slot->writing.store(0, std::memory_order_relaxed);
  slot->sealed.store(0, std::memory_order_relaxed);
  slot->epoch.store(checked(epoch), std::memory_order_release);
  auto& begun = layout().header.begun;
  begun.store(checked(plain(begun.load()) + 1), std::memory_order_release);
  (void)memory_->sync();  // else power loss takes the slot, and the file's end is not known
  return slot;
}

Board::Slot* Board::find(std::uint64_t epoch) noexcept {
  const std::uint64_t word = checked(epoch);
  for (Slot& slot : layout().slots) {
    if (slot.epoch.load(std::memory_order_acquire) == word) return &slot;
  }
  return nullptr;
}

// Waiting ----------------------------------------------------------------------------------------

std::uint64_t Board::freed() const noexcept {
  return layout().header.freed.load(std::memory_order_acquire);
}

void Board::note_freed() noexcept {
  auto& freed = layout().header.freed;
  std::uint64_t word = freed.load(std::memory_order_relaxed);
  while (!freed.compare_exchange_weak(word, checked((plain(word) + 1) & kPlain),
                                      std::memory_order_acq_rel)) {
  }
}

bool Board::anybody_waits() const noexcept {
  return layout().header.waiting.load(std::memory_order_acquire) != 0;
}

Board::Place* Board::place_of(std::uint64_t ticket) noexcept {
  const std::uint64_t word = checked(ticket);
  for (Place& place : layout().places) {
    if (place.ticket.load(std::memory_order_relaxed) == word) return &place;
  }
  return nullptr;
}

std::uint64_t Board::wait(std::uint64_t ticket, std::uint32_t budget, std::int64_t amount,
                          std::uint64_t now_ms) noexcept {
  const auto needed = static_cast<std::uint64_t>(std::max<std::int64_t>(0, amount));
  Place* place = ticket == 0 ? nullptr : place_of(ticket);
  if (place == nullptr) {  // new, or taken from one who did not ask for too long
    place = place_of(0);
    if (place == nullptr) return 0;
    Header& header = layout().header;
    if (ticket == 0) {
      ticket = (plain(header.tickets.load()) + 1) & kPlain;
      header.tickets.store(checked(ticket));
    }
    header.waiting.store(checked(plain(header.waiting.load()) + 1));
  }
  place->budget.store(checked(needed >> kPlainBits << 32U | budget), std::memory_order_relaxed);
  place->amount.store(checked(needed & kPlain), std::memory_order_relaxed);
  place->seen_ms.store(checked(now_ms & kPlain), std::memory_order_relaxed);
  place->ticket.store(checked(ticket), std::memory_order_release);
  return ticket;
}

std::uint32_t Board::budget_of(const Place& place) noexcept {
  return static_cast<std::uint32_t>(plain(place.budget.load()) & 0xFFFF'FFFFU);
}

void Board::clear(Place& place) noexcept {
  place.ticket.store(0, std::memory_order_release);
  place.budget.store(0, std::memory_order_relaxed);
  place.amount.store(0, std::memory_order_relaxed);
  place.seen_ms.store(0, std::memory_order_relaxed);
  auto& waiting = layout().header.waiting;
  const std::uint64_t count = plain(waiting.load());
  waiting.store(checked(count == 0 ? 0 : count - 1), std::memory_order_release);
}

void Board::stop_waiting(std::uint64_t ticket) noexcept {
  if (Place* place = ticket == 0 ? nullptr : place_of(ticket)) clear(*place);
}

bool Board::waits_before(std::uint64_t ticket, std::uint32_t budget,
                         std::uint64_t now_ms) noexcept {
  bool found = false;
  std::uint64_t waiting = 0;
  for (Place& place : layout().places) {
    const std::uint64_t theirs = plain(place.ticket.load(std::memory_order_relaxed));
    if (theirs == 0) continue;
    if (now_ms > plain(place.seen_ms.load(std::memory_order_relaxed)) + kPlaceKeptMs) {
      clear(place);
      continue;
    }
    ++waiting;
    if (theirs == ticket) continue;
    found = found || ((ticket == 0 || theirs < ticket) && budget_of(place) == budget);
  }
  layout().header.waiting.store(checked(waiting), std::memory_order_release);
  return found;
}

std::vector<Board::Waiter> Board::waiters(std::uint64_t now_ms) const {
  std::vector<Waiter> found;
  for (const Place& place : layout().places) {
    const std::uint64_t ticket = plain(place.ticket.load(std::memory_order_relaxed));
    if (ticket == 0 || now_ms > plain(place.seen_ms.load()) + kPlaceKeptMs) continue;
    const std::uint64_t upper = plain(place.budget.load()) >> 32U;
    const std::uint64_t amount = upper << kPlainBits | plain(place.amount.load());
    found.push_back({ticket, budget_of(place), static_cast<std::int64_t>(amount)});
  }
  std::sort(found.begin(), found.end(),
            [](const Waiter& a, const Waiter& b) { return a.ticket < b.ticket; });
  return found;
}

}  // namespace dure::money
