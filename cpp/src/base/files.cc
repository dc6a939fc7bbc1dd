#include "dure/base/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dure/base/hash.h"

namespace dure::base {
namespace {

Status io_error(std::string_view what, const std::string& path, int error) {
  std::string reason;
  reason.resize(128);
  reason = strerror_r(error, reason.data(), reason.size());
  const Code code = error == ENOENT ? Code::kNotFound : Code::kIo;
  std::string advice;
  if (error == ENOSPC || error == EDQUOT) advice = ": free some space, then try again";
  return Status(code, std::string(what) + " " + path + ": " + reason + advice).with("path", path);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool ok() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

// Writes where the file's offset is, or at `at`.
Status write_all(int fd, std::string_view bytes, const std::string& path, off_t at = -1) {
  while (!bytes.empty()) {
    const ssize_t count = at < 0 ? ::write(fd, bytes.data(), bytes.size())
                                 : ::pwrite(fd, bytes.data(), bytes.size(), at);
    if (count < 0) {
      if (errno == EINTR) continue;
      return io_error("cannot write", path, errno);
    }
    bytes.remove_prefix(static_cast<std::size_t>(count));
    if (at >= 0) at += count;
  }
  return {};
}

class PosixAppendFile final : public AppendFile {
 public:
  // `alone`: nobody else appends, so that its end is known and need not be looked for.
  PosixAppendFile(int fd, std::string path, std::uint64_t size, bool alone)
      : fd_(fd), path_(std::move(path)), size_(size), alone_(alone) {}

  Status append(std::string_view bytes) override {
    Status status =
        write_all(fd_.get(), bytes, path_, alone_ ? static_cast<off_t>(size_) : off_t{-1});
    if (status.ok()) size_ += bytes.size();
    return status;
  }
  Status sync() override {
    if (::fdatasync(fd_.get()) != 0) return io_error("cannot sync", path_, errno);
    return {};
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
  void renamed(const std::string& path) override { path_ = path; }

 private:
  Descriptor fd_;
  std::string path_;
  std::uint64_t size_;
  const bool alone_;
};

class PosixReadFile final : public ReadFile {
 public:
  PosixReadFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  Result<std::string> read_at(std::uint64_t offset, std::size_t limit) override {
    std::string bytes(limit, '\0');
    std::size_t filled = 0;
    while (filled < limit) {
      const ssize_t count = ::pread(fd_.get(), bytes.data() + filled, limit - filled,
                                    static_cast<off_t>(offset + filled));
      if (count < 0) {
        if (errno == EINTR) continue;
        return fail(io_error("cannot read", path_, errno));
      }
      if (count == 0) break;
      filled += static_cast<std::size_t>(count);
    }
    bytes.resize(filled);
    return bytes;
  }
  Result<std::uint64_t> size() override {
    struct stat info{};
    if (::fstat(fd_.get(), &info) != 0) {
      return fail(io_error("cannot read the size of", path_, errno));
    }
    return static_cast<std::uint64_t>(info.st_size);
  }

 private:
  Descriptor fd_;
  std::string path_;
};

class PosixLockFile final : public LockFile {
 public:
  PosixLockFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  Status acquire() override {
    while (::flock(fd_.get(), LOCK_EX) != 0) {
      if (errno != EINTR) return io_error("cannot lock", path_, errno);
    }
    return {};
  }
  Result<bool> try_acquire() override {
    while (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return false;
      if (errno != EINTR) return fail(io_error("cannot lock", path_, errno));
    }
    return true;
  }
  void release() noexcept override { ::flock(fd_.get(), LOCK_UN); }

 private:
  Descriptor fd_;
  std::string path_;
};

// Unmaps when it goes.
class Mapping {
 public:
  Mapping(void* data, std::size_t size) noexcept : data_(data), size_(size) {}
  ~Mapping() {
    if (data_ != MAP_FAILED) ::munmap(data_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(data_); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool ok() const noexcept { return data_ != MAP_FAILED; }

 private:
  void* data_;
  std::size_t size_;
};

class PosixMappedFile final : public AppendFile {
 public:
  // `map`: `capacity` bytes of the file's address space, of which nothing is allocated yet.
  PosixMappedFile(int fd, std::string path, void* map, std::size_t capacity)
      : fd_(fd), path_(std::move(path)), map_(map, capacity) {}

  Status append(std::string_view bytes) override {
    if (bytes.size() > allocated_ - size_) {
      if (Status status = allocate(size_ + bytes.size()); !status.ok()) return status;
    }
    std::memcpy(map_.data() + size_, bytes.data(), bytes.size());
    size_ += bytes.size();
    return {};
  }
  Status sync() override {
    if (::fdatasync(fd_.get()) != 0) return io_error("cannot sync", path_, errno);
    return {};
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
  void renamed(const std::string& path) override { path_ = path; }

 private:
  static constexpr std::size_t kStep = 1U << 20U;

  Status allocate(std::size_t needed) {
    if (needed > map_.size()) return io_error("cannot grow", path_, EFBIG);
    struct stat info{};
    if (::fstat(fd_.get(), &info) != 0) return io_error("cannot read the size of", path_, errno);
    if (static_cast<std::uint64_t>(info.st_size) < allocated_) {
      return Status(Code::kIo, path_ + " was cut by another program while it was written")
          .with("path", path_);
    }
    const std::size_t wanted = std::min(map_.size(), (needed / kStep + 1) * kStep);
    const int error = ::posix_fallocate(fd_.get(), static_cast<off_t>(allocated_),
                                        static_cast<off_t>(wanted - allocated_));
    if (error != 0) return io_error("cannot allocate", path_, error);
#ifdef MADV_POPULATE_WRITE
    // One call instead of a page fault every 4 KiB; kernels before 5.14 take the faults.
    (void)::madvise(map_.data() + allocated_, wanted - allocated_, MADV_POPULATE_WRITE);
#endif
    allocated_ = wanted;
    release_written();
    return {};
  }
  // What was written stays in the kernel's cache of the file and leaves this process's memory.
  void release_written() noexcept {
    const std::size_t end = size_ / kStep * kStep;
    if (end == released_) return;
    (void)::madvise(map_.data() + released_, end - released_, MADV_DONTNEED);
    released_ = end;
  }

  Descriptor fd_;
  std::string path_;
  Mapping map_;
  std::size_t allocated_ = 0;
  std::size_t size_ = 0;
  std::size_t released_ = 0;
};

class PosixSharedMemory final : public SharedMemory {
 public:
  PosixSharedMemory(void* map, std::size_t size, std::string path)
      : map_(map, size), path_(std::move(path)) {}
  [[nodiscard]] std::byte* data() noexcept override { return map_.data(); }
  [[nodiscard]] std::size_t size() const noexcept override { return map_.size(); }
  Status sync() override {
    if (::msync(map_.data(), map_.size(), MS_SYNC) != 0) {
      return io_error("cannot sync", path_, errno);
    }
    return {};
  }

 private:
  Mapping map_;
  std::string path_;
};

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

class PosixFiles final : public Files {
 public:
  Result<std::unique_ptr<AppendFile>> open_append(const std::string& path,
                                                  bool exclusive) override {
    const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (exclusive ? O_EXCL : O_APPEND);
    const int fd = ::open(path.c_str(), flags, 0600);
    if (fd < 0) return fail(io_error("cannot open", path, errno));
    struct stat info{};
    if (::fstat(fd, &info) != 0) {
      const int error = errno;
      ::close(fd);
      return fail(io_error("cannot read the size of", path, error));
    }
    return std::make_unique<PosixAppendFile>(fd, path, static_cast<std::uint64_t>(info.st_size),
                                             exclusive);
  }

  Result<std::string> read(const std::string& path) override {
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.ok()) return fail(io_error("cannot open", path, errno));
    std::string bytes;
    std::string part(1U << 16U, '\0');
    while (true) {
      const ssize_t count = ::read(fd.get(), part.data(), part.size());
      if (count < 0) {
        if (errno == EINTR) continue;
        return fail(io_error("cannot read", path, errno));
      }
      if (count == 0) return bytes;
      bytes.append(part.data(), static_cast<std::size_t>(count));
    }
  }

  Status replace(const std::string& path, std::string_view bytes) override {
    const std::string temporary = path + ".tmp";
    {
      const Descriptor fd(
          ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
      if (!fd.ok()) return io_error("cannot create", temporary, errno);
      if (Status status = write_all(fd.get(), bytes, temporary); !status.ok()) return status;
      if (::fsync(fd.get()) != 0) return io_error("cannot sync", temporary, errno);
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
      return io_error("cannot rename onto", path, errno);
    }
    return sync_folder(folder_of(path));
  }

  Status truncate(const std::string& path, std::uint64_t size) override {
    if (::truncate(path.c_str(), static_cast<off_t>(size)) != 0) {
      return io_error("cannot truncate", path, errno);
    }
    return {};
  }

  Status remove(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) return io_error("cannot remove", path, errno);
    return {};
  }

  Status rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return io_error("cannot rename onto", to, errno);
    return {};
  }

  Status create_folder(const std::string& path) override {
    for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
      const std::string part = path.substr(0, slash);
      if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
        return io_error("cannot create folder", part, errno);
      }
      if (slash == std::string::npos) return {};
    }
  }

  Result<std::vector<std::string>> list(const std::string& path) override {
    DIR* folder = ::opendir(path.c_str());
    if (folder == nullptr) return fail(io_error("cannot list", path, errno));
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(folder)) {  // NOLINT(concurrency-mt-unsafe): own DIR
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    ::closedir(folder);
    std::sort(names.begin(), names.end());
    return names;
  }

  Status sync_folder(const std::string& path) override {
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.ok()) return io_error("cannot open folder", path, errno);
    if (::fsync(fd.get()) != 0) return io_error("cannot sync folder", path, errno);
    return {};
  }

  Result<std::unique_ptr<ReadFile>> open_read(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(io_error("cannot open", path, errno));
    return std::make_unique<PosixReadFile>(fd, path);
  }

  Result<std::unique_ptr<LockFile>> open_lock(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return fail(io_error("cannot open", path, errno));
    return std::make_unique<PosixLockFile>(fd, path);
  }

  Result<std::unique_ptr<AppendFile>> open_mapped(const std::string& path,
                                                  std::size_t capacity) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return fail(io_error("cannot open", path, errno));
    void* map = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
      const int error = errno;
      ::close(fd);
      ::unlink(path.c_str());
      return fail(io_error("cannot map", path, error));
    }
    return std::make_unique<PosixMappedFile>(fd, path, map, capacity);
  }

  Result<std::unique_ptr<SharedMemory>> map_shared(const std::string& path,
                                                   std::size_t size) override {
    const Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd.ok()) return fail(io_error("cannot open", path, errno));
    if (const int error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(size)); error != 0) {
      return fail(io_error("cannot allocate", path, error));
    }
    void* map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (map == MAP_FAILED) return fail(io_error("cannot map", path, errno));
    return std::make_unique<PosixSharedMemory>(map, size, path);
  }

  std::uint64_t boot() override {
    const auto id = read("/proc/sys/kernel/random/boot_id");
    return id ? hash64(*id) : 1;  // without it a restart is taken for none
  }
};

}  // namespace

Files& system_files() noexcept {
  static PosixFiles files;
  return files;
}

}  // namespace dure::base
