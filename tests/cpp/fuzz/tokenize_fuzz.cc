// The libFuzzer target of the tokenizer; built by scripts/fuzz with clang, not by CMake.
#include <cstdio>
#include <cstdlib>

#include "tokenize_rules.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string rule =
      dure::tokenize::rules::broken({reinterpret_cast<const char*>(data), size});
  if (!rule.empty()) {
    std::fprintf(stderr, "broken rule: %s\n", rule.c_str());
    std::abort();
  }
  return 0;
}
