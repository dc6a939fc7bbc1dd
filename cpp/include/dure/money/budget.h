// dure/money/budget.h - a limit in use: limit, used and held, for one scope in one window.
//
// Values only; Account owns the live counters.
#ifndef DURE_MONEY_BUDGET_H_
#define DURE_MONEY_BUDGET_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/clock.h"
#include "dure/base/int128.h"

namespace dure::money {

enum class BudgetUnit : std::uint8_t { kPico, kTokens, kRequests };

// What happens when the hold exceeds what is left.
enum class OnLimit : std::uint8_t { kBlock, kShrink, kQueue, kWarn, kApproval };

// Which period counts. Calendar windows come as UTC edges, computed by the face with zoneinfo;
// past the last edge the last window goes on (it never resets by accident).
inline constexpr std::string_view kFirstUse = "first use";
struct Window {
  std::string name = "lifetime";       // day | week | month | lifetime | rolling | first use
  std::string zone = "UTC";            // for display and renewal
  std::vector<std::int64_t> edges_us;  // ascending; edges[0] <= now; calendar windows only
  // The length of rolling windows, and of those that begin with the first call after the last one.
  base::Duration rolling{0};
};

// A budget is named by (scope, unit, window name, rolling length).
struct BudgetSpec {
  std::string scope;  // "org:acme"; kinds: org team user key model provider service tag
                      // execution conversation
  BudgetUnit unit = BudgetUnit::kPico;
  std::int64_t limit = 0;  // >= 0, in the unit
  Window window;
  OnLimit on_limit = OnLimit::kBlock;
  std::vector<std::uint8_t> alerts{80, 90, 100};  // percent
  // Refuses calls to which the provider adds what nobody here can bound: server-side tools, stored
  // prompts, previous responses.
  bool forbids_provider_side = false;
};

// One consistent reading.
struct BudgetState {
  BudgetSpec spec;
  std::int64_t granted = 0;  // on top of the limit, now
  base::int128 used = 0;     // a soft budget may be used far beyond any limit
  base::int128 held = 0;
  std::int64_t left = 0;  // never negative
  std::int64_t window_start_us = 0;
  std::optional<std::int64_t> resets_at_us;  // nullopt: lifetime, or nothing used yet
  std::vector<std::int64_t> waiting;         // what calls of any process wait for, the first first
};

}  // namespace dure::money

#endif  // DURE_MONEY_BUDGET_H_
