// testing/fake_files.h - a disk in memory that fills up, fails at any step and loses power.
//
// Every call that changes something is one step: append, sync, create, truncate, remove, rename,
// replace, create_folder, sync_folder. A fault is armed for a step and an error code; `crash` keeps
// only what was synced. Locks exclude each other as flock does and end with crash().
//
// Thread-safe.
#ifndef DURE_TESTING_FAKE_FILES_H_
#define DURE_TESTING_FAKE_FILES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "dure/base/files.h"

namespace dure::testing {

class FakeFiles final : public base::Files {
 public:
  FakeFiles();
  ~FakeFiles() override;

  // The next `count` changing calls after `steps` more of them fail; an append that fails has
  // written half of its bytes.
  void fail_after(std::int64_t steps,
                  std::int64_t count = std::numeric_limits<std::int64_t>::max());
  void heal();
  // Appends fail once all files together would exceed `bytes`.
  void set_room(std::uint64_t bytes);
  [[nodiscard]] std::int64_t steps() const;
  // Power loss: un-synced bytes and names are gone, locks are free, open files are dead.
  void crash();
  // Power loss by a disk that writes in any order: of what was not synced, each page of 4 KiB and
  // each name is kept or lost by itself, as `seed` has it; a lost page reads as zeros.
  void crash_in_any_order(std::uint64_t seed);
  // kill -9: what was written stays; locks are free, open files are dead.
  void kill();
  // Flips one bit.
  void flip(const std::string& path, std::uint64_t bit);

  base::Result<std::unique_ptr<base::AppendFile>> open_append(const std::string& path,
                                                              bool exclusive) override;
  base::Result<std::string> read(const std::string& path) override;
  base::Status replace(const std::string& path, std::string_view bytes) override;
  base::Status truncate(const std::string& path, std::uint64_t size) override;
  base::Status remove(const std::string& path) override;
  base::Status rename(const std::string& from, const std::string& to) override;
  base::Status create_folder(const std::string& path) override;
  base::Result<std::vector<std::string>> list(const std::string& path) override;
  base::Status sync_folder(const std::string& path) override;
  base::Result<std::unique_ptr<base::ReadFile>> open_read(const std::string& path) override;
  base::Result<std::unique_ptr<base::LockFile>> open_lock(const std::string& path) override;
  // Not padded with zeros: only its errors differ from open_append's on this disk.
  base::Result<std::unique_ptr<base::AppendFile>> open_mapped(const std::string& path,
                                                              std::size_t capacity) override;
  // Kept as it is by crash and kill: stores reach it at once.
  base::Result<std::unique_ptr<base::SharedMemory>> map_shared(const std::string& path,
                                                               std::size_t size) override;
  std::uint64_t boot() override;  // changes with crash

 private:
  friend class FakeAppendFile;
  friend class FakeReadFile;
  friend class FakeLockFile;
  friend class FakeSharedMemory;
  struct alignas(4096) Page {
    std::array<std::byte, 4096> bytes{};
  };
  struct Node {
    std::string bytes;
    std::vector<Page> shared;  // of a mapped file; then `bytes` is empty
    std::string synced;
    bool named = false;  // the folder was synced since it was created
    const void* lock_owner = nullptr;
  };
  // Counts one changing call; fails it if so armed. REQUIRES: mutex_ is held.
  base::Status step(const std::string& what);
  [[nodiscard]] std::uint64_t used() const;

  mutable std::mutex mutex_;  // guards everything below
  std::map<std::string, std::shared_ptr<Node>> nodes_;
  std::set<std::string> folders_;
  std::int64_t steps_ = 0;
  std::int64_t fail_from_ = std::numeric_limits<std::int64_t>::max();
  std::int64_t fail_until_ = std::numeric_limits<std::int64_t>::max();
  std::uint64_t room_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t boot_ = 1;
  std::uint64_t life_ = 0;  // grows at crash and kill: older open files are dead
};

}  // namespace dure::testing

#endif  // DURE_TESTING_FAKE_FILES_H_
