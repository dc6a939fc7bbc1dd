// tests/cpp/money/passing_files.h - a disk that passes every call on, for tests that change one.
#ifndef DURE_TESTS_MONEY_PASSING_FILES_H_
#define DURE_TESTS_MONEY_PASSING_FILES_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/files.h"

namespace dure::testing {

class PassingFiles : public base::Files {
 public:
  // `to` outlives this.
  explicit PassingFiles(base::Files& to) : to_(to) {}

  base::Result<std::unique_ptr<base::AppendFile>> open_append(const std::string& path,
                                                              bool exclusive) override {
    return to_.open_append(path, exclusive);
  }
  base::Result<std::string> read(const std::string& path) override { return to_.read(path); }
  base::Status replace(const std::string& path, std::string_view bytes) override {
    return to_.replace(path, bytes);
  }
  base::Status truncate(const std::string& path, std::uint64_t size) override {
    return to_.truncate(path, size);
  }
  base::Status remove(const std::string& path) override { return to_.remove(path); }
  base::Status rename(const std::string& from, const std::string& to) override {
    return to_.rename(from, to);
  }
  base::Status create_folder(const std::string& path) override { return to_.create_folder(path); }
  base::Result<std::vector<std::string>> list(const std::string& path) override {
    return to_.list(path);
  }
  base::Status sync_folder(const std::string& path) override { return to_.sync_folder(path); }
  base::Result<std::unique_ptr<base::ReadFile>> open_read(const std::string& path) override {
    return to_.open_read(path);
  }
  base::Result<std::unique_ptr<base::LockFile>> open_lock(const std::string& path) override {
    return to_.open_lock(path);
  }
  base::Result<std::unique_ptr<base::AppendFile>> open_mapped(const std::string& path,
                                                              std::size_t capacity) override {
    return to_.open_mapped(path, capacity);
  }
  base::Result<std::unique_ptr<base::SharedMemory>> map_shared(const std::string& path,
                                                               std::size_t size) override {
    return to_.map_shared(path, size);
  }
  std::uint64_t boot() override { return to_.boot(); }

 private:
  base::Files& to_;
};

}  // namespace dure::testing

#endif  // DURE_TESTS_MONEY_PASSING_FILES_H_
