#include "dure/base/files.h"

#include <gtest/gtest.h>

#include <string>

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

}  // namespace
}  // namespace dure::base
