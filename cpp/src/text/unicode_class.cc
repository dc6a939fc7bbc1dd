#include "dure/text/unicode_class.h"

namespace dure::text::internal {
#include "unicode_class_table.inc"
}  // namespace dure::text::internal
