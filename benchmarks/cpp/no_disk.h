// no_disk.h - disks that forward, and one that forgets ledgers: what remains is the account's time.
#ifndef DURE_BENCHMARKS_NO_DISK_H_
#define DURE_BENCHMARKS_NO_DISK_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/files.h"
#include "fake_files.h"

namespace dure::bench {

// Another disk, but for how ledgers are appended to.
class Forward : public base::Files {
 public:
  explicit Forward(base::Files& to) : to_(to) {}
  base::Result<std::unique_ptr<base::AppendFile>> open_append(const std::string& path,
                                                              bool exclusive) override {
    return to_.open_append(path, exclusive);
  }
  // By write(2).
  base::Result<std::unique_ptr<base::AppendFile>> open_mapped(const std::string& path,
                                                              std::size_t) override {
    return open_append(path, true);
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
  base::Result<std::unique_ptr<base::SharedMemory>> map_shared(const std::string& path,
                                                               std::size_t size) override {
    return to_.map_shared(path, size);
  }
  std::uint64_t boot() override { return to_.boot(); }

 private:
  base::Files& to_;
};

// A disk that forgets its ledgers: what remains is the time of the account itself.
class NoDisk final : public Forward {
  class Nothing final : public base::AppendFile {
   public:
    base::Status append(std::string_view bytes) override {
      size_ += bytes.size();
      return {};
    }
    base::Status sync() override { return {}; }
    [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
    void renamed(const std::string& /*path*/) override {}

   private:
    std::uint64_t size_ = 0;
  };

 public:
  NoDisk() : Forward(disk_) {}
  base::Result<std::unique_ptr<base::AppendFile>> open_append(const std::string& path,
                                                              bool exclusive) override {
    if (path.find(".ledger") != std::string::npos) return std::make_unique<Nothing>();
    return Forward::open_append(path, exclusive);
  }
  base::Status rename(const std::string& /*from*/, const std::string& /*to*/) override {
    return {};
  }
  base::Status truncate(const std::string& /*path*/, std::uint64_t /*size*/) override { return {}; }

 private:
  testing::FakeFiles disk_;
};

}  // namespace dure::bench

#endif  // DURE_BENCHMARKS_NO_DISK_H_
