#include "sql/database.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

namespace dure::sql {
namespace {

class DatabaseTest : public ::testing::Test {
 protected:
  DatabaseTest()
      : path_(::testing::TempDir() + "dure_sql_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".db") {
    std::filesystem::remove(path_);
  }
  Database open(int patience_ms = 0) {
    return Database::open(path_, OpenMode::kReadWrite, patience_ms).value();
  }
  std::string path_;
};

// Forks while other threads are inside SQLite: the child must not meet a mutex that nobody unlocks.
TEST_F(DatabaseTest, AForkedChildOpensWhileTheParentWorks) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer's own allocator has no fork handlers";
#endif
  ASSERT_TRUE(open().execute("CREATE TABLE t (a TEXT)").ok());
  std::atomic<bool> over = false;
  std::vector<std::jthread> workers;
  for (int i = 0; i < 3; ++i) {
    workers.emplace_back([&] {
      while (!over) {
        Database db = open(30'000);
        (void)db.integer("SELECT count(*) FROM t");
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);
      auto db = Database::open(path_ + ".child", OpenMode::kReadWrite, 0);
      ::_exit(db && db->execute("CREATE TABLE IF NOT EXISTS u (a TEXT)").ok() ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0) << "fork " << i;
  }
  over = true;
  workers.clear();
  std::filesystem::remove(path_ + ".child");
}

TEST_F(DatabaseTest, WaitsAsLongAsItWasTold) {
  Database holder = open();
  ASSERT_TRUE(holder.execute("CREATE TABLE t (a TEXT)").ok());
  ASSERT_TRUE(holder.execute("BEGIN IMMEDIATE").ok());
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(open(120).execute("BEGIN IMMEDIATE").ok());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(120));
  std::jthread leaving([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_TRUE(holder.execute("COMMIT").ok());
  });
  EXPECT_TRUE(open(60'000).execute("BEGIN IMMEDIATE").ok());
}

TEST_F(DatabaseTest, GivesBackWhatWasBound) {
  Database db = open();
  ASSERT_TRUE(db.execute("CREATE TABLE t (a INTEGER, b TEXT, c BLOB, d TEXT)").ok());
  Statement put = db.prepare("INSERT INTO t VALUES (?, ?, ?, ?)").value();
  put.bind(1, std::int64_t{-7});
  put.bind_text(2, "두레");
  put.bind_blob(3, std::string_view("\0x", 2));
  put.bind_null(4);
  ASSERT_TRUE(put.run().ok());
  Statement get = db.prepare("SELECT a, b, c, d FROM t").value();
  ASSERT_TRUE(get.step().value());
  EXPECT_EQ(get.integer(0), -7);
  EXPECT_EQ(get.text(1), "두레");
  EXPECT_EQ(get.blob(2), std::string_view("\0x", 2));
  EXPECT_TRUE(get.is_null(3));
  EXPECT_FALSE(get.step().value());
}

TEST_F(DatabaseTest, TransactionRollsBackUnlessCommitted) {
  Database db = open();
  ASSERT_TRUE(db.execute("CREATE TABLE t (a INTEGER)").ok());
  {
    auto lost = Transaction::begin(db);
    ASSERT_TRUE(lost.has_value());
    ASSERT_TRUE(db.execute("INSERT INTO t VALUES (1)").ok());
  }
  EXPECT_EQ(db.integer("SELECT count(*) FROM t").value(), 0);
  auto kept = Transaction::begin(db);
  ASSERT_TRUE(db.execute("INSERT INTO t VALUES (1)").ok());
  ASSERT_TRUE(kept->commit().ok());
  EXPECT_EQ(db.integer("SELECT count(*) FROM t").value(), 1);
}

TEST_F(DatabaseTest, ErrorsAreTyped) {
  Database one = open();
  Database two = open();
  ASSERT_TRUE(one.execute("CREATE TABLE t (a INTEGER)").ok());
  auto held = Transaction::begin(one);
  const auto refused = Transaction::begin(two);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), base::Code::kIo);
  EXPECT_TRUE(refused.error().retry_after().has_value());
  EXPECT_EQ(two.prepare("SELECT nothing FROM nowhere").error().code(), base::Code::kInternal);
  EXPECT_EQ(Database::open("/nonexistent/x.db", OpenMode::kReadWrite, 0).error().code(),
            base::Code::kIo);
}

TEST_F(DatabaseTest, FullDiskIsSaidAndReadsGoOn) {
  Database db = open();
  ASSERT_TRUE(db.execute("CREATE TABLE t (a BLOB); PRAGMA max_page_count = 4").ok());
  ASSERT_TRUE(db.execute("INSERT INTO t VALUES (zeroblob(10))").ok());
  const base::Status full = db.execute("INSERT INTO t VALUES (zeroblob(100000))");
  EXPECT_EQ(full.code(), base::Code::kIo);
  EXPECT_NE(full.message().find("disk is full"), std::string::npos);
  EXPECT_EQ(db.integer("SELECT count(*) FROM t").value(), 1);
}

}  // namespace
}  // namespace dure::sql
