#include "dure/flow/health.h"

#include <new>
#include <utility>

#include "dure/base/hash.h"
#include "flow/shared_file.h"

namespace dure::flow {
namespace {

constexpr std::uint64_t kMagic = 0x3148'544c'4145'4844ULL;  // names the format
constexpr std::size_t kHead = 128;                          // bytes before the first cell
static_assert(sizeof(SharedFileHead) <= kHead && sizeof(KeyHealth) == 128);

}  // namespace

SharedHealth::SharedHealth(std::unique_ptr<base::SharedMemory> memory)
    : memory_(std::move(memory)) {}

base::Result<std::shared_ptr<SharedHealth>> SharedHealth::open(base::Files& files,
                                                               const std::string& path) {
  auto memory =
      open_shared_file(files, path, {kMagic, kHead + kCells * sizeof(KeyHealth), "health"});
  if (!memory) return base::fail(std::move(memory.error()));
  return std::shared_ptr<SharedHealth>(new SharedHealth(std::move(*memory)));
}

std::shared_ptr<KeyHealth> SharedHealth::cell(std::string_view name) {
  auto* const cells = std::launder(reinterpret_cast<KeyHealth*>(memory_->data() + kHead));
  const std::uint64_t hash = base::hash64(name) | 1U;  // zero is a free cell's
  for (std::size_t probe = 0; probe < kCells; ++probe) {
    KeyHealth& cell = cells[(hash / 2 + probe) % kCells];
    std::uint64_t there = 0;
    const bool made = cell.name.compare_exchange_strong(there, hash, std::memory_order_acq_rel);
    if (made || there == hash) return {shared_from_this(), &cell};
  }
  return std::make_shared<KeyHealth>();
}

}  // namespace dure::flow
