#include "fake_files.h"

#include <algorithm>
#include <random>
#include <utility>

namespace dure::testing {
namespace {

base::Status io(const std::string& message) { return {base::Code::kIo, message}; }
base::Status missing(const std::string& path) {
  return {base::Code::kNotFound, "cannot open " + path + ": no such file"};
}
std::string folder_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

}  // namespace

class FakeAppendFile final : public base::AppendFile {
 public:
  FakeAppendFile(FakeFiles& files, std::shared_ptr<FakeFiles::Node> node, std::string path)
      : files_(files), node_(std::move(node)), path_(std::move(path)), life_(files.life_) {}

  base::Status append(std::string_view bytes) override {
    const std::scoped_lock lock(files_.mutex_);
    if (life_ != files_.life_) return io("dead process");
    base::Status status = files_.step("cannot write " + path_);
    if (status.ok() && files_.used() + bytes.size() > files_.room_) {
      status = io("cannot write " + path_ + ": No space left on device: free some space");
    }
    node_->bytes += status.ok() ? bytes : bytes.substr(0, bytes.size() / 2);
    return status;
  }
  base::Status sync() override {
    const std::scoped_lock lock(files_.mutex_);
    if (life_ != files_.life_) return io("dead process");
    if (base::Status status = files_.step("cannot sync " + path_); !status.ok()) return status;
    node_->synced = node_->bytes;
    return {};
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return node_->bytes.size(); }
  void renamed(const std::string& path) override { path_ = path; }

 private:
  FakeFiles& files_;
  std::shared_ptr<FakeFiles::Node> node_;
  std::string path_;
  std::uint64_t life_;
};

class FakeReadFile final : public base::ReadFile {
 public:
  FakeReadFile(FakeFiles& files, std::shared_ptr<FakeFiles::Node> node)
      : files_(files), node_(std::move(node)) {}
  base::Result<std::string> read_at(std::uint64_t offset, std::size_t limit) override {
    const std::scoped_lock lock(files_.mutex_);
    if (offset >= node_->bytes.size()) return std::string();
    return node_->bytes.substr(offset, limit);
  }
  base::Result<std::uint64_t> size() override {
    const std::scoped_lock lock(files_.mutex_);
    return node_->bytes.size();
  }

 private:
  FakeFiles& files_;
  std::shared_ptr<FakeFiles::Node> node_;
};

class FakeLockFile final : public base::LockFile {
 public:
  FakeLockFile(FakeFiles& files, std::shared_ptr<FakeFiles::Node> node)
      : files_(files), node_(std::move(node)) {}
  ~FakeLockFile() override { release(); }

  // Single-threaded tests: somebody else's lock would never come free.
  base::Status acquire() override {
    const auto got = try_acquire();
    return *got ? base::Status() : io("deadlock: the lock is held");
  }
  base::Result<bool> try_acquire() override {
    const std::scoped_lock lock(files_.mutex_);
    if (node_->lock_owner != nullptr && node_->lock_owner != this) return false;
    node_->lock_owner = this;
    return true;
  }
  void release() noexcept override {
    const std::scoped_lock lock(files_.mutex_);
    if (node_->lock_owner == this) node_->lock_owner = nullptr;
  }

 private:
  FakeFiles& files_;
  std::shared_ptr<FakeFiles::Node> node_;
};

class FakeSharedMemory final : public base::SharedMemory {
 public:
  explicit FakeSharedMemory(std::shared_ptr<FakeFiles::Node> node) : node_(std::move(node)) {}
  [[nodiscard]] std::byte* data() noexcept override { return node_->shared.front().bytes.data(); }
  [[nodiscard]] std::size_t size() const noexcept override { return node_->shared.size() * 4096; }
  base::Status sync() override { return {}; }

 private:
  std::shared_ptr<FakeFiles::Node> node_;
};

FakeFiles::FakeFiles() = default;
FakeFiles::~FakeFiles() = default;

void FakeFiles::fail_after(std::int64_t steps, std::int64_t count) {
  const std::scoped_lock lock(mutex_);
  fail_from_ = steps_ + steps;
  const bool endless = count > std::numeric_limits<std::int64_t>::max() - fail_from_;
  fail_until_ = endless ? std::numeric_limits<std::int64_t>::max() : fail_from_ + count;
}

void FakeFiles::heal() {
  const std::scoped_lock lock(mutex_);
  fail_from_ = fail_until_ = std::numeric_limits<std::int64_t>::max();
  room_ = std::numeric_limits<std::uint64_t>::max();
}

void FakeFiles::set_room(std::uint64_t bytes) {
  const std::scoped_lock lock(mutex_);
  room_ = bytes;
}

std::int64_t FakeFiles::steps() const {
  const std::scoped_lock lock(mutex_);
  return steps_;
}

void FakeFiles::crash() {
  const std::scoped_lock lock(mutex_);
  ++life_;
  ++boot_;
  std::erase_if(nodes_, [](const auto& entry) {
    return !entry.second->named && entry.second->shared.empty();
  });
  for (auto& [path, node] : nodes_) {
    node->bytes = node->synced;
    node->lock_owner = nullptr;
  }
}

void FakeFiles::crash_in_any_order(std::uint64_t seed) {
  std::mt19937_64 chance(seed);
  const auto lost = [&] { return (chance() & 1U) != 0; };
  {
    const std::scoped_lock lock(mutex_);
    for (auto& [path, node] : nodes_) {
      if (!node->shared.empty()) continue;
      std::string left = node->bytes;
      for (std::size_t at = 0; at < left.size(); at += 4096) {
        const std::size_t size = std::min<std::size_t>(4096, left.size() - at);
        const std::string_view synced =
            std::string_view(node->synced).substr(std::min(at, node->synced.size()), size);
        if (synced == std::string_view(left).substr(at, size) || !lost()) continue;
        left.replace(at, size, std::string(synced) + std::string(size - synced.size(), '\0'));
      }
      // The size is written by itself too.
      if (left.size() > node->synced.size() && lost()) left.resize(node->synced.size());
      node->synced = std::move(left);
      node->named = node->named || !lost();
    }
  }
  crash();
}

void FakeFiles::kill() {
  const std::scoped_lock lock(mutex_);
  ++life_;
  for (auto& [path, node] : nodes_) node->lock_owner = nullptr;
}

void FakeFiles::flip(const std::string& path, std::uint64_t bit) {
  const std::scoped_lock lock(mutex_);
  Node& node = *nodes_.at(path);
  if (!node.shared.empty()) {
    node.shared.at(bit / 8 / 4096).bytes.at(bit / 8 % 4096) ^= std::byte{1} << (bit % 8);
    return;
  }
  char& byte = node.bytes.at(bit / 8);
  byte = static_cast<char>(static_cast<unsigned char>(byte) ^ (1U << (bit % 8)));
}

base::Status FakeFiles::step(const std::string& what) {
  const std::int64_t now = steps_++;
  if (now >= fail_from_ && now < fail_until_) return io(what + ": Input/output error");
  return {};
}

std::uint64_t FakeFiles::used() const {
  std::uint64_t sum = 0;
  for (const auto& [path, node] : nodes_) sum += node->bytes.size() + node->shared.size() * 4096;
  return sum;
}

base::Result<std::unique_ptr<base::AppendFile>> FakeFiles::open_append(const std::string& path,
                                                                       bool exclusive) {
  const std::scoped_lock lock(mutex_);
  auto& node = nodes_[path];
  if (node != nullptr && exclusive) return base::fail(io("cannot open " + path + ": it exists"));
  if (node == nullptr) {
    if (base::Status status = step("cannot create " + path); !status.ok()) {
      nodes_.erase(path);
      return base::fail(std::move(status));
    }
    node = std::make_shared<Node>();
  }
  return std::make_unique<FakeAppendFile>(*this, node, path);
}

base::Result<std::string> FakeFiles::read(const std::string& path) {
  const std::scoped_lock lock(mutex_);
  const auto found = nodes_.find(path);
  if (found == nodes_.end()) return base::fail(missing(path));
  const Node& node = *found->second;
  if (node.shared.empty()) return node.bytes;
  return std::string(reinterpret_cast<const char*>(node.shared.data()), node.shared.size() * 4096);
}

base::Status FakeFiles::replace(const std::string& path, std::string_view bytes) {
  const std::scoped_lock lock(mutex_);
  if (base::Status status = step("cannot replace " + path); !status.ok()) return status;
  auto node = std::make_shared<Node>();
  node->bytes = node->synced = bytes;
  node->named = true;
  nodes_[path] = std::move(node);
  return {};
}

base::Status FakeFiles::truncate(const std::string& path, std::uint64_t size) {
  const std::scoped_lock lock(mutex_);
  if (base::Status status = step("cannot truncate " + path); !status.ok()) return status;
  const auto found = nodes_.find(path);
  if (found == nodes_.end()) return missing(path);
  found->second->bytes.resize(size);
  return {};
}

base::Status FakeFiles::remove(const std::string& path) {
  const std::scoped_lock lock(mutex_);
  if (base::Status status = step("cannot remove " + path); !status.ok()) return status;
  return nodes_.erase(path) == 1 ? base::Status() : missing(path);
}

base::Status FakeFiles::rename(const std::string& from, const std::string& to) {
  const std::scoped_lock lock(mutex_);
  if (base::Status status = step("cannot rename onto " + to); !status.ok()) return status;
  const auto found = nodes_.find(from);
  if (found == nodes_.end()) return missing(from);
  nodes_[to] = std::move(found->second);
  nodes_.erase(from);
  return {};
}

base::Status FakeFiles::create_folder(const std::string& path) {
  const std::scoped_lock lock(mutex_);
  if (folders_.contains(path)) return {};
  if (base::Status status = step("cannot create folder " + path); !status.ok()) return status;
  folders_.insert(path);
  return {};
}

base::Result<std::vector<std::string>> FakeFiles::list(const std::string& path) {
  const std::scoped_lock lock(mutex_);
  if (!folders_.contains(path)) return base::fail(missing(path));
  std::vector<std::string> names;
  for (const auto& [name, node] : nodes_) {
    if (folder_of(name) == path) names.push_back(name.substr(path.size() + 1));
  }
  return names;
}

base::Status FakeFiles::sync_folder(const std::string& path) {
  const std::scoped_lock lock(mutex_);
  if (base::Status status = step("cannot sync folder " + path); !status.ok()) return status;
  for (auto& [name, node] : nodes_) {
    if (folder_of(name) == path) node->named = true;
  }
  return {};
}

base::Result<std::unique_ptr<base::ReadFile>> FakeFiles::open_read(const std::string& path) {
  const std::scoped_lock lock(mutex_);
  const auto found = nodes_.find(path);
  if (found == nodes_.end()) return base::fail(missing(path));
  return std::make_unique<FakeReadFile>(*this, found->second);
}

base::Result<std::unique_ptr<base::LockFile>> FakeFiles::open_lock(const std::string& path) {
  const std::scoped_lock lock(mutex_);
  auto& node = nodes_[path];
  if (node == nullptr) node = std::make_shared<Node>();
  return std::make_unique<FakeLockFile>(*this, node);
}

base::Result<std::unique_ptr<base::AppendFile>> FakeFiles::open_mapped(const std::string& path,
                                                                       std::size_t /*capacity*/) {
  return open_append(path, true);
}

base::Result<std::unique_ptr<base::SharedMemory>> FakeFiles::map_shared(const std::string& path,
                                                                        std::size_t size) {
  const std::scoped_lock lock(mutex_);
  auto& node = nodes_[path];
  if (node == nullptr) {
    node = std::make_shared<Node>();
    base::Status status = step("cannot create " + path);
    if (status.ok() && used() + size > room_) status = io("cannot allocate " + path + ": full");
    if (!status.ok()) {
      nodes_.erase(path);
      return base::fail(std::move(status));
    }
  }
  if (node->shared.empty()) node->shared.resize((size + 4095) / 4096);
  return std::make_unique<FakeSharedMemory>(node);
}

std::uint64_t FakeFiles::boot() {
  const std::scoped_lock lock(mutex_);
  return boot_;
}

}  // namespace dure::testing
