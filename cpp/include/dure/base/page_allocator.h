// dure/base/page_allocator.h - large memory that lives shortly: straight from the system, and back.
//
// From malloc it would raise the size up to which malloc keeps what is freed.
//
// Thread-safe.
#ifndef DURE_BASE_PAGE_ALLOCATOR_H_
#define DURE_BASE_PAGE_ALLOCATOR_H_

#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace dure::base {

template <typename T>
struct PageAllocator {
  using value_type = T;
  PageAllocator() noexcept = default;
  template <typename U>
  explicit(false) PageAllocator(const PageAllocator<U>& /*other*/) noexcept {}

  [[nodiscard]] T* allocate(std::size_t count) {
    void* const memory = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t count) noexcept { munmap(memory, count * sizeof(T)); }
  friend bool operator==(const PageAllocator&, const PageAllocator&) noexcept { return true; }
};

}  // namespace dure::base

#endif  // DURE_BASE_PAGE_ALLOCATOR_H_
