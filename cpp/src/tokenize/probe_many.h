// tokenize/probe_many.h - many short pieces looked up in the vocabulary, by vectors: a bucket of
// the table is one line, and its three keys are compared at once.
//
// The set of instructions is chosen once (dure/base/simd.h). All give equal ranks.
//
// Thread-safe: pure functions.
#ifndef DURE_SRC_TOKENIZE_PROBE_MANY_H_
#define DURE_SRC_TOKENIZE_PROBE_MANY_H_

#include <cstddef>
#include <cstdint>

#include "dure/base/simd.h"
#include "tokenize/probe_table.h"

namespace dure::tokenize {

// Writes the rank of each of `count` keys, or kNoRank. REQUIRES: hashes are those of the keys.
using FindMany = void (*)(const ProbeTable& table, const ShortKey* keys,
                          const std::uint64_t* hashes, std::size_t count, Rank* ranks) noexcept;

struct Prober {
  base::Simd simd;
  FindMany find;
};

// The set in use.
[[nodiscard]] const Prober& prober() noexcept;
// The given set, or null if this machine cannot run it.
[[nodiscard]] const Prober* prober_of(base::Simd simd) noexcept;

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_PROBE_MANY_H_
