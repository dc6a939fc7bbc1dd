// flow/shared_file.h - a mapped file that the processes of a host share until its next start.
//
// Thread-safe and safe among processes: begun under the file's lock.
#ifndef DURE_SRC_FLOW_SHARED_FILE_H_
#define DURE_SRC_FLOW_SHARED_FILE_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "dure/base/files.h"
#include "dure/base/result.h"

namespace dure::flow {

// What such a file begins with.
struct SharedFileHead {
  std::atomic<std::uint64_t> magic;
  std::atomic<std::uint64_t> boot;
};

struct SharedFileShape {
  std::uint64_t magic;  // names the format
  std::size_t size;
  const char* what;  // "rates"
};

// Maps the file, all zero behind its head if it is new or from before the machine's last start.
// Fails with kIo, or kCorrupt (detail "path") if it is none of this format.
inline base::Result<std::unique_ptr<base::SharedMemory>> open_shared_file(base::Files& files,
                                                                          const std::string& path,
                                                                          SharedFileShape shape) {
  auto memory = files.map_shared(path, shape.size);
  if (!memory) return base::fail(std::move(memory.error()));
  auto lock = files.open_lock(path);
  if (!lock) return base::fail(std::move(lock.error()));
  DURE_RETURN_IF_ERROR((*lock)->acquire());
  auto& head = *std::launder(reinterpret_cast<SharedFileHead*>((*memory)->data()));
  const std::uint64_t magic = head.magic.load();
  if (magic != 0 && magic != shape.magic) {
    const std::string what = shape.what;
    return base::fail(base::Status(base::Code::kCorrupt, path + " is no file of " + what +
                                                             ": delete it, " + what + " begin anew")
                          .with("path", path));
  }
  if (magic == 0 || head.boot.load() != files.boot()) {
    std::fill_n((*memory)->data(), shape.size, std::byte{0});
    head.boot = files.boot();
    head.magic = shape.magic;
  }
  (*lock)->release();
  return memory;
}

}  // namespace dure::flow

#endif  // DURE_SRC_FLOW_SHARED_FILE_H_
