// dure/catalog/capabilities.h - what a model can do, and its class of price and strength.
//
// Immutable: values.
#ifndef DURE_CATALOG_CAPABILITIES_H_
#define DURE_CATALOG_CAPABILITIES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace dure::catalog {

// Ascending: a later tier is stronger and dearer.
enum class Tier : std::uint8_t { kMini, kStandard, kAdvanced, kPremium };
inline constexpr std::array<std::string_view, 4> kTierNames{"mini", "standard", "advanced",
                                                            "premium"};

enum class Capability : std::uint8_t {
  kChat,
  kCodeGeneration,
  kAnalysis,
  kReasoning,
  kVision,
  kFunctionCalling,
  kStructuredOutput,
  kStreaming,
  kEmbedding,
  kAudio,
  kImage,
};
inline constexpr std::array<std::string_view, 11> kCapabilityNames{"chat",
                                                                   "code_generation",
                                                                   "analysis",
                                                                   "reasoning",
                                                                   "vision",
                                                                   "function_calling",
                                                                   "structured_output",
                                                                   "streaming",
                                                                   "embedding",
                                                                   "audio",
                                                                   "image"};

[[nodiscard]] constexpr std::string_view name(Tier tier) noexcept {
  return kTierNames[static_cast<std::size_t>(tier)];
}
[[nodiscard]] constexpr std::string_view name(Capability capability) noexcept {
  return kCapabilityNames[static_cast<std::size_t>(capability)];
}

// nullopt: no such name. Names compare exactly (lower case).
[[nodiscard]] constexpr std::optional<Tier> tier_named(std::string_view text) noexcept {
  for (std::size_t i = 0; i < kTierNames.size(); ++i) {
    if (kTierNames[i] == text) return static_cast<Tier>(i);
  }
  return std::nullopt;
}
[[nodiscard]] constexpr std::optional<Capability> capability_named(std::string_view text) noexcept {
  for (std::size_t i = 0; i < kCapabilityNames.size(); ++i) {
    if (kCapabilityNames[i] == text) return static_cast<Capability>(i);
  }
  return std::nullopt;
}

// A set of E (Tier or Capability) in one word.
template <typename E>
class SetOf {
 public:
  constexpr SetOf() = default;
  constexpr SetOf(std::initializer_list<E> members) {
    for (const E member : members) add(member);
  }
  constexpr void add(E member) noexcept { bits_ |= bit(member); }
  [[nodiscard]] constexpr bool has(E member) const noexcept { return (bits_ & bit(member)) != 0; }
  [[nodiscard]] constexpr bool contains(SetOf other) const noexcept {
    return (other.bits_ & ~bits_) == 0;
  }
  // What `other` has and this lacks.
  [[nodiscard]] constexpr SetOf lacks(SetOf other) const noexcept {
    SetOf missing;
    missing.bits_ = other.bits_ & ~bits_;
    return missing;
  }
  [[nodiscard]] constexpr bool empty() const noexcept { return bits_ == 0; }
  friend constexpr bool operator==(SetOf, SetOf) = default;

 private:
  static constexpr std::uint32_t bit(E member) noexcept {
    return std::uint32_t{1} << static_cast<unsigned>(member);
  }
  std::uint32_t bits_ = 0;
};

using Tiers = SetOf<Tier>;
using Capabilities = SetOf<Capability>;

}  // namespace dure::catalog

#endif  // DURE_CATALOG_CAPABILITIES_H_
