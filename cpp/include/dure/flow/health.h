// dure/flow/health.h - what the processes of a host know of a key: refused, asleep, failing.
//
//   auto known = SharedHealth::open(files, folder + "/health").value();
//   std::shared_ptr<KeyHealth> cell = known->cell(base_url + key_id);   // the same in each process
//   Breaker breaker(clock, random, {}, cell);
//
// A cell is nothing but lock-free words, so that it can stand in a mapped file: what one worker
// learns (a refused key, a hint to wait, a peer that fails) the others know with their next look.
// A process that dies holds nothing: a probe is a lease. After a restart of the machine the file
// begins anew: its clock did.
//
// Thread-safe and safe among processes. Never blocks; `open` reads the disk.
#ifndef DURE_FLOW_HEALTH_H_
#define DURE_FLOW_HEALTH_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "dure/base/files.h"
#include "dure/base/result.h"

namespace dure::flow {

// All zero: nothing is known. Instants are those of the monotonic clock, in nanoseconds.
struct KeyHealth {
  static constexpr std::size_t kSlices = 10;

  std::atomic<std::uint64_t> name{0};        // its hash; zero: free, or of one process alone
  std::atomic<std::int64_t> parked_at{0};    // when it was refused
  std::atomic<std::int64_t> awake_at{0};     // its quota sleeps until then
  std::atomic<std::int64_t> open_until{0};   // of its breaker; zero: closed
  std::atomic<std::int64_t> probe_until{0};  // somebody finds out whether the peer is back
  std::atomic<std::uint64_t> opened{0};      // times in a row
  std::array<std::atomic<std::uint64_t>, kSlices>
      slices{};  // number << 32, results << 16, failures
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

class SharedHealth : public std::enable_shared_from_this<SharedHealth> {
 public:
  static constexpr std::size_t kCells = 2048;

  // Fails with kIo, or kCorrupt (detail "path") if the file is none of ours.
  [[nodiscard]] static base::Result<std::shared_ptr<SharedHealth>> open(base::Files& files,
                                                                        const std::string& path);
  // The cell of `name`, made if there is none; keeps the file mapped. When all are taken: one of
  // this process alone.
  [[nodiscard]] std::shared_ptr<KeyHealth> cell(std::string_view name);

 private:
  explicit SharedHealth(std::unique_ptr<base::SharedMemory> memory);

  const std::unique_ptr<base::SharedMemory> memory_;
};

}  // namespace dure::flow

#endif  // DURE_FLOW_HEALTH_H_
