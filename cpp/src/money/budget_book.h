// src/money/budget_book.h - the live counters of all budgets of one data folder, fed by records.
//
// Knows no files and no locks: a record that was written is applied, by whichever process it was
// written, and the counters are what a replay would give. Deciding changes nothing.
//
// One thread at a time.
#ifndef DURE_SRC_MONEY_BUDGET_BOOK_H_
#define DURE_SRC_MONEY_BUDGET_BOOK_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dure/money/account.h"
#include "dure/money/ledger.h"

namespace dure::money {

class BudgetBook {
 public:
  // What a call would take from each budget of its scopes, or why it may not.
  struct Decision {
    std::vector<Posting> postings;
    std::vector<Warning> warnings;
    Bound bound;  // the one asked for, or the shrunk one
    bool shrunk = false;
  };

  // Counts LIMIT, GRANT and the postings of every other record.
  void apply(const Record& record);

  // True if others wait for the budget of this number: then even what fits must queue.
  using Queued = std::function<bool(std::uint32_t budget)>;
  // Fails with kBudgetExceeded as Account::reserve says; details scope, unit, left_units, limit,
  // resets_at_us, on_limit, budget (its number). `enforce` false: takes what the bound says,
  // whatever is left. `queued` is asked about budgets of policy queue; empty: nobody waits.
  // Fills `decision`, which keeps its memory. REQUIRES: these scopes were chosen last.
  base::Status decide(std::span<const std::string> scopes, const Bound& bound, base::WallTime now,
                      bool enforce, const Queued& queued, Decision& decision);
  // Finds the budgets of `scopes`, for decide; false: there are none.
  bool choose(std::span<const std::string> scopes);
  // Whether a call may begin a window of the budgets chosen last: one at a time then.
  [[nodiscard]] bool begins_windows() const noexcept;
  // Whether a budget was set since the last choice.
  [[nodiscard]] bool choice_is_old() const noexcept { return chosen_at_ != limits_; }

  // The LIMIT record that sets `spec`: number and revision filled in, a running calendar window
  // kept to its end. Fails with kInvalidArgument.
  [[nodiscard]] base::Result<Record> limit_record(BudgetSpec spec, base::WallTime now) const;
  // One GRANT record for each budget of the scope and unit; none: empty.
  [[nodiscard]] std::vector<Record> grant_records(std::string_view scope, BudgetUnit unit,
                                                  std::int64_t amount, base::WallTime until) const;
  // One ALERT record for each percentage that the use of the postings' budgets has reached and that
  // nobody told in this window; without `records` only whether there is one. Postings that use
  // nothing more are passed over.
  bool due_alerts(std::span<const Posting> postings, base::WallTime now,
                  std::vector<Record>* records) const;
  // What an ALERT record says, with the budget's figures now.
  [[nodiscard]] Alert alert(const Record& record, base::WallTime now) const;
  // Budgets of `scope` (empty: all) in order of creation.
  [[nodiscard]] std::vector<BudgetState> read(std::string_view scope, base::WallTime now) const;
  // The budget of that number; nullptr: unknown. Valid until the next record.
  [[nodiscard]] const BudgetSpec* spec(std::uint32_t number) const noexcept;
  // `pico` and `tokens` of one call in the unit of `budget`.
  [[nodiscard]] std::int64_t in_unit(std::uint32_t budget, std::int64_t pico,
                                     std::int64_t tokens) const;

 private:
  struct Counters {
    std::int64_t start = 0;
    base::int128 used = 0;
    base::int128 held = 0;
  };
  struct Grant {
    std::int64_t amount = 0;
    std::int64_t until_us = 0;
  };
  struct Budget {
    std::uint32_t number = 0;
    std::uint64_t revision = 0;  // 0: named by a posting, its LIMIT not read yet
    std::size_t rank = 0;        // of its scope's kind, in the order of refusals
    BudgetSpec spec;
    std::vector<Counters> windows;  // ascending by start
    std::vector<Grant> grants;
    std::vector<std::pair<std::int64_t, std::int64_t>> alerted;  // window, percentage; the latest
  };
  struct Reading {
    base::int128 used = 0;
    base::int128 held = 0;
    base::int128 limit = 0;  // grants included
    [[nodiscard]] base::int128 left() const { return limit - used - held; }
  };

  Budget& budget(std::uint32_t number);
  [[nodiscard]] const Budget* same(const BudgetSpec& spec) const;
  [[nodiscard]] static std::int64_t window_start(const Budget& budget, std::int64_t at_us);
  [[nodiscard]] static Reading reading(const Budget& budget, base::WallTime now);
  [[nodiscard]] static std::int64_t granted(const Budget& budget, base::WallTime now);
  // When enough falls out that `missing` more units fit; nullopt: never by time.
  [[nodiscard]] static std::optional<std::int64_t> resets_at(const Budget& budget,
                                                             base::WallTime now,
                                                             base::int128 missing);
  [[nodiscard]] static std::int64_t amount_of(const Budget& budget, const Bound& bound);
  // Fails with kInvalidArgument, code "provider_side_forbidden", if a budget forbids the call.
  [[nodiscard]] static base::Status forbidden(std::span<const Budget* const> budgets,
                                              const Bound& bound);
  // What the budgets of policy shrink leave of `bound`; the one that leaves least in `by`, nullptr
  // if all of it fits.
  [[nodiscard]] static Bound shrunk(std::span<const Budget* const> budgets, const Bound& bound,
                                    base::WallTime now, const Budget*& by);
  // Of all `budgets` that `bound` does not fit, the one that answers; nullptr: it may go.
  [[nodiscard]] static const Budget* refusing(std::span<const Budget* const> budgets,
                                              const Bound& bound, base::WallTime now,
                                              const Queued& queued, Decision& decision);
  [[nodiscard]] static base::Status refusal(const Budget& budget, const Bound& bound,
                                            base::WallTime now);
  // Names the window in which an alert is told once.
  [[nodiscard]] static std::int64_t alert_window(const Budget& budget, std::int64_t at_us);
  static void post(Budget& budget, const Posting& posting);

  std::deque<Budget> budgets_;  // in order of creation; they stay where they are
  // The place in budgets_, nullopt: not known yet. Numbers are given one by one.
  [[nodiscard]] std::optional<std::size_t> place(std::uint32_t number) const noexcept;
  std::vector<std::uint32_t> by_number_;  // place + 1, of the lower numbers
  std::unordered_map<std::uint32_t, std::size_t> by_high_number_;
  std::unordered_map<std::string, std::vector<std::size_t>> by_scope_;
  std::vector<const Budget*> chosen_;  // in the order of refusals
  std::uint64_t chosen_at_ = 0;        // limits_ then
  std::uint64_t limits_ = 0;           // LIMIT records applied
  std::uint64_t revision_ = 0;
};

// "kind:name" with a known kind and a name of 1 to 200 bytes.
[[nodiscard]] bool is_scope(std::string_view scope) noexcept;

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_BUDGET_BOOK_H_
