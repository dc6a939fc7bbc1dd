#include "money/board.h"

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace dure::money {
namespace {

constexpr std::uint64_t kMagic = 0x31'44'52'42'45'52'55'44;  // "DUREBRD1"

base::Status damaged() {
  return {base::Code::kCorrupt,
          "ledger/board is damaged: end all processes on this data folder, run `dure ledger "
          "verify`, then delete the file; it is made anew"};
}

bool all_zero(std::string_view bytes) { return bytes.find_first_not_of('\0') == bytes.npos; }

}  // namespace

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
  const int made = pthread_mutex_init(&fresh->header.mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
  if (made != 0) {
    return {base::Code::kUnsupported, "this system has no locks shared by processes"};
  }
  fresh->header.boot = boot;
  fresh->header.magic = kMagic;
  return {};
}

base::Result<std::vector<Board::Reading>> Board::read(std::string_view bytes, std::uint64_t boot) {
  std::vector<Reading> slots;
  if (bytes.empty()) return slots;
  if (bytes.size() != sizeof(Layout)) return base::fail(damaged());
  const auto* layout = reinterpret_cast<const Layout*>(bytes.data());
  const std::uint64_t magic = layout->header.magic;
  if (magic == 0 && all_zero(bytes)) return slots;
  if (magic != kMagic) return base::fail(damaged());
  const bool same_boot = layout->header.boot == boot;
  for (const Slot& slot : layout->slots) {
    Reading reading;
    reading.epoch = slot.epoch.load(std::memory_order_acquire);
    if (reading.epoch == 0) continue;
    reading.writing = slot.writing.load(std::memory_order_relaxed) != 0;
    reading.sealed = slot.sealed.load(std::memory_order_relaxed) != 0;
    reading.end = unpack((same_boot ? slot.end : slot.synced).load(std::memory_order_acquire));
    slots.push_back(reading);
  }
  return slots;
}

base::Status Board::lock() noexcept {
  const int error = pthread_mutex_lock(&layout().header.mutex);
  if (error == 0) return {};
  // The holder died. Whatever it was doing, its ledger holds whole records only.
  if (error == EOWNERDEAD && pthread_mutex_consistent(&layout().header.mutex) == 0) return {};
  return {base::Code::kIo,
          "the lock in ledger/board is broken: end all processes on this data "
          "folder and delete that file; it is made anew"};
}

void Board::unlock() noexcept { pthread_mutex_unlock(&layout().header.mutex); }

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
  slot->epoch.store(epoch, std::memory_order_release);
  layout().header.begun.fetch_add(1, std::memory_order_release);
  return slot;
}

Board::Slot* Board::find(std::uint64_t epoch) noexcept {
  for (Slot& slot : layout().slots) {
    if (slot.epoch.load(std::memory_order_acquire) == epoch) return &slot;
  }
  return nullptr;
}

}  // namespace dure::money
