// tokenize/huge_array.h - a zeroed array on huge pages where the system gives them: tables that
// are read at random cost a walk of the page tables at each read otherwise.
//
// Thread-safe as its elements are.
#ifndef DURE_SRC_TOKENIZE_HUGE_ARRAY_H_
#define DURE_SRC_TOKENIZE_HUGE_ARRAY_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

namespace dure::tokenize {

template <typename T>
class HugeArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // All bytes of all elements are 0; memory is taken as it is touched. Throws std::bad_alloc.
  explicit HugeArray(std::size_t size) : size_(size) {
    const std::size_t bytes = size * sizeof(T);
    if (bytes >= kMapped) {
      map(bytes);
      return;
    }
    memory_ = {std::aligned_alloc(kLine, (bytes + kLine - 1) / kLine * kLine), Free{0}};
    if (memory_ == nullptr) throw std::bad_alloc();
    clear();
  }
  // All bytes are 0 again.
  void clear() noexcept { std::memset(memory_.get(), 0, size_ * sizeof(T)); }
  // The same, and gives the memory back until it is touched.
  void release() noexcept {
    const std::size_t mapped = memory_.get_deleter().mapped;
    if (mapped == 0 || madvise(memory_.get(), mapped, MADV_DONTNEED) != 0) clear();
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] T* data() noexcept { return static_cast<T*>(memory_.get()); }
  [[nodiscard]] const T* data() const noexcept { return static_cast<const T*>(memory_.get()); }

 private:
  static constexpr std::size_t kPage = std::size_t{2} << 20U;
  static constexpr std::size_t kMapped = std::size_t{1} << 18U;
  static constexpr std::size_t kSmallPage = 65'536;  // no system has larger ones
  static constexpr std::size_t kLine = 64;

  // Straight from the system, so that it is zeroed already and given back whole.
  void map(std::size_t bytes) {
    const std::size_t huge =
        bytes / kPage * kPage;  // whole pages: the rest would be touched in vain
    const std::size_t length = (bytes + kSmallPage - 1) / kSmallPage * kSmallPage;
    void* const all = mmap(nullptr, length + kPage, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) throw std::bad_alloc();
    auto* const begin = static_cast<char*>(all);
    const std::size_t before = kPage - reinterpret_cast<std::uintptr_t>(begin) % kPage;
    if (before != kPage) munmap(begin, before);
    char* const aligned = begin + before % kPage;
    const std::size_t after = kPage - before % kPage;
    munmap(aligned + length, after);
    if (huge != 0) madvise(aligned, huge, MADV_HUGEPAGE);  // a hint; before the first touch
    memory_ = {aligned, Free{length}};
  }

  struct Free {
    std::size_t mapped = 0;  // 0: from aligned_alloc
    void operator()(void* memory) const noexcept {
      if (mapped == 0) {
        std::free(memory);
      } else {
        munmap(memory, mapped);
      }
    }
  };
  std::unique_ptr<void, Free> memory_;
  std::size_t size_;
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_HUGE_ARRAY_H_
