#include "dure/base/files.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace dure::base {
namespace {

class FilesTest : public ::testing::Test {
 protected:
  FilesTest() : folder_(::testing::TempDir() + "dure_files_test/" + name()) {
    EXPECT_TRUE(system_files().create_folder(folder_).ok());
    const auto names = system_files().list(folder_).value();
    for (const std::string& old : names) {
      EXPECT_TRUE(system_files().remove(folder_ + "/" + old).ok());
    }
  }
  static std::string name() {
    return ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  std::string folder_;
};

TEST_F(FilesTest, AppendsWhatItWasGiven) {
  const std::string path = folder_ + "/log";
  {
    auto file = system_files().open_append(path, true).value();
    EXPECT_TRUE(file->append("one").ok());
    EXPECT_TRUE(file->append("two").ok());
    EXPECT_TRUE(file->sync().ok());
    EXPECT_EQ(file->size(), 6U);
  }
  EXPECT_EQ(system_files().open_append(path, false).value()->size(), 6U);
  EXPECT_EQ(system_files().read(path).value(), "onetwo");
  EXPECT_EQ(system_files().open_append(path, true).error().code(), Code::kIo);
}

// KiB of the mapping of `path` that count as this process's memory.
std::size_t resident_of(const std::string& path) {
  std::ifstream maps("/proc/self/smaps");
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(path) != line.npos) found = true;
    if (!found || !line.starts_with("Rss:")) continue;
    std::size_t kib = 0;
    std::istringstream(line.substr(4)) >> kib;
    return kib;
  }
  ADD_FAILURE() << path << " is not mapped";
  return 0;
}

TEST_F(FilesTest, AMappedFileGrowsOnDiskAndNotInMemory) {
  const std::string path = folder_ + "/mapped";
  std::string expected;
  auto file = system_files().open_mapped(path, 64U << 20U).value();
  for (int i = 0; i < 16 * 1024; ++i) {
    const std::string record = std::to_string(i) + std::string(1020, 'x');
    ASSERT_TRUE(file->append(record).ok());
    expected += record;
  }
  EXPECT_GE(expected.size(), 16U << 20U);
  EXPECT_LE(resident_of(path), 3U << 10U);
  const std::string read = system_files().read(path).value();
  EXPECT_TRUE(read.substr(0, expected.size()) == expected);
}

TEST_F(FilesTest, ReplacesWhole) {
  const std::string path = folder_ + "/state";
  ASSERT_TRUE(system_files().replace(path, "old").ok());
  ASSERT_TRUE(system_files().replace(path, "new").ok());
  EXPECT_EQ(system_files().read(path).value(), "new");
  EXPECT_EQ(system_files().list(folder_).value(), std::vector<std::string>{"state"});
}

TEST_F(FilesTest, NamesWhatIsMissing) {
  const auto result = system_files().read(folder_ + "/none");
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), Code::kNotFound);
  EXPECT_NE(result.error().message().find("/none"), std::string::npos);
}

TEST_F(FilesTest, ReadsWhileAnotherAppends) {
  const std::string path = folder_ + "/grows";
  auto writer = system_files().open_append(path, true).value();
  auto reader = system_files().open_read(path).value();
  EXPECT_EQ(reader->size().value(), 0U);
  ASSERT_TRUE(writer->append("abcdef").ok());
  EXPECT_EQ(reader->size().value(), 6U);
  EXPECT_EQ(reader->read_at(2, 3).value(), "cde");
  EXPECT_EQ(reader->read_at(4, 100).value(), "ef");
  EXPECT_EQ(reader->read_at(9, 1).value(), "");
  EXPECT_EQ(system_files().open_read(folder_ + "/none").error().code(), Code::kNotFound);
}

TEST_F(FilesTest, LocksExcludeEachOtherAndEndWithTheirHolder) {
  const std::string path = folder_ + "/lock";
  auto first = system_files().open_lock(path).value();
  auto second = system_files().open_lock(path).value();
  ASSERT_TRUE(first->acquire().ok());
  EXPECT_FALSE(second->try_acquire().value());
  first->release();
  EXPECT_TRUE(second->try_acquire().value());
  EXPECT_FALSE(first->try_acquire().value());
  second.reset();
  EXPECT_TRUE(first->try_acquire().value());
}

}  // namespace
}  // namespace dure::base
