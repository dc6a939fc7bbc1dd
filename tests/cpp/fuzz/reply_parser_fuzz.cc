// libFuzzer target: clang++ -fsanitize=fuzzer,address,undefined (scripts/fuzz-replies).
#include "../net/reply_parser_fuzz.h"

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  dure::net::check_reply_parser({reinterpret_cast<const char*>(data), size});
  return 0;
}
