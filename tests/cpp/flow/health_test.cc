#include "dure/flow/health.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "dure/flow/breaker.h"
#include "dure/flow/key_pool.h"
#include "fake_clock.h"
#include "fake_random.h"

namespace dure::flow {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)

class SharedHealthTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "dure_health_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  // As another process maps it.
  [[nodiscard]] std::shared_ptr<KeyHealth> cell(std::string_view name) const {
    return SharedHealth::open(base::system_files(), folder_ + "/health").value()->cell(name);
  }

  std::string folder_;
  testing::FakeClock clock_;
  testing::FakeRandom random_{1};
};

// Runs `work` in a process of its own; whether it ended well.
template <typename Work>
bool in_child(Work work) {
  const pid_t child = fork();
  if (child == 0) {
    work();
    _exit(0);
  }
  int status = -1;
  return waitpid(child, &status, 0) == child && status == 0;
}

TEST_F(SharedHealthTest, AKeyThatAnotherProcessParkedIsParkedUntilItIsLoadedAnew) {
  KeyPool ours(clock_);
  ours.add({}, cell("a key one"));
  ours.add({}, cell("a key two"));
  clock_.advance(1s);
  ASSERT_TRUE(in_child([&] {
    KeyPool theirs(clock_);
    theirs.add({}, cell("a key one"));
    clock_.advance(1s);
    theirs.park(0);
  }));
  EXPECT_TRUE(ours.state(0).parked);
  EXPECT_EQ(ours.usable(), 1U);
  clock_.advance(5s);
  KeyPool later(clock_);  // a worker that starts afterwards tries it again
  later.add({}, cell("a key one"));
  EXPECT_FALSE(later.state(0).parked);
  ours.revive(0);
  EXPECT_FALSE(ours.state(0).parked);
}

TEST_F(SharedHealthTest, AQuotaSleepsInEveryProcess) {
  KeyPool ours(clock_);
  ours.add({.quota = "q"}, cell("a key one"), cell("a quota q"));
  ours.add({.quota = "q"}, cell("a key two"), cell("a quota q"));
  ASSERT_TRUE(in_child([&] {
    KeyPool theirs(clock_);
    theirs.add({.quota = "q"}, cell("a key two"), cell("a quota q"));
    theirs.sleep(0, 30s);
  }));
  EXPECT_EQ(ours.take()->wait, 30s);
  clock_.advance(30s);
  EXPECT_EQ(ours.take()->wait, 0s);
}

TEST_F(SharedHealthTest, FailuresOfAllProcessesOpenOneBreaker) {
  Breaker ours(clock_, random_, {}, cell("a key one"));
  ASSERT_TRUE(in_child([&] {
    Breaker theirs(clock_, random_, {}, cell("a key one"));
    for (int i = 0; i < 19; ++i) theirs.tell(theirs.ask(), Breaker::Result::kFailed);
  }));
  EXPECT_EQ(ours.state(), Breaker::State::kClosed);
  ours.tell(ours.ask(), Breaker::Result::kFailed);
  EXPECT_EQ(ours.state(), Breaker::State::kOpen);
  Breaker third(clock_, random_, {}, cell("a key one"));
  EXPECT_FALSE(third.ask().go);
}

TEST_F(SharedHealthTest, OneProbeForAllAndAProbeOfADeadProcessIsOver) {
  Breaker ours(clock_, random_, {}, cell("a key one"));
  for (int i = 0; i < 20; ++i) ours.tell(ours.ask(), Breaker::Result::kFailed);
  clock_.advance(8s);
  ASSERT_TRUE(in_child([&] {
    Breaker theirs(clock_, random_, {}, cell("a key one"));
    if (!theirs.ask().probe) abort();  // and never tells
  }));
  EXPECT_FALSE(ours.ask().go);
  clock_.advance(60s);
  const auto pass = ours.ask();
  EXPECT_TRUE(pass.probe);
  ours.tell(pass, Breaker::Result::kWorked);
  EXPECT_EQ(ours.state(), Breaker::State::kClosed);
}

TEST_F(SharedHealthTest, WhoeverAsksAtOnceGetsTheSameCellAndNoneIsLostWhenAllAreTaken) {
  const auto known = SharedHealth::open(base::system_files(), folder_ + "/health").value();
  std::vector<KeyHealth*> seen(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    threads.emplace_back([&, i] { seen[i] = known->cell("the one").get(); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const KeyHealth* one : seen) EXPECT_EQ(one, seen[0]);
  for (std::size_t i = 0; i < SharedHealth::kCells; ++i) {
    ASSERT_NE(known->cell("key " + std::to_string(i)), nullptr);
  }
  EXPECT_EQ(known->cell("one too many")->name.load(), 0U) << "of this process alone";
}

TEST_F(SharedHealthTest, AFileThatIsNoneOfOursIsNamed) {
  auto memory = base::system_files().map_shared(folder_ + "/health", 4096).value();
  memory->data()[0] = std::byte{7};
  const auto refused = SharedHealth::open(base::system_files(), folder_ + "/health");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), base::Code::kCorrupt);
  EXPECT_NE(refused.error().message().find("/health"), std::string::npos);
}

}  // namespace
}  // namespace dure::flow
