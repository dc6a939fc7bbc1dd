// tests/cpp/index/failing_disk.h - the system calls that change files, counted, and stopped at one.
//
// The test executable defines write, pwrite, fsync and their kin, so that SQLite's and our own
// calls come by here. Disarmed, they only pass on.
#ifndef DURE_TESTS_INDEX_FAILING_DISK_H_
#define DURE_TESTS_INDEX_FAILING_DISK_H_

#include <cstdint>

namespace dure::testing {

enum class Fault : std::uint8_t {
  kNone,       // count only
  kKill,       // SIGKILL instead of the call
  kTear,       // SIGKILL after half of the call's bytes
  kPowerLoss,  // SIGKILL; of what was not synced, a random part is lost
  kNoSpace,    // the call and all later ones fail with ENOSPC
  kBadDisk,    // the call fails with EIO, once
};

// The `at`-th call from now on (1 is the next) meets `fault`. `seed`: of what a power loss takes.
void arm_disk(Fault fault, std::int64_t at, std::uint32_t seed);
// Calls since arm_disk().
[[nodiscard]] std::int64_t disk_calls();

}  // namespace dure::testing

#endif  // DURE_TESTS_INDEX_FAILING_DISK_H_
