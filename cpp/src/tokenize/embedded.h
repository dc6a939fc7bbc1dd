// tokenize/embedded.h - the vocabularies that lie compressed in this library.
//
// Thread-safe.
#ifndef DURE_SRC_TOKENIZE_EMBEDDED_H_
#define DURE_SRC_TOKENIZE_EMBEDDED_H_

#include <memory>

#include "dure/base/result.h"
#include "dure/tokenize/vocab.h"

namespace dure::tokenize {

enum class Embedded : unsigned char { kR50k, kP50k, kCl100k, kO200k };

// Inflated on first use, then shared for ever. Fails with kInternal if the library is damaged.
[[nodiscard]] base::Result<std::shared_ptr<const Vocab>> embedded_vocab(Embedded which);

}  // namespace dure::tokenize

#endif  // DURE_SRC_TOKENIZE_EMBEDDED_H_
