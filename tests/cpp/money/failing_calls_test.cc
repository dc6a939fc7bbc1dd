// The ledger on a real folder while system calls fail, each in its turn, with EIO or ENOSPC: every
// error is typed, what was acknowledged stays, the ledger can be read at once and opened later.
//
// The executable defines write, fsync, rename and their kin; disarmed, they only pass on.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "dure/money/account.h"
#include "dure/money/ledger.h"
#include "fake_clock.h"

namespace {

enum class Fault { kNone, kOnce, kFromThere };

std::atomic<Fault> fault{Fault::kNone};
std::atomic<std::int64_t> calls{0};
std::atomic<std::int64_t> stop_at{0};
std::atomic<int> error_number{0};
std::atomic<const char*> only{nullptr};  // the call that is counted; null: all

// The error that the call `name` meets; 0: none.
int meets(const char* name) {
  const Fault kind = fault;
  if (kind == Fault::kNone) return 0;
  if (const char* wanted = only; wanted != nullptr && std::strcmp(wanted, name) != 0) return 0;
  const std::int64_t call = ++calls;
  const bool hit = kind == Fault::kOnce ? call == stop_at : call >= stop_at;
  return hit ? error_number.load() : 0;
}

template <typename... Arguments>
int through(const char* name, long number, Arguments... arguments) {
  if (const int error = meets(name); error != 0) {
    errno = error;
    return -1;
  }
  return static_cast<int>(syscall(number, arguments...));
}

void arm(Fault kind, std::int64_t at, int error, const char* name = nullptr) {
  stop_at = at;
  error_number = error;
  only = name;
  calls = 0;
  fault = kind;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

ssize_t write(int fd, const void* bytes, size_t size) {
  if (fd <= 2) return syscall(SYS_write, fd, bytes, size);
  if (const int error = meets("write"); error != 0) {
    (void)!syscall(SYS_write, fd, bytes, size / 2);  // a part of it reaches the disk
    errno = error;
    return -1;
  }
  return syscall(SYS_write, fd, bytes, size);
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t at) {
  if (const int error = meets("write"); error != 0) {
    (void)!syscall(SYS_pwrite64, fd, bytes, size / 2, at);
    errno = error;
    return -1;
  }
  return syscall(SYS_pwrite64, fd, bytes, size, at);
}
int fsync(int fd) { return through("fsync", SYS_fsync, fd); }
int fdatasync(int fd) { return through("fdatasync", SYS_fdatasync, fd); }
int truncate(const char* path, off_t size) noexcept {
  return through("truncate", SYS_truncate, path, size);
}
int ftruncate(int fd, off_t size) noexcept { return through("truncate", SYS_ftruncate, fd, size); }
int rename(const char* from, const char* to) noexcept {
  return through("rename", SYS_rename, from, to);
}
int unlink(const char* path) noexcept { return through("unlink", SYS_unlink, path); }
int mkdir(const char* path, mode_t mode) noexcept {
  return through("mkdir", SYS_mkdir, path, mode);
}
int msync(void* data, size_t size, int flags) {
  return through("msync", SYS_msync, data, size, flags);
}
int posix_fallocate(int fd, off_t at, off_t size) {
  if (const int error = meets("fallocate"); error != 0) return error;
  return syscall(SYS_fallocate, fd, 0, at, size) == 0 ? 0 : errno;
}

}  // extern "C"
#pragma GCC visibility pop

namespace dure::money {
namespace {

using namespace std::chrono_literals;

// A folder of its own, in memory where there is such a disk.
class Folder {
 public:
  Folder() {
    std::string name =
        std::filesystem::is_directory("/dev/shm") ? "/dev/shm/dure-XXXXXX" : "/tmp/dure-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class FailingCalls : public ::testing::Test {
 protected:
  void TearDown() override { arm(Fault::kNone, 0, 0); }

  base::Result<std::shared_ptr<Account>> open(const Folder& folder, Durability level) {
    AccountOptions options{level, &clock_, nullptr};
    options.rotate_bytes = 1'024;  // files begin and end in this life
    return Account::open(folder.path(), options);
  }
  static ReserveRequest request() {
    static const std::vector<std::string> scopes{"org:acme"};
    ReserveRequest request;
    request.scopes = scopes;
    request.bound.input_pico = request.bound.pico = 100;
    request.bound.input_tokens = request.bound.tokens = 10;
    request.call.call_id = call_id_;
    return request;
  }
  static void expect_typed(const base::Status& status, const std::string& when) {
    if (status.ok()) return;
    EXPECT_EQ(status.code(), base::Code::kIo) << when << ": " << status.message();
    EXPECT_EQ(status.message().find(".new "), std::string::npos) << status.message();
  }
  static base::Status limit(Account& account) {
    BudgetSpec spec;
    spec.scope = "org:acme";
    spec.limit = 1'000'000'000;
    return account.set_budget(spec);
  }
  // One call; what was acknowledged.
  Pico spend(Account& account, const std::string& when) {
    clock_.advance(200ms);  // beyond the pause after a failure
    const auto held = account.reserve(request());
    if (!held) {
      expect_typed(held.error(), when);
      return 0;
    }
    expect_typed(account.sent(held->id), when);
    Cost cost;
    cost.pico = 70;
    const base::Status settled = account.settle(held->id, count_units({.input = 7}), cost);
    expect_typed(settled, when);
    return settled.ok() ? 70 : 0;
  }
  // A life in which calls fail; then the next one, in which none does. Returns how many there were.
  std::int64_t live(Durability level, Fault kind, int error, std::int64_t step) {
    const Folder folder;
    const std::string when = "call " + std::to_string(step) + ", " + std::strerror(error);
    Pico acknowledged = 0;
    bool limited = false;
    arm(kind, step, error);
    if (auto account = open(folder, level)) {
      const base::Status set = limit(**account);
      limited = set.ok();
      expect_typed(set, when);
      for (int i = 0; i < 6; ++i) acknowledged += spend(**account, when);
      // Readable while the disk fails.
      const auto report = verify_ledger(base::system_files(), folder.path());
      EXPECT_TRUE(report.has_value()) << when;
      EXPECT_TRUE((*account)->budgets("org:acme").has_value()) << when;
    } else {
      expect_typed(account.error(), when);
    }
    const std::int64_t made = calls;
    arm(Fault::kNone, 0, 0);
    clock_.advance(1s);
    auto next = open(folder, level);
    EXPECT_TRUE(next.has_value()) << when << ": " << (next ? "" : next.error().message());
    if (!next) return made;
    const auto states = (*next)->budgets("org:acme").value();
    if (limited) {
      EXPECT_EQ(states.size(), 1U) << when;
    }
    for (const BudgetState& state : states) {
      EXPECT_EQ(state.held, 0) << when;
      EXPECT_GE(state.used, acknowledged) << when;
      EXPECT_LE(state.used, 6 * 100) << when;
    }
    EXPECT_TRUE(limit(**next).ok()) << when;
    EXPECT_EQ(spend(**next, when), 70) << when;
    next->reset();
    const LedgerReport report = verify_ledger(base::system_files(), folder.path()).value();
    EXPECT_TRUE(report.ok) << when << ": " << report.first_difference;
    EXPECT_EQ(report.open_holds, 0) << when;
    return made;
  }

  testing::FakeClock clock_;
  static inline std::string call_id_ = "call";
};

TEST_F(FailingCalls, EveryCallMeetsEioOrEnospcAndNothingIsLost) {
  int lives = 0;
  for (const Durability level : {Durability::kProcess, Durability::kPower}) {
    for (const Fault kind : {Fault::kOnce, Fault::kFromThere}) {
      for (const int error : {EIO, ENOSPC}) {
        std::int64_t step = 1;  // until a life makes fewer calls: none of them failed then
        while (live(level, kind, error, step) >= step && !HasFailure()) ++step, ++lives;
        EXPECT_GT(step, 15);
      }
    }
  }
  EXPECT_GT(lives, 150);
}

// The mapping grows by 1 MiB: the disk refuses the second one while holds are open.
TEST_F(FailingCalls, AMappingThatCannotGrowIsATypedErrorAndLosesNothing) {
  for (const int error : {EIO, ENOSPC}) {
    const Folder folder;
    call_id_ = std::string(255, 'c');
    auto account = Account::open(folder.path(), {Durability::kProcess, &clock_, nullptr}).value();
    ASSERT_TRUE(limit(*account).ok());
    arm(Fault::kFromThere, 1, error, "fallocate");
    Pico acknowledged = 0;
    int refused = 0;
    for (int i = 0; i < 4'000 && refused < 3; ++i) {
      const Pico spent = spend(*account, "growth");
      acknowledged += spent;
      refused += spent == 0 ? 1 : 0;
    }
    EXPECT_EQ(refused, 3) << "it never grew";
    EXPECT_GT(acknowledged, 70 * 500);
    EXPECT_TRUE(verify_ledger(base::system_files(), folder.path()).has_value());
    arm(Fault::kNone, 0, 0);
    clock_.advance(1s);
    EXPECT_EQ(spend(*account, "after"), 70);
    acknowledged += 70;
    EXPECT_EQ(account->unwritten(), 0);
    account.reset();
    account = Account::open(folder.path(), {Durability::kProcess, &clock_, nullptr}).value();
    const BudgetState state = account->budgets("org:acme").value().at(0);
    EXPECT_EQ(state.held, 0);
    EXPECT_GE(state.used, acknowledged);
    EXPECT_LE(state.used, acknowledged + 300);
    account.reset();
    const LedgerReport report = verify_ledger(base::system_files(), folder.path()).value();
    EXPECT_TRUE(report.ok) << report.first_difference;
  }
  call_id_ = "call";
}

// A file that is done with is closed: only its lock is open until its process leaves.
TEST_F(FailingCalls, FinishedLedgersAreClosed) {
  const Folder folder;
  auto account = open(folder, Durability::kPower).value();
  ASSERT_TRUE(limit(*account).ok());
  for (int i = 0; i < 20; ++i) ASSERT_EQ(spend(*account, "rotation"), 70);
  std::size_t open_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
    open_files += target.ends_with(".ledger") && target.starts_with(folder.path()) ? 1 : 0;
  }
  const std::size_t files = ledger_files(base::system_files(), folder.path()).value().size();
  EXPECT_GT(files, 3U);
  EXPECT_EQ(open_files, files + 1);
}

}  // namespace
}  // namespace dure::money
