// dure/money/account.h - who may spend, who did: budgets and ledger of one data folder.
//
//   auto account = money::Account::shared(data_folder).value();
//   auto held = account->reserve({scopes, bound, {.model = "gpt-4o", ...}, deadline});
//   if (!held) return held.error();            // nothing was taken anywhere
//   account->sent(held->id);                   // before the first request byte leaves
//   account->settle(held->id, usage, cost);    // exactly once; or void_hold, or settle_by_rule
//
// Every reservation is in the ledger file before reserve returns; every change is one CRC'd
// record stored into the mapped file, so it survives kill -9. Processes on one folder share its
// budgets exactly: the admission of a call that meets a budget happens under the lock of the
// folder's board, after reading what the others appended. A process that died is found before
// anything is refused; its open holds are then settled by rule.
//
// Full disk or failed write: reserve fails with kIo until a new file can be begun. What was settled
// meanwhile waits, at most one record per open hold, and counts as held until it is written: the
// counters are at every moment what a replay of the ledger would give.
//
// Thread-safe. Takes microseconds, also beside other processes; `open` and `set_budget` may take as
// long as the disk. After fork the child has an account of its own on
// the same folder and owns none of its parent's reservations.
#ifndef DURE_MONEY_ACCOUNT_H_
#define DURE_MONEY_ACCOUNT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/clock.h"
#include "dure/base/files.h"
#include "dure/base/int128.h"
#include "dure/base/result.h"
#include "dure/money/budget.h"
#include "dure/money/cost.h"

namespace dure::money {

// Never used twice in one data folder.
struct ReservationId {
  std::uint64_t epoch = 0;  // the process's ledger file
  std::uint64_t seq = 0;    // the record in it
  friend auto operator<=>(const ReservationId&, const ReservationId&) = default;
};

// What the ledger says about a call beside money. Strings are copied, at most 255 bytes each.
struct CallInfo {
  std::string_view model;    // canonical
  std::string_view service;  // may be empty
  std::string_view call_id;  // ours: joins the attempts of one call
  std::string_view key_id;   // never the key
  std::uint16_t attempt = 1;
  Flags flags = 0;  // kHedge, kBatch, kStage
  // The hold of which a hedge's or a stage's is a child: each has an amount of its own, for each
  // may be billed; the ledger joins them. Zeros: none.
  ReservationId parent = {};
};

struct ReserveRequest {
  std::span<const std::string> scopes;  // "org:acme", "user:7": every budget of each must pass
  Bound bound;
  CallInfo call;
  base::Duration lease = std::chrono::minutes(10);  // after that the hold may be taken for lost
  // Belongs to a job (a batch, a background response), not to this process: it stays open when the
  // process ends, and any account on the folder may follow and end it by its id.
  bool detached = false;
  // A refusal by a budget of policy queue gives it a place in the queue (detail "ticket"), to be
  // asked for again with `ticket` within the second, or left by leave_queue.
  bool may_wait = false;
  std::uint64_t ticket = 0;
};

struct Warning {
  std::string scope;
  std::int64_t left = 0;
  BudgetUnit unit = BudgetUnit::kPico;
};

struct Admission {
  ReservationId id;
  std::vector<Warning> warnings;  // budgets of policy warn that are exceeded
  // What to send as the output maximum; smaller than the bound's if a budget shrank it.
  std::int64_t max_output_tokens = 0;
  bool shrunk = false;
};

struct Record;  // money/ledger.h

// Sums over ledger records.
struct Totals {
  base::int128 spent = 0;     // pico-dollars settled
  base::int128 held = 0;      // pico-dollars of open holds
  std::int64_t tokens = 0;    // settled
  std::int64_t reserved = 0;  // reservations made
  std::int64_t settled = 0;
  std::int64_t voided = 0;  // by VOID or EXPIRE: both end a hold that cost nothing
  std::int64_t open = 0;    // below zero where holds of older files were ended

  // Adds one record: the one rule for the account, a file's checkpoints and their proof.
  void apply(const Record& record) noexcept;
  friend bool operator==(const Totals&, const Totals&) = default;
};

// When a record counts as written.
enum class Durability : std::uint8_t {
  kProcess,  // in the kernel's cache: survives kill -9
  kPower,    // synced: survives power loss
};

struct AccountOptions {
  Durability durability = Durability::kProcess;
  const base::Clock* clock = nullptr;  // nullptr: the machine's; else outlives the account
  base::Files* files = nullptr;        // nullptr: the machine's; else outlives the account
  // A ledger file of this size is closed and the next one begun.
  std::uint64_t rotate_bytes = std::uint64_t{64} << 20U;
};

// The use of a budget reached `percent` of its limit, grants included.
struct Alert {
  std::string scope;
  BudgetUnit unit = BudgetUnit::kPico;
  std::string window;
  std::int64_t percent = 0;
  std::int64_t window_start_us = 0;
  std::int64_t used = 0;
  std::int64_t limit = 0;
};

class Account {
 public:
  // Opens `<folder>/ledger` (created if missing), begins this process's ledger file, replays the
  // others, settles what dead processes left open. Fails with kIo, or kCorrupt if a ledger file is
  // missing, cut, or damaged before its end (detail "path"): nothing is skipped, `dure ledger
  // verify` says where.
  [[nodiscard]] static base::Result<std::shared_ptr<Account>> open(const std::string& folder,
                                                                   AccountOptions options = {});
  // The one account of `folder` in this process, opened on first use and kept while in use.
  [[nodiscard]] static base::Result<std::shared_ptr<Account>> shared(const std::string& folder);

  // Writes a closing CHECKPOINT. Open holds stay open: the next account on the folder settles
  // them by rule.
  ~Account();
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

  // Holds the bound in every budget of every scope, or in none. Fails with
  //   kBudgetExceeded      details scope, left_units, unit, limit_units, resets_at_us (absent for
  //                        lifetime), on_limit; retry_after. Policy approval: HTTP 403, code
  //                        "approval_required", detail approval_id. Policy queue with may_wait:
  //                        detail ticket.
  //   kBudgetExceeded, leaf RequestExceedsLimitError, HTTP 400: larger than the whole limit
  //   kInvalidArgument     a scope that is not "kind:name"
  //   kIo                  the ledger cannot be written
  [[nodiscard]] base::Result<Admission> reserve(const ReserveRequest& request);
  // The same, waiting in the queue of a budget of policy queue for at most `wait`, or until `stop`
  // (nullptr: nobody does) is true. Blocks.
  [[nodiscard]] base::Result<Admission> reserve_within(ReserveRequest request, base::Duration wait,
                                                       const std::atomic<bool>* stop = nullptr);
  // Changes when waiting calls of any process may find room; also try now and then, for windows
  // that reset. A waiter tries in the order of the tickets: who came first goes first.
  [[nodiscard]] std::uint64_t room_changes() const;
  // Gives a place in the queue up. Nothing of it stays.
  void leave_queue(std::uint64_t ticket);

  // The first request byte is about to leave: from here on the hold cannot be voided.
  // Fails with kNotFound for an unknown id (also below), kIo.
  base::Status sent(ReservationId id);
  // `output_tokens` received so far; written every 256 tokens or second.
  base::Status progress(ReservationId id, std::int64_t output_tokens);

  // Replaces the hold by the cost, once. The same figures again: ok. Other figures: ok, the first
  // stand and the conflict is recorded. On kIo the settlement is kept, counts as held, and is
  // written with the next file; settling again tells whether it was.
  base::Status settle(ReservationId id, const Usage& usage, const Cost& cost,
                      const Answered& answered = {});
  // For calls without reported usage: never sent -> void; hidden output -> the whole hold, flag
  // possible_spend; else input + tokens received, flag estimated. Idempotent.
  base::Status settle_by_rule(ReservationId id);
  // After an ambiguous failure: the whole hold, flag possible_spend. Idempotent.
  base::Status settle_possible_spend(ReservationId id);
  // Drops a hold that cost nothing. Fails with kInvalidArgument once sent.
  base::Status void_hold(ReservationId id);
  // Corrects a settlement (later report, re-pricing) by signed differences; written as ADJUST.
  // Known for the last 65,536 settlements of this process. Fails with kInvalidArgument if the
  // call's cost or its tokens came below zero, or beyond 63 bits.
  base::Status adjust(ReservationId id, Pico pico, std::int64_t tokens);
  // Cost without reservation (track_usage): counted in every budget of `scopes`, never refused.
  base::Status record(const ReserveRequest& request, const Usage& usage, const Cost& cost);

  // A call that was served without one: its answer was kept (kCached) or is another's (kCoalesced).
  // The ledger says so; no budget is asked and none counts it. Fails with kIo.
  base::Status note_free(std::span<const std::string> scopes, const CallInfo& call);

  // What the hold became; kNotFound when unknown or long settled.
  struct Settlement {
    Pico pico = 0;
    std::int64_t tokens = 0;
    Flags flags = 0;
  };
  [[nodiscard]] base::Result<Settlement> settlement(ReservationId id) const;

  // Creates the budget or changes its limit, policy and window; used and held stay. A running
  // calendar window keeps its end. Synced to disk. Fails with kInvalidArgument, kIo.
  base::Status set_budget(const BudgetSpec& spec);
  // Every budget of `scope`, in order of creation; empty scope: all.
  [[nodiscard]] base::Result<std::vector<BudgetState>> budgets(std::string_view scope);
  // Raises the limit of the scope's budgets of `unit` by `amount` until `until`. Fails with
  // kNotFound if there is none.
  base::Status grant(std::string_view scope, BudgetUnit unit, std::int64_t amount,
                     base::WallTime until);

  // What settlements of this process set off since the last call, at most the latest 1,024. Among
  // all processes each percentage of a budget is told once a window; the ledger has it too.
  [[nodiscard]] std::vector<Alert> take_alerts();

  // This process's own reservations since open, as written.
  [[nodiscard]] Totals totals() const;
  // Settlements that wait for the disk; their holds count as held.
  [[nodiscard]] std::int64_t unwritten() const;
  [[nodiscard]] const std::string& folder() const noexcept;

 private:
  class Impl;
  explicit Account(std::unique_ptr<Impl> impl);
  struct Forks;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dure::money

#endif  // DURE_MONEY_ACCOUNT_H_
