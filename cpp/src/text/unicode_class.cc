#include "dure/text/unicode_class.h"

namespace dure::text::internal {
namespace {
#include "unicode_class_table.inc"
}  // namespace

const std::uint8_t* const kClassStage1 = kStage1;
const std::uint8_t* const kClassStage2 = kStage2;

}  // namespace dure::text::internal
