// dure/base/files.h - the disk as the core sees it: few calls, each of which may fail.
//
// Ledger and index write through this interface, so that tests can lose un-synced bytes, fill
// the disk or stop at any step (testing::FakeFiles). Reads of foreign documents do not belong
// here: they happen in a child process (dure.files).
//
// Files is thread-safe; each open file is used by one thread at a time.
#ifndef DURE_BASE_FILES_H_
#define DURE_BASE_FILES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"

namespace dure::base {

// An open file that only grows. Closed by the destructor.
class AppendFile {
 public:
  virtual ~AppendFile() = default;
  // Appends all of `bytes` or fails with kIo; after a failure the file's end is unknown and the
  // caller must not append again.
  virtual Status append(std::string_view bytes) = 0;
  // What was appended survives power loss once this returns ok.
  virtual Status sync() = 0;
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  // Files::rename gave it another name: errors name that one from here on.
  virtual void renamed(const std::string& path) = 0;
};

// An open file to read, also while another process appends. Closed by the destructor.
class ReadFile {
 public:
  virtual ~ReadFile() = default;
  // Up to `limit` bytes from `offset`; fewer only at the end of the file.
  virtual Result<std::string> read_at(std::uint64_t offset, std::size_t limit) = 0;
  // The file's size now.
  virtual Result<std::uint64_t> size() = 0;
};

// An advisory lock on a whole file (flock): between processes and between LockFiles, not between
// users of one. The kernel frees it when the holder dies. Freed and closed by the destructor.
class LockFile {
 public:
  virtual ~LockFile() = default;
  // Blocks until it is ours.
  virtual Status acquire() = 0;
  // True if it is ours now, false if somebody else holds it.
  virtual Result<bool> try_acquire() = 0;
  virtual void release() noexcept = 0;
};

// Bytes of a file in memory, shared with every process that maps it. Unmapped by the destructor.
class SharedMemory {
 public:
  virtual ~SharedMemory() = default;
  // Aligned to 4,096 bytes.
  [[nodiscard]] virtual std::byte* data() noexcept = 0;
  [[nodiscard]] virtual std::size_t size() const noexcept = 0;
  // What was stored survives power loss once this returns ok.
  virtual Status sync() = 0;
};

class Files {
 public:
  virtual ~Files() = default;
  // Opens for appending; creates with mode 0600 if missing. `exclusive`: fails with kIo if it
  // exists already, and nobody else may append to it while it is open.
  virtual Result<std::unique_ptr<AppendFile>> open_append(const std::string& path,
                                                          bool exclusive) = 0;
  // The whole file; kNotFound if it does not exist.
  virtual Result<std::string> read(const std::string& path) = 0;
  // Writes `bytes` to a temporary beside `path`, syncs it, renames it over `path`, syncs the
  // folder: `path` holds the old bytes or the new ones, never a mix.
  virtual Status replace(const std::string& path, std::string_view bytes) = 0;
  virtual Status truncate(const std::string& path, std::uint64_t size) = 0;
  virtual Status remove(const std::string& path) = 0;
  // Within one folder, over whatever has the new name; not synced.
  virtual Status rename(const std::string& from, const std::string& to) = 0;
  // Creates the folder and its parents with mode 0700; ok if it is there.
  virtual Status create_folder(const std::string& path) = 0;
  // Names (not paths) in the folder, sorted.
  virtual Result<std::vector<std::string>> list(const std::string& path) = 0;
  virtual Status sync_folder(const std::string& path) = 0;
  // kNotFound if it does not exist.
  virtual Result<std::unique_ptr<ReadFile>> open_read(const std::string& path) = 0;
  // Creates the file with mode 0600 if missing; takes no lock yet.
  virtual Result<std::unique_ptr<LockFile>> open_lock(const std::string& path) = 0;
  // As open_append with `exclusive`, at most `capacity` bytes; they are stored into mapped space
  // that is allocated ahead, so an append makes no system call and a full disk fails it before
  // anything is stored. Until truncate cuts it to size() the file ends in zeros. Cut meanwhile by
  // another program, it fails with kIo at its next step of 1 MiB; a store before that is SIGBUS.
  virtual Result<std::unique_ptr<AppendFile>> open_mapped(const std::string& path,
                                                          std::size_t capacity) = 0;
  // Maps the first `size` bytes; creates them as zeros with mode 0600 if missing. The space is
  // allocated: a full disk fails here, never a later store.
  virtual Result<std::unique_ptr<SharedMemory>> map_shared(const std::string& path,
                                                           std::size_t size) = 0;
  // A number that changes when the machine starts anew.
  virtual std::uint64_t boot() = 0;
};

// The machine's disk. Lives for ever.
[[nodiscard]] Files& system_files() noexcept;

}  // namespace dure::base

#endif  // DURE_BASE_FILES_H_
