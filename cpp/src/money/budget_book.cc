#include "money/budget_book.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace dure::money {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kBuckets = 96;             // of a rolling window
constexpr std::int64_t kLeastOutput = 256;        // below this a shrunk answer is no answer
constexpr std::size_t kKeptAlerts = 64;           // of one budget, or two windows' worth
constexpr std::uint32_t kLowNumbers = 1U << 16U;  // of budgets, in a table
constexpr std::size_t kKeptWindows = 4;           // past calendar windows kept in memory

// In the order in which refusals are reported.
constexpr std::array<std::string_view, 10> kScopeKinds{"user",         "team",    "org",   "key",
                                                       "execution",    "service", "model", "tag",
                                                       "conversation", "provider"};

std::size_t rank(std::string_view scope) noexcept {
  const std::string_view kind = scope.substr(0, scope.find(':'));
  const auto* found = std::find(kScopeKinds.begin(), kScopeKinds.end(), kind);
  return static_cast<std::size_t>(found - kScopeKinds.begin());
}

std::int64_t clamp(base::int128 value) {
  if (value > kMax) return kMax;
  return value < 0 ? 0 : static_cast<std::int64_t>(value);
}

std::string_view unit_name(BudgetUnit unit) {
  constexpr std::array<std::string_view, 3> kNames{"usd", "tokens", "requests"};
  return kNames[static_cast<std::size_t>(unit)];
}

std::string_view policy_name(OnLimit policy) {
  constexpr std::array<std::string_view, 5> kNames{"block", "shrink", "queue", "warn", "approval"};
  return kNames[static_cast<std::size_t>(policy)];
}

std::string shown(BudgetUnit unit, base::int128 amount) {
  if (unit == BudgetUnit::kPico) return "$" + format_dollars(amount);
  return base::to_string(amount) + " " + std::string(unit_name(unit));
}

// The width of one bucket of a rolling window in microseconds.
std::int64_t bucket_us(const Window& window) {
  const std::int64_t whole = window.rolling.count() / 1000;
  return std::max<std::int64_t>(1, (whole + kBuckets - 1) / kBuckets);
}

bool is_from_first_use(const Window& window) { return window.name == kFirstUse; }

bool is_rolling(const Window& window) {
  return window.rolling.count() > 0 && !is_from_first_use(window);
}

// Of a window from first use, in microseconds.
std::int64_t length_us(const Window& window) { return window.rolling.count() / 1000; }

// What a fleet's host has leased of a budget: it can grow, so no call is too large for it. The
// whole limit is a budget of its own.
bool is_slice(const Window& window) { return window.name.starts_with("fleet "); }

// block > approval > queue; shrink counts as block once it cannot shrink.
int severity(OnLimit policy) {
  switch (policy) {
    case OnLimit::kApproval:
      return 2;
    case OnLimit::kQueue:
      return 1;
    default:
      return 3;
  }
}

// The output maximum at which `bound` fits `left` of a budget in `unit`; negative: not even its
// input fits.
std::int64_t fitting_output(const Bound& bound, BudgetUnit unit, base::int128 left) {
  const bool pico = unit == BudgetUnit::kPico;
  const base::int128 rest = left - (pico ? bound.input_pico : bound.input_tokens);
  const base::int128 each =
      static_cast<base::int128>(bound.choices) * (pico ? std::max<Pico>(bound.output_rate, 1) : 1);
  return rest < 0 ? -1 : clamp(rest / each);
}

// `bound` with a smaller output maximum.
Bound with_output(Bound bound, std::int64_t max_output) {
  const std::int64_t outputs = bound.choices * max_output;
  const base::int128 pico =
      bound.input_pico + static_cast<base::int128>(bound.output_rate) * outputs;
  bound.max_output_tokens = max_output;
  bound.tokens = bound.input_tokens + outputs;
  if (pico < bound.pico) bound.pico = static_cast<Pico>(pico);  // the rate is rounded up
  return bound;
}

// What helps a call that was refused.
std::string advice(OnLimit policy, bool resets, bool held) {
  if (policy == OnLimit::kApproval) return ": ask an administrator for a grant";
  if (resets) return ": wait for its reset, or raise the limit";
  if (held) return ": wait until running calls have settled, or raise the limit";
  return ": it never resets; lower the output maximum or raise the limit";
}

base::Status check(const BudgetSpec& spec) {
  if (!is_scope(spec.scope)) {
    return base::invalid_argument("scope", "\"" + spec.scope.substr(0, 40) +
                                               "\" is no scope: write kind:name, kind one of user "
                                               "team org key execution service model tag "
                                               "conversation provider");
  }
  if (spec.limit < 0) return base::invalid_argument("limit", "a limit cannot be negative");
  if (spec.window.rolling.count() < 0) {
    return base::invalid_argument("window", "a window cannot be negative");
  }
  if (is_from_first_use(spec.window) && length_us(spec.window) <= 0) {
    return base::invalid_argument("window", "a window from first use needs its length");
  }
  const auto& edges = spec.window.edges_us;
  if (!std::is_sorted(edges.begin(), edges.end()) ||
      std::adjacent_find(edges.begin(), edges.end()) != edges.end()) {
    return base::invalid_argument("window", "window edges must ascend");
  }
  if (spec.window.name.size() > 64 || spec.window.zone.size() > 64) {
    return base::invalid_argument("window", "names of window and zone are at most 64 bytes");
  }
  return {};
}

}  // namespace

bool is_scope(std::string_view scope) noexcept {
  const std::size_t colon = scope.find(':');
  return colon != std::string_view::npos && colon + 1 < scope.size() && scope.size() <= 200 &&
         rank(scope) < kScopeKinds.size();
}

std::optional<std::size_t> BudgetBook::place(std::uint32_t number) const noexcept {
  if (number < by_number_.size() && by_number_[number] != 0) return by_number_[number] - 1;
  if (number < kLowNumbers) return std::nullopt;
  const auto found = by_high_number_.find(number);
  return found == by_high_number_.end() ? std::nullopt : std::optional(found->second);
}

BudgetBook::Budget& BudgetBook::budget(std::uint32_t number) {
  if (const auto known = place(number)) return budgets_[*known];
  if (number < kLowNumbers) {
    if (by_number_.size() <= number) by_number_.resize(number + 1);
    by_number_[number] = static_cast<std::uint32_t>(budgets_.size() + 1);
  } else {
    by_high_number_.emplace(number, budgets_.size());
  }
  budgets_.emplace_back();
  budgets_.back().number = number;
  return budgets_.back();
}

void BudgetBook::post(Budget& budget, const Posting& posting) {
  auto& windows = budget.windows;
  auto at = std::lower_bound(
      windows.begin(), windows.end(), posting.window_start_us,
      [](const Counters& window, std::int64_t start) { return window.start < start; });
  if (at == windows.end() || at->start != posting.window_start_us) {
    at = windows.insert(at, Counters{posting.window_start_us, 0, 0});
  }
  at->held += posting.held;
  at->used += posting.used;
  const std::size_t kept = is_rolling(budget.spec.window)
                               ? static_cast<std::size_t>(kBuckets) + kKeptWindows
                               : kKeptWindows;
  // Old windows are dropped once nothing is held in them: they can only be read in the ledger.
  while (windows.size() > kept && windows.front().held == 0) windows.erase(windows.begin());
}

void BudgetBook::apply(const Record& record) {
  if (record.type == RecordType::kCheckpoint) return;
  for (const Posting& posting : record.postings) post(budget(posting.budget), posting);
  if (record.type == RecordType::kLimit) {
    ++limits_;
    Budget& target = budget(record.budget);
    if (target.revision == 0) by_scope_[record.spec.scope].push_back(*place(record.budget));
    if (record.revision > target.revision) {
      target.revision = record.revision;
      target.rank = rank(record.spec.scope);
      target.spec = record.spec;
    }
    revision_ = std::max(revision_, record.revision);
  } else if (record.type == RecordType::kGrant) {
    budget(record.budget).grants.push_back({record.amount, record.until_us});
    revision_ = std::max(revision_, record.revision);
  } else if (record.type == RecordType::kAlert) {
    Budget& target = budget(record.budget);
    target.alerted.emplace_back(record.until_us, record.amount);
    const std::size_t kept = std::max(kKeptAlerts, 2 * target.spec.alerts.size());
    if (target.alerted.size() > kept) target.alerted.erase(target.alerted.begin());
  }
}

std::int64_t BudgetBook::alert_window(const Budget& budget, std::int64_t at_us) {
  const Window& window = budget.spec.window;
  if (!is_rolling(window)) return window_start(budget, at_us);
  const std::int64_t length = bucket_us(window) * kBuckets;
  return at_us - at_us % length;
}

bool BudgetBook::due_alerts(std::span<const Posting> postings, base::WallTime now,
                            std::vector<Record>* records) const {
  for (const Posting& posting : postings) {
    const auto found = place(posting.budget);
    if (!found || posting.used <= 0) continue;
    const Budget& budget = budgets_[*found];
    if (budget.spec.alerts.empty()) continue;
    const Reading sum = reading(budget, now);
    const std::int64_t window = alert_window(budget, now.us);
    for (const std::uint8_t percent : budget.spec.alerts) {
      if (sum.limit <= 0 || sum.used * 100 < sum.limit * percent) continue;
      const std::pair<std::int64_t, std::int64_t> key{window, percent};
      if (std::find(budget.alerted.begin(), budget.alerted.end(), key) != budget.alerted.end()) {
        continue;
      }
      if (records == nullptr) return true;
      Record record;
      record.type = RecordType::kAlert;
      record.at_us = now.us;
      record.budget = budget.number;
      record.amount = percent;
      record.until_us = window;
      records->push_back(std::move(record));
    }
  }
  return false;  // asked only without records
}

Alert BudgetBook::alert(const Record& record, base::WallTime now) const {
  const Budget& budget = budgets_[place(record.budget).value()];
  const Reading sum = reading(budget, now);
  return {budget.spec.scope, budget.spec.unit, budget.spec.window.name, record.amount,
          record.until_us,   clamp(sum.used),  clamp(sum.limit)};
}

bool BudgetBook::begins_windows() const noexcept {
  return std::any_of(chosen_.begin(), chosen_.end(),
                     [](const Budget* budget) { return is_from_first_use(budget->spec.window); });
}

bool BudgetBook::choose(std::span<const std::string> scopes) {
  chosen_.clear();
  chosen_at_ = limits_;
  if (by_scope_.empty()) return false;
  for (std::size_t i = 0; i < scopes.size(); ++i) {
    const std::span<const std::string> earlier = scopes.first(i);
    if (std::find(earlier.begin(), earlier.end(), scopes[i]) != earlier.end()) continue;
    const auto entry = by_scope_.find(scopes[i]);
    if (entry == by_scope_.end()) continue;
    for (const std::size_t index : entry->second) {
      const Budget* budget = &budgets_[index];  // a handful: sorted in as it comes
      auto behind = chosen_.end();
      while (behind != chosen_.begin() && (*(behind - 1))->rank > budget->rank) --behind;
      chosen_.insert(behind, budget);
    }
  }
  return !chosen_.empty();
}

std::int64_t BudgetBook::window_start(const Budget& budget, std::int64_t at_us) {
  const Window& window = budget.spec.window;
  if (is_rolling(window)) {
    const std::int64_t width = bucket_us(window);
    const std::int64_t rest = at_us % width;
    return at_us - (rest < 0 ? rest + width : rest);
  }
  if (is_from_first_use(window)) {
    // A clock that steps back stays in the window that has begun.
    const bool runs =
        !budget.windows.empty() && at_us < budget.windows.back().start + length_us(window);
    return runs ? budget.windows.back().start : at_us;
  }
  if (window.edges_us.empty()) return 0;  // lifetime
  const auto after = std::upper_bound(window.edges_us.begin(), window.edges_us.end(), at_us);
  return after == window.edges_us.begin() ? window.edges_us.front() : *(after - 1);
}

std::int64_t BudgetBook::granted(const Budget& budget, base::WallTime now) {
  base::int128 sum = 0;
  for (const Grant& grant : budget.grants) {
    if (grant.until_us > now.us) sum += grant.amount;
  }
  return clamp(sum);
}

BudgetBook::Reading BudgetBook::reading(const Budget& budget, base::WallTime now) {
  Reading sum;
  sum.limit = static_cast<base::int128>(budget.spec.limit) + granted(budget, now);
  const std::int64_t current = window_start(budget, now.us);
  const bool rolling = is_rolling(budget.spec.window);
  const std::int64_t width = rolling ? bucket_us(budget.spec.window) : 0;
  for (const Counters& window : budget.windows) {
    // A bucket counts until all of it is older than the window: never too little is counted.
    const bool counts =
        rolling ? window.start + width > now.us - width * kBuckets : window.start == current;
    if (!counts) continue;
    sum.used += window.used;
    sum.held += window.held;
  }
  return sum;
}

std::optional<std::int64_t> BudgetBook::resets_at(const Budget& budget, base::WallTime now,
                                                  base::int128 missing) {
  const Window& window = budget.spec.window;
  if (is_rolling(window)) {
    const std::int64_t width = bucket_us(window);
    base::int128 freed = 0;
    for (const Counters& bucket : budget.windows) {
      const std::int64_t ends = bucket.start + width * (kBuckets + 1);
      if (ends <= now.us) continue;
      freed += bucket.used + bucket.held;
      if (freed > 0 && freed >= missing) return ends;
    }
    return std::nullopt;
  }
  if (is_from_first_use(window)) {
    const std::int64_t start = window_start(budget, now.us);
    const bool runs = !budget.windows.empty() && budget.windows.back().start == start;
    return runs ? std::optional(start + length_us(window)) : std::nullopt;
  }
  const auto after = std::upper_bound(window.edges_us.begin(), window.edges_us.end(), now.us);
  if (after == window.edges_us.end()) return std::nullopt;
  return *after;
}

std::int64_t BudgetBook::amount_of(const Budget& budget, const Bound& bound) {
  switch (budget.spec.unit) {
    case BudgetUnit::kPico:
      return bound.pico;
    case BudgetUnit::kTokens:
      return bound.tokens;
    case BudgetUnit::kRequests:
      return 1;
  }
  return 1;
}

std::int64_t BudgetBook::in_unit(std::uint32_t number, std::int64_t pico,
                                 std::int64_t tokens) const {
  const auto found = place(number);
  if (!found) return 0;
  Bound bound;
  bound.pico = pico;
  bound.tokens = tokens;
  return amount_of(budgets_[*found], bound);
}

const BudgetSpec* BudgetBook::spec(std::uint32_t number) const noexcept {
  const auto found = place(number);
  return found ? &budgets_[*found].spec : nullptr;
}

base::Status BudgetBook::refusal(const Budget& budget, const Bound& bound, base::WallTime now) {
  const BudgetSpec& spec = budget.spec;
  const Reading state = reading(budget, now);
  const std::int64_t amount = amount_of(budget, bound);
  const std::string what = "The call may need " + shown(spec.unit, amount) + " of budget " +
                           spec.scope + " (" + spec.window.name + ")";
  const auto described = [&](base::Status status) {
    return std::move(status)
        .with("scope", spec.scope)
        .with("unit", std::string(unit_name(spec.unit)))
        .with("limit_units", clamp(state.limit))
        .with("left_units", clamp(state.left()))
        .with("budget", static_cast<std::int64_t>(budget.number))
        .with("on_limit", std::string(policy_name(spec.on_limit)));
  };
  if (amount > state.limit && spec.on_limit != OnLimit::kApproval && !is_slice(spec.window)) {
    return described(base::Status(base::Code::kBudgetExceeded,
                                  what + ", more than its whole limit of " +
                                      shown(spec.unit, state.limit) +
                                      ": lower the output maximum or raise the limit"))
        .as("RequestExceedsLimitError")
        .with_http_status(400)
        .with_provider_code("request_exceeds_limit");
  }
  const auto resets = resets_at(budget, now, amount - state.left());
  const std::string left = shown(spec.unit, clamp(state.left()));
  const std::string missing = amount > state.left() ? ", but only " + left + " is left"
                                                    : ", and others wait for it already";
  base::Status status = described(base::Status(
      base::Code::kBudgetExceeded, what + missing +
                                       (resets ? " until " + base::to_iso8601({*resets}) : "") +
                                       advice(spec.on_limit, resets.has_value(), state.held > 0)));
  if (resets) {
    (void)std::move(status)
        .with("resets_at_us", *resets)
        .with_retry_after(static_cast<double>(*resets - now.us) * 1e-6);
  }
  if (spec.on_limit == OnLimit::kApproval) {
    return std::move(status).with_http_status(403).with_provider_code("approval_required");
  }
  return std::move(status).with_provider_code("limit_exceeded");
}

base::Status BudgetBook::forbidden(std::span<const Budget* const> budgets, const Bound& bound) {
  const auto* found =
      std::find_if(budgets.data(), budgets.data() + budgets.size(),
                   [](const Budget* budget) { return budget->spec.forbids_provider_side; });
  if (!bound.provider_side || found == budgets.data() + budgets.size()) return {};
  return base::invalid_argument(
             "body", "The budget " + (*found)->spec.scope +
                         " forbids server-side tools, stored prompts and previous_response_id, "
                         "whose input nobody can bound: send the text itself")
      .with("scope", (*found)->spec.scope)
      .with_http_status(400)
      .with_provider_code("provider_side_forbidden");
}

Bound BudgetBook::shrunk(std::span<const Budget* const> budgets, const Bound& bound,
                         base::WallTime now, const Budget*& by) {
  std::int64_t max_output = bound.max_output_tokens;
  for (const Budget* budget : bound.may_shrink ? budgets : budgets.first(0)) {
    const BudgetSpec& spec = budget->spec;
    if (spec.on_limit != OnLimit::kShrink || spec.unit == BudgetUnit::kRequests) continue;
    const base::int128 left = reading(*budget, now).left();
    if (amount_of(*budget, bound) <= left) continue;
    const std::int64_t fits = fitting_output(bound, spec.unit, left);
    if (fits >= max_output) continue;
    max_output = fits;
    by = budget;
  }
  if (by == nullptr) return bound;
  // A smaller answer is of no use: it is asked for, and refused.
  const std::int64_t least = std::min(kLeastOutput, bound.max_output_tokens);
  return with_output(bound, std::max(max_output, least));
}

const BudgetBook::Budget* BudgetBook::refusing(std::span<const Budget* const> budgets,
                                               const Bound& bound, base::WallTime now,
                                               const Queued& queued, Decision& decision) {
  const Budget* refused = nullptr;
  for (const Budget* budget : budgets) {
    const base::int128 left = reading(*budget, now).left();
    const OnLimit policy = budget->spec.on_limit;
    const bool behind_others = queued && policy == OnLimit::kQueue && queued(budget->number);
    if (amount_of(*budget, bound) <= left && !behind_others) continue;
    if (policy == OnLimit::kWarn) {
      decision.warnings.push_back({budget->spec.scope, clamp(left), budget->spec.unit});
    } else if (refused == nullptr || severity(policy) > severity(refused->spec.on_limit)) {
      refused = budget;
    }
  }
  return refused;
}

base::Status BudgetBook::decide(std::span<const std::string> scopes, const Bound& bound,
                                base::WallTime now, bool enforce, const Queued& queued,
                                Decision& decision) {
  decision.bound = bound;
  decision.postings.clear();
  decision.warnings.clear();
  decision.shrunk = false;
  if (choice_is_old()) (void)choose(scopes);
  const std::span<const Budget* const> budgets = chosen_;
  if (enforce) {
    if (bound.provider_side) {
      if (base::Status status = forbidden(budgets, bound); !status.ok()) return status;
    }
    const Budget* by = nullptr;
    decision.bound = shrunk(budgets, bound, now, by);  // first, then every budget sees what is left
    decision.shrunk = by != nullptr;
    const Budget* refused = refusing(budgets, decision.bound, now, queued, decision);
    if (refused != nullptr) return refusal(*refused, decision.bound, now);
  }
  for (const Budget* budget : budgets) {
    decision.postings.push_back({budget->number, window_start(*budget, now.us),
                                 enforce ? amount_of(*budget, decision.bound) : 0, 0});
  }
  return {};
}

const BudgetBook::Budget* BudgetBook::same(const BudgetSpec& spec) const {
  const auto entry = by_scope_.find(spec.scope);
  if (entry == by_scope_.end()) return nullptr;
  for (const std::size_t index : entry->second) {
    const BudgetSpec& other = budgets_[index].spec;
    if (other.unit == spec.unit && other.window.name == spec.window.name &&
        other.window.rolling == spec.window.rolling) {
      return &budgets_[index];
    }
  }
  return nullptr;
}

base::Result<Record> BudgetBook::limit_record(BudgetSpec spec, base::WallTime now) const {
  if (base::Status status = check(spec); !status.ok()) return base::fail(std::move(status));
  auto& edges = spec.window.edges_us;
  if (!edges.empty() && edges.front() > now.us) {
    return base::fail(base::invalid_argument("window", "the first window edge lies in the future"));
  }
  Record record;
  record.type = RecordType::kLimit;
  record.at_us = now.us;
  record.revision = revision_ + 1;
  if (const Budget* known = same(spec)) {
    record.budget = known->number;
    const auto& running = known->spec.window.edges_us;
    const auto after = std::upper_bound(running.begin(), running.end(), now.us);
    if (after != running.end() && after != running.begin()) {
      // The running window keeps its start and its end; the new edges follow it.
      std::vector<std::int64_t> merged{*(after - 1), *after};
      std::copy_if(edges.begin(), edges.end(), std::back_inserter(merged),
                   [&](std::int64_t edge) { return edge > *after; });
      edges = std::move(merged);
    }
  } else {
    std::uint32_t highest = 0;
    for (const Budget& budget : budgets_) highest = std::max(highest, budget.number);
    record.budget = highest + 1;
  }
  record.spec = std::move(spec);
  return record;
}

std::vector<Record> BudgetBook::grant_records(std::string_view scope, BudgetUnit unit,
                                              std::int64_t amount, base::WallTime until) const {
  std::vector<Record> records;
  const auto entry = by_scope_.find(std::string(scope));
  if (entry == by_scope_.end()) return records;
  for (const std::size_t index : entry->second) {
    if (budgets_[index].spec.unit != unit) continue;
    Record record;
    record.type = RecordType::kGrant;
    record.budget = budgets_[index].number;
    record.revision = revision_ + 1 + records.size();
    record.amount = amount;
    record.until_us = until.us;
    records.push_back(std::move(record));
  }
  return records;
}

std::vector<BudgetState> BudgetBook::read(std::string_view scope, base::WallTime now) const {
  std::vector<BudgetState> states;
  for (const Budget& budget : budgets_) {
    if (budget.revision == 0 || (!scope.empty() && budget.spec.scope != scope)) continue;
    const Reading sum = reading(budget, now);
    BudgetState state;
    state.spec = budget.spec;
    state.granted = granted(budget, now);
    state.used = sum.used;
    state.held = sum.held;
    state.left = clamp(sum.left());
    state.window_start_us = window_start(budget, now.us);
    state.resets_at_us = resets_at(budget, now, 1);
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace dure::money
