// index/code_fetch.h - asks the memory for a row's code before it is needed.
#ifndef DURE_INDEX_CODE_FETCH_H_
#define DURE_INDEX_CODE_FETCH_H_

#include <cstddef>
#include <cstdint>

namespace dure::index {

inline void fetch_code(const std::uint8_t* code, std::size_t dim) noexcept {
  for (std::size_t at = 0; at < dim; at += 64) __builtin_prefetch(code + at);
}

}  // namespace dure::index

#endif  // DURE_INDEX_CODE_FETCH_H_
