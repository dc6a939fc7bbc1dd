#include "failing_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace dure::testing {
namespace {

// What a write that nobody has synced replaced.
struct Undo {
  off_t at;
  std::string old_bytes;
  off_t old_size;
};
struct Unsynced {
  std::string path;
  std::vector<Undo> writes;
};

std::atomic<Fault> fault{Fault::kNone};
std::atomic<bool> counting{false};
std::atomic<std::int64_t> calls{0};
std::atomic<std::int64_t> stop_at{0};
std::uint32_t chance = 0;
std::mutex mutex;  // guards the map
std::map<std::pair<dev_t, ino_t>, Unsynced> unsynced;

ssize_t raw_write(int fd, const void* bytes, size_t size) {
  return syscall(SYS_write, fd, bytes, size);
}
ssize_t raw_pwrite(int fd, const void* bytes, size_t size, off_t at) {
  return syscall(SYS_pwrite64, fd, bytes, size, at);
}

// Writes back, in reverse, what a random part of the writes replaced.
void lose_unsynced() {
  std::mt19937 random(chance);
  for (auto& [key, file] : unsynced) {
    const int fd = ::open(file.path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) continue;
    for (auto undo = file.writes.rbegin(); undo != file.writes.rend(); ++undo) {
      if (random() % 3 == 0) continue;  // reached the disk by itself
      (void)raw_pwrite(fd, undo->old_bytes.data(), undo->old_bytes.size(), undo->at);
      struct stat now{};
      if (::fstat(fd, &now) == 0 && now.st_size > undo->old_size &&
          undo->at + static_cast<off_t>(undo->old_bytes.size()) >= undo->old_size) {
        (void)syscall(SYS_ftruncate, fd, undo->old_size);
      }
    }
    ::close(fd);
  }
}

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

// True if this call is to fail; errno is set.
bool meets_fault() {
  if (!counting) return false;
  const std::int64_t call = ++calls;
  const Fault kind = fault;
  if (kind == Fault::kNone || call < stop_at) return false;
  if (kind == Fault::kKill || kind == Fault::kTear) {
    if (call == stop_at) die();
    return false;
  }
  if (kind == Fault::kPowerLoss) {
    const std::lock_guard<std::mutex> lock(mutex);
    lose_unsynced();
    die();
  }
  if (kind == Fault::kBadDisk && call != stop_at) return false;
  errno = kind == Fault::kNoSpace ? ENOSPC : EIO;
  return true;
}

bool is_last(Fault kind) { return counting && fault == kind && calls + 1 == stop_at; }

void remember(int fd, off_t at, size_t size) {
  if (!counting || fault != Fault::kPowerLoss) return;
  struct stat now{};
  if (::fstat(fd, &now) != 0 || !S_ISREG(now.st_mode)) return;
  Undo undo{at < 0 ? now.st_size : at, {}, now.st_size};
  if (undo.at < now.st_size) {
    undo.old_bytes.resize(std::min(size, static_cast<size_t>(now.st_size - undo.at)));
    const ssize_t got = ::pread(fd, undo.old_bytes.data(), undo.old_bytes.size(), undo.at);
    undo.old_bytes.resize(got < 0 ? 0 : static_cast<size_t>(got));
  }
  const std::lock_guard<std::mutex> lock(mutex);
  Unsynced& file = unsynced[{now.st_dev, now.st_ino}];
  if (file.path.empty()) {
    char path[4096];
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t length = ::readlink(link.c_str(), path, sizeof(path));
    if (length > 0) file.path.assign(path, static_cast<size_t>(length));
  }
  file.writes.push_back(std::move(undo));
}

void synced(int fd) {
  if (!counting || fault != Fault::kPowerLoss) return;
  struct stat now{};
  if (::fstat(fd, &now) != 0) return;
  const std::lock_guard<std::mutex> lock(mutex);
  unsynced.erase({now.st_dev, now.st_ino});
}

}  // namespace

void arm_disk(Fault kind, std::int64_t at, std::uint32_t seed) {
  fault = kind;
  stop_at = at;
  chance = seed;
  calls = 0;
  counting = true;
}

std::int64_t disk_calls() { return calls; }

}  // namespace dure::testing

namespace t = dure::testing;

#pragma GCC visibility push(default)  // SQLite's library is to find them
extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  if (fd <= 2) return t::raw_write(fd, bytes, size);
  if (t::is_last(t::Fault::kTear)) (void)t::raw_write(fd, bytes, size / 2);
  t::remember(fd, -1, size);
  return t::meets_fault() ? -1 : t::raw_write(fd, bytes, size);
}

ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t at) {
  if (t::is_last(t::Fault::kTear)) (void)t::raw_pwrite(fd, bytes, size / 2, at);
  t::remember(fd, at, size);
  return t::meets_fault() ? -1 : t::raw_pwrite(fd, bytes, size, at);
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  return pwrite64(fd, bytes, size, at);
}

int fsync(int fd) {
  if (t::meets_fault()) return -1;
  t::synced(fd);
  return static_cast<int>(syscall(SYS_fsync, fd));
}

int fdatasync(int fd) {
  if (t::meets_fault()) return -1;
  t::synced(fd);
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

int ftruncate64(int fd, off64_t size) noexcept {
  return t::meets_fault() ? -1 : static_cast<int>(syscall(SYS_ftruncate, fd, size));
}

int ftruncate(int fd, off_t size) noexcept { return ftruncate64(fd, size); }

int rename(const char* from, const char* to) noexcept {
  return t::meets_fault() ? -1 : static_cast<int>(syscall(SYS_rename, from, to));
}

int unlink(const char* path) noexcept {
  return t::meets_fault() ? -1 : static_cast<int>(syscall(SYS_unlink, path));
}

}  // extern "C"
#pragma GCC visibility pop

namespace dure::testing {
namespace {

TEST(FailingDisk, CountsAndFails) {
  const std::string path = ::testing::TempDir() + "failing_disk";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  arm_disk(Fault::kBadDisk, 2, 0);
  EXPECT_EQ(::write(fd, "abcd", 4), 4);
  EXPECT_EQ(::pwrite(fd, "x", 1, 0), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(::fsync(fd), 0);
  EXPECT_EQ(disk_calls(), 3);
  arm_disk(Fault::kNoSpace, 1, 0);
  EXPECT_EQ(::write(fd, "e", 1), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(::ftruncate(fd, 1), -1);
  arm_disk(Fault::kNone, 0, 0);
  ::close(fd);
  EXPECT_EQ(::unlink(path.c_str()), 0);
}

}  // namespace
}  // namespace dure::testing
