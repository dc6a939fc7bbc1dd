// tokenize/huge_array.h - a zeroed array on huge pages where the system gives them: tables that
// are read at random cost a walk of the page tables at each read otherwise.
//
// Thread-safe as its elements are.
#ifndef DURE_SRC_TOKENIZE_HUGE_ARRAY_H_
#define DURE_SRC_TOKENIZE_HUGE_ARRAY_H_

#include <sys/mman.h>

#include <cstddef>
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
  // All bytes of all elements are 0. Throws std::bad_alloc.
  explicit HugeArray(std::size_t size) : size_(size) {
    constexpr std::size_t kPage = std::size_t{2} << 20U;
    constexpr std::size_t kLine = 64;
    const std::size_t bytes = size * sizeof(T);
    const bool huge = bytes >= kPage / 2;
    const std::size_t unit = huge ? kPage : kLine;
    memory_.reset(std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit));
    if (memory_ == nullptr) throw std::bad_alloc();
    if (huge) madvise(memory_.get(), bytes, MADV_HUGEPAGE);  // a hint; before the first touch
    clear();
  }
  void clear() noexcept { std::memset(memory_.get(), 0, size_ * sizeof(T)); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] T* data() noexcept { return static_cast<T*>(memory_.get()); }
  [[nodiscard]] const T* data() const noexcept { return static_cast<const T*>(memory_.get()); }

 private:
  struct Free {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  std::size_t size_;
};

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_HUGE_ARRAY_H_
