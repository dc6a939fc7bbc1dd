// dure/money/cost.h - from reported usage to disjoint counts to a cost in integers.
//
//   ReportedUsage reported{.input = 1200, .output = 300, .cache_read = 1000};  // as on the wire
//   const Usage usage = count_units(reported);
//   Result<Cost> cost = money::cost(*prices, usage, {.model = "gpt-4o-mini", .at = sent});
//
// Thread-safe: pure functions over an immutable price book.
#ifndef DURE_MONEY_COST_H_
#define DURE_MONEY_COST_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"
#include "dure/catalog/prices.h"
#include "dure/money/amount.h"

namespace dure::money {

// What a settled cost says about itself. Bits; names in flag_names.
enum class Flag : std::uint16_t {
  kEstimated = 1U << 0U,          // no usage was reported: tokens seen were counted
  kPossibleSpend = 1U << 1U,      // the provider may have billed this much: the whole hold
  kOverrun = 1U << 2U,            // more than the hold; the truth was settled all the same
  kUsageInconsistent = 1U << 3U,  // parts exceed the whole; the larger reading was charged
  kCached = 1U << 4U,
  kCoalesced = 1U << 5U,
  kHedge = 1U << 6U,
  kBatch = 1U << 7U,
  kStage = 1U << 8U,
  kConflict = 1U << 9U,    // a second settlement with other figures; the first stands
  kRecovered = 1U << 10U,  // settled by another process after the holder died
  kDetached = 1U << 11U,   // a job's hold: it outlives the process that made it
  kShrunk = 1U << 12U      // a budget lowered the output maximum to what was left
};
using Flags = std::uint16_t;
[[nodiscard]] constexpr Flags operator|(Flag a, Flag b) noexcept {
  return static_cast<Flags>(static_cast<Flags>(a) | static_cast<Flags>(b));
}
[[nodiscard]] constexpr Flags operator|(Flags a, Flag b) noexcept {
  return static_cast<Flags>(a | static_cast<Flags>(b));
}
[[nodiscard]] constexpr bool has(Flags flags, Flag flag) noexcept {
  return (flags & static_cast<Flags>(flag)) != 0;
}
// "estimated", "possible_spend", ... in the order of the bits.
[[nodiscard]] std::vector<std::string_view> flag_names(Flags flags);

// Counts per unit; no token is in two of them.
class UnitCounts {
 public:
  [[nodiscard]] std::int64_t operator[](catalog::Unit unit) const noexcept {
    return counts_[static_cast<std::size_t>(unit)];
  }
  [[nodiscard]] std::int64_t& operator[](catalog::Unit unit) noexcept {
    return counts_[static_cast<std::size_t>(unit)];
  }
  [[nodiscard]] std::int64_t input_tokens() const noexcept;   // cached ones included
  [[nodiscard]] std::int64_t output_tokens() const noexcept;  // reasoning included
  friend bool operator==(const UnitCounts&, const UnitCounts&) = default;

 private:
  std::array<std::int64_t, catalog::kUnits> counts_{};
};

// What one usage body says, field by field. Absent fields are zero. Fill it from JSON or a dict;
// count_units alone knows which fields contain which.
struct ReportedUsage {
  // OpenAI: input contains cache_read, cache_write, audio and image. Anthropic: it does not.
  bool input_contains_parts = true;
  std::int64_t input = 0;        // prompt_tokens | input_tokens
  std::int64_t output = 0;       // completion_tokens | output_tokens; contains reasoning and audio
  std::int64_t cache_read = 0;   // cached_tokens | cache_read_input_tokens
  std::int64_t cache_write = 0;  // cache_write_tokens | cache_creation, 5 minutes
  std::int64_t cache_write_1h = 0;      // cache_creation.ephemeral_1h_input_tokens
  std::int64_t input_audio = 0;         // contains input_audio_cached
  std::int64_t input_image = 0;         // contains input_image_cached
  std::int64_t input_audio_cached = 0;  // cache_read contains it as well
  std::int64_t input_image_cached = 0;
  std::int64_t input_video = 0;  // contains input_video_cached
  std::int64_t input_video_cached = 0;
  std::int64_t output_reasoning = 0;
  std::int64_t output_audio = 0;
  std::int64_t output_image = 0;
  std::int64_t output_video = 0;
  std::int64_t web_searches = 0;
  std::int64_t characters = 0;
  std::int64_t milliseconds = 0;
  std::int64_t images = 0;
  std::int64_t video_milliseconds = 0;
  std::int64_t training = 0;  // trained_tokens of a fine-tuning job
};

struct Usage {
  UnitCounts counts;
  Flags flags = 0;
};

// Disjoint counts. Negative fields count as zero and parts that exceed their whole make the whole
// larger; both are flagged kUsageInconsistent, never a negative count.
[[nodiscard]] Usage count_units(const ReportedUsage& reported) noexcept;

struct Line {
  catalog::Unit unit;
  std::int64_t quantity;
  catalog::Rate rate;
  Pico pico;
};

struct Cost {
  Pico pico = 0;
  std::vector<Line> lines;  // units with a count above zero
  std::string price_version;
  Flags flags = 0;
};

// What the answer said of itself; the ledger keeps it beside the cost. Texts are copied, at most
// 255 bytes each.
struct Answered {
  std::string_view service_tier = {};
  std::string_view region = {};
  std::string_view model = {};       // as the provider named it
  std::string_view request_id = {};  // the provider's
};

// The exact cost of `usage`: half-even once per line. Fails with UnknownPriceError (kDenied) or,
// beyond $9.2 million, kInvalidArgument.
[[nodiscard]] base::Result<Cost> cost(const catalog::PriceBook& prices, const Usage& usage,
                                      const catalog::PriceQuery& query);

// How sure an upper bound is.
enum class BoundKind : std::uint8_t {
  kExact,  // public tokenizer, text only
  kSafe,   // a proven ceiling
  kGuess,  // images, tools, hidden prompts: outside the overspend promise
};

struct BoundQuery {
  catalog::PriceQuery price;
  base::WallTime deadline;        // a dearer price may start before it
  std::int64_t input_tokens = 0;  // counted; all of them may be billed as cache writes
  BoundKind input_kind = BoundKind::kExact;
  std::int64_t choices = 1;  // n
  // The smallest of what the request says and the model's limit. Embeddings: 0.
  std::int64_t max_output_tokens = 0;
  bool output_was_limited = true;  // false: the caller gave no maximum, so it may be shrunk
  bool hidden_output = false;      // Model::hidden_output, or server-side tools
  bool provider_side = false;      // server-side tools, stored prompts, a previous response
};

// The most that a call can cost: what a reservation holds.
struct Bound {
  Pico pico = 0;
  std::int64_t tokens = 0;
  Pico input_pico = 0;
  std::int64_t input_tokens = 0;
  Pico output_rate = 0;  // the dearest pico-dollars per output token, rounded up
  std::int64_t choices = 1;
  std::int64_t max_output_tokens = 0;
  BoundKind kind = BoundKind::kExact;
  bool may_shrink = false;
  bool hidden_output = false;
  bool provider_side = false;  // the provider adds what nobody here can bound
};

// Dearest row and unit that the request can reach, every line rounded up. Fails as cost does, and
// with kInvalidArgument for negative counts.
[[nodiscard]] base::Result<Bound> upper_bound(const catalog::PriceBook& prices,
                                              const BoundQuery& query);

}  // namespace dure::money

#endif  // DURE_MONEY_COST_H_
