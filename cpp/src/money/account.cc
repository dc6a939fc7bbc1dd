#include "dure/money/account.h"

#include <pthread.h>

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <unordered_set>
#include <utility>

#include "dure/base/annotations.h"
#include "dure/base/busy_mutex.h"
#include "money/board.h"
#include "money/budget_book.h"
#include "money/id_map.h"
#include "money/ledger_index.h"
#include "money/ledger_writer.h"
#include "money/peers.h"

namespace dure::money {
namespace {

constexpr std::int64_t kProgressTokens = 256;
constexpr base::Duration kProgressTime = std::chrono::seconds(1);
constexpr base::Duration kRetryDisk = std::chrono::milliseconds(100);
constexpr std::size_t kKeptSettlements = 65'536;
constexpr std::size_t kKeptAlerts = 1'024;

struct IdHash {
  std::size_t operator()(const ReservationId& id) const noexcept {
    return static_cast<std::size_t>((id.epoch * 0x9E3779B97F4A7C15U) ^ id.seq);
  }
};

// A node's fields are all set anew.
void take(const Record& record, Bound& bound) {
  bound = record.bound;
  bound.pico = record.pico;
  bound.tokens = record.tokens;
}

// What a call that was cut off after `received` output tokens cost. The rate of one token is
// rounded up, so that what was asked for at most never comes to more than its bound.
Pico spent_on(const Bound& bound, std::int64_t received) {
  const base::int128 pico =
      bound.input_pico + static_cast<base::int128>(bound.output_rate) * received;
  const bool in_bounds = received <= bound.choices * bound.max_output_tokens;
  const Pico most = in_bounds ? bound.pico : std::numeric_limits<Pico>::max();
  return pico < most ? static_cast<Pico>(pico) : most;
}

// Whether `figure` may be corrected by `difference`: the sum is neither negative nor too large.
bool may_adjust(std::int64_t figure, std::int64_t difference) {
  const base::int128 sum = static_cast<base::int128>(figure) + difference;
  return sum >= 0 && sum <= std::numeric_limits<std::int64_t>::max();
}

base::Status unknown_hold(ReservationId id) {
  return {base::Code::kNotFound, "No open reservation " + std::to_string(id.epoch) + "-" +
                                     std::to_string(id.seq) + " in this process"};
}

// Holds a LockFile while it lives.
class FolderLock {
 public:
  explicit FolderLock(base::LockFile& lock) : lock_(lock), status_(lock.acquire()) {}
  ~FolderLock() {
    if (status_.ok()) lock_.release();
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  [[nodiscard]] const base::Status& status() const { return status_; }

 private:
  base::LockFile& lock_;
  base::Status status_;
};

}  // namespace

class Account::Impl {
 public:
  Impl(std::string folder, AccountOptions options)
      : folder_(std::move(folder)),
        ledger_folder_(folder_ + "/ledger"),
        options_(options),
        clock_(options.clock != nullptr ? *options.clock : base::system_clock()),
        files_(options.files != nullptr ? *options.files : base::system_files()),
        peers_(files_, ledger_folder_) {}

  base::Status open() {
    const std::scoped_lock lock(mutex_);
    return ready();
  }
  void close();
  // In a forked child: closes every inherited descriptor. REQUIRES: mutex_ was locked at fork.
  void abandon() {
    writer_.reset();
    finished_.clear();
    own_locks_.clear();
    folder_lock_.reset();
    board_.reset();
    peers_.~Peers();
    new (&peers_) Peers(files_, ledger_folder_);
  }

  base::Result<Admission> reserve(const ReserveRequest& request);
  std::uint64_t room_changes() {
    const std::scoped_lock lock(mutex_);
    return board_ == nullptr ? 0 : board_->freed();
  }
  void leave_queue(std::uint64_t ticket);
  base::Status sent(ReservationId id);
  base::Status progress(ReservationId id, std::int64_t output_tokens);
  base::Status settle(ReservationId id, const Usage& usage, const Cost& cost,
                      const Answered& answered);
  base::Status settle_by_rule(ReservationId id, bool whole);
  base::Status void_hold(ReservationId id);
  base::Status adjust(ReservationId id, Pico pico, std::int64_t tokens);
  base::Status record(const ReserveRequest& request, const Usage& usage, const Cost& cost);
  base::Status note_free(std::span<const std::string> scopes, const CallInfo& call);
  base::Result<Settlement> settlement(ReservationId id);
  base::Status set_budget(const BudgetSpec& spec);
  base::Result<std::vector<BudgetState>> budgets(std::string_view scope);
  base::Status grant(std::string_view scope, BudgetUnit unit, std::int64_t amount,
                     base::WallTime until);
  std::vector<Alert> take_alerts() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(alerts_, {});
  }
  Totals totals() {
    const std::scoped_lock lock(mutex_);
    return totals_;
  }
  std::int64_t unwritten() {
    const std::scoped_lock lock(mutex_);
    return static_cast<std::int64_t>(unwritten_.size());
  }

  const std::string& folder() const { return folder_; }
  const AccountOptions& options() const { return options_; }
  base::BusyMutex& mutex() { return mutex_; }

 private:
  struct Hold {
    Bound bound;
    std::vector<Posting> postings;
    bool sent = false;
    bool detached = false;
    bool ended = false;  // its end waits in unwritten_
    std::int64_t received = 0;
    std::int64_t logged = 0;
    base::Instant logged_at;
  };
  struct Settled {
    Settlement figures;
    std::vector<Posting> postings;
  };
  using Holds = IdMap<Hold>;
  // The board's lock while it lives; no file is begun under it, for that locks the folder first.
  class BoardHold {
   public:
    explicit BoardHold(Impl& impl) : impl_(impl), lock_(*impl.board_) { impl_.board_held_ = true; }
    ~BoardHold() { impl_.board_held_ = false; }
    BoardHold(const BoardHold&) = delete;
    BoardHold& operator=(const BoardHold&) = delete;
    [[nodiscard]] const base::Status& status() const { return lock_.status(); }

   private:
    Impl& impl_;
    BoardLock lock_;
  };

  // All below DURE_REQUIRES(mutex_).
  base::Status ready();
  base::Status begin_file(bool first);
  base::Status open_folder();
  base::Status begin_writer();
  base::Status bury_the_dead();
  base::Status settle_dead_holds();
  base::Status carry_over();
  base::Status catch_up() {
    return peers_.catch_up([this](const Record& record) { apply_peer(record); });
  }
  // As ready() and catch_up(), for the usual case that there is nothing to do.
  [[nodiscard]] bool is_ready() const noexcept {
    return writer_ != nullptr && !writer_->broken() &&
           (writer_->size() < options_.rotate_bytes || board_held_);
  }
  // Writes and counts.
  base::Status commit(Record& record);
  // Counts one record, ours or another process's.
  void apply(const Record& record);
  void count_own(const Record& record);
  // Fill decision_.
  base::Status admit(const ReserveRequest& request);
  base::Status decide(const ReserveRequest& request);
  // A refusal by a budget of policy queue, with a place in the queue.
  base::Status queued(base::Status refusal, const ReserveRequest& request);
  [[nodiscard]] std::uint64_t now_ms() const {
    return static_cast<std::uint64_t>(clock_.now().ns / 1'000'000);
  }
  base::Result<Admission> reserve_now(const ReserveRequest& request, bool enforce);
  void fill_reserve(Record& record, const ReserveRequest& request, bool enforce) const;
  // The one record that this process fills at a time; keeps its memory from call to call.
  Record& fresh(RecordType type, ReservationId id) {
    scratch_.clear();
    scratch_.type = type;
    scratch_.id = id;
    return scratch_;
  }
  // Writes `record`, or keeps it until the disk takes it. `ready_`: what ready() said before the
  // record was filled.
  base::Status end_hold(Record& record, Hold& hold, base::Status ready_);
  void fill_settle(Record& record, const Usage& usage, const Cost& cost) const;
  void fill_by_rule(Record& record, ReservationId id, const Hold& hold, bool whole) const;
  base::Status end_by_rule(ReservationId id, Hold& hold, bool whole);
  // After a settlement, a correction, another limit: tells what nobody told yet. A disk that
  // refuses leaves it to the next one.
  void tell_alerts(std::span<const Posting> postings);
  void remember(ReservationId id, const Record& record);
  base::Status settle_again(ReservationId id, const Settled& first, Pico pico, std::int64_t tokens);
  base::Status settle_now(ReservationId id, const Usage& usage, const Cost& cost,
                          const Answered& answered);
  base::Status note_price_version(const std::string& version);
  [[nodiscard]] bool is_own(ReservationId id) const {
    return (writer_ != nullptr && id.epoch == writer_->epoch()) || own_epochs_.contains(id.epoch);
  }
  // Our hold, or anybody's detached one, if nobody ended it.
  Hold* find_own(ReservationId id) {
    Hold* found = holds_.find(id);
    const bool ours = found != nullptr && (is_own(id) || found->detached);
    return ours && !found->ended ? found : nullptr;
  }
  // No other process can end it.
  [[nodiscard]] bool is_ours_alone(ReservationId id) {
    if (!is_own(id)) return false;
    const Hold* hold = holds_.find(id);
    return hold == nullptr || !hold->detached;
  }
  // Before a hold is looked for: if it is, or may be, a detached one, keeps the other processes
  // from ending it meanwhile and learns whether they did.
  base::Status follow(ReservationId id, std::optional<BoardHold>& alone);
  void apply_peer(const Record& record) {
    apply(record);
    count_own(record);  // only a detached hold of ours can be ended by another process
  }
  // Of a hold that was ended: ok once that is in the ledger.
  base::Status ended(ReservationId id);

  const std::string folder_;
  const std::string ledger_folder_;
  const AccountOptions options_;
  const base::Clock& clock_;
  base::Files& files_;

  base::BusyMutex mutex_;  // guards everything below
  bool opened_ DURE_GUARDED_BY(mutex_) = false;
  base::Status disk_ DURE_GUARDED_BY(mutex_);  // why there is no file to write to
  base::Instant retry_disk_at_ DURE_GUARDED_BY(mutex_);
  std::unique_ptr<base::LockFile> folder_lock_ DURE_GUARDED_BY(mutex_);
  std::unique_ptr<Board> board_ DURE_GUARDED_BY(mutex_);
  bool board_held_ DURE_GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<base::LockFile>> own_locks_ DURE_GUARDED_BY(mutex_);
  std::set<std::uint64_t> own_epochs_ DURE_GUARDED_BY(mutex_);
  std::unique_ptr<LedgerWriter> writer_ DURE_GUARDED_BY(mutex_);
  // Our earlier files; live until we leave, for they may have begun holds that are open.
  std::vector<std::unique_ptr<LedgerWriter>> finished_ DURE_GUARDED_BY(mutex_);
  Peers peers_ DURE_GUARDED_BY(mutex_);
  BudgetBook book_ DURE_GUARDED_BY(mutex_);
  Holds holds_ DURE_GUARDED_BY(mutex_);  // of all processes
  // Ended in a file read before the one that began them.
  std::unordered_set<ReservationId, IdHash> ended_early_ DURE_GUARDED_BY(mutex_);
  std::vector<Record> unwritten_ DURE_GUARDED_BY(mutex_);  // ends that the disk refused
  IdMap<Settled> settled_ DURE_GUARDED_BY(mutex_);
  std::vector<ReservationId> settled_order_ DURE_GUARDED_BY(mutex_);  // a ring once it is full
  std::size_t oldest_settled_ DURE_GUARDED_BY(mutex_) = 0;
  BudgetBook::Decision decision_ DURE_GUARDED_BY(mutex_);
  std::string price_version_ DURE_GUARDED_BY(mutex_);
  std::uint64_t approvals_ DURE_GUARDED_BY(mutex_) = 0;
  std::vector<Alert> alerts_ DURE_GUARDED_BY(mutex_);
  Record scratch_ DURE_GUARDED_BY(mutex_);
  Totals totals_ DURE_GUARDED_BY(mutex_);
};

// Opening, dying, full disks ---------------------------------------------------------------------

base::Status Account::Impl::ready() {
  if (writer_ != nullptr && !writer_->broken()) {
    if (writer_->size() < options_.rotate_bytes || board_held_) return {};
    (void)writer_->finish(clock_.wall().us);  // without it the file is as good as after a death
    finished_.push_back(std::move(writer_));
    return begin_file(false);
  }
  if (opened_ && (board_held_ || clock_.now() < retry_disk_at_)) return disk_;
  base::Status status = begin_file(!opened_);
  if (status.ok()) return status;
  retry_disk_at_ = clock_.now() + kRetryDisk;
  disk_ = status;
  return status;
}

base::Status Account::Impl::open_folder() {
  if (folder_lock_ != nullptr) return {};
  if (base::Status made = files_.create_folder(ledger_folder_); !made.ok()) return made;
  auto lock = files_.open_lock(ledger_folder_ + "/lock");
  if (!lock) return std::move(lock.error());
  folder_lock_ = std::move(*lock);
  return {};
}

base::Status Account::Impl::begin_file(bool first) {
  if (base::Status status = open_folder(); !status.ok()) return status;
  const FolderLock held(*folder_lock_);
  if (!held.status().ok()) return held.status();
  if (board_ == nullptr) {
    auto board = Board::open(files_, ledger_folder_);
    if (!board) return std::move(board.error());
    board_ = std::move(*board);
    peers_.use(*board_);
  }
  if (base::Status status = board_->enter(); !status.ok()) return status;
  const BoardLock alone(*board_);
  if (!alone.status().ok()) return alone.status();
  const auto dead = peers_.bury([this](const Record& record) { apply_peer(record); });
  if (!dead) return dead.error();
  if (base::Status status = begin_writer(); !status.ok()) return status;
  price_version_.clear();
  if (first) {
    opened_ = true;
    return settle_dead_holds();
  }
  return carry_over();
}

// The file, its lock, its line in the index, its slot: in this order others may find it.
base::Status Account::Impl::begin_writer() {
  const std::uint64_t epoch = peers_.claim_epoch();
  auto writer =
      LedgerWriter::begin(files_, ledger_folder_, epoch, clock_.wall(), options_.durability);
  if (!writer) return std::move(writer.error());
  auto alive = files_.open_lock(ledger_path(ledger_folder_, epoch));
  if (!alive) return std::move(alive.error());
  const auto ours = (*alive)->try_acquire();
  if (!ours) return ours.error();
  if (base::Status status = files_.sync_folder(ledger_folder_); !status.ok()) return status;
  if (base::Status status = note_begun(files_, ledger_folder_, epoch); !status.ok()) return status;
  Board::Slot* slot = board_->claim(epoch, (*writer)->end());
  if (slot == nullptr) {
    return {base::Code::kIo, "More than 1,000 ledger files of " + folder_ +
                                 " are in use: end some processes, then try again"};
  }
  (*writer)->publish_on(*slot);
  own_locks_.push_back(std::move(*alive));
  own_epochs_.insert(epoch);
  writer_ = std::move(*writer);
  return {};
}

base::Status Account::Impl::carry_over() {
  base::Status written;
  holds_.for_each([&](ReservationId id, const Hold& hold) {
    if (!written.ok() || !hold.sent || hold.ended || !is_own(id)) return;
    Record record;  // its SENT may be in a file that lost it
    record.type = RecordType::kSent;
    record.at_us = clock_.wall().us;
    record.id = id;
    written = writer_->append(record);
  });
  if (!written.ok()) return written;
  while (!unwritten_.empty()) {
    if (base::Status status = commit(unwritten_.back()); !status.ok()) return status;
    unwritten_.pop_back();
  }
  return {};
}

base::Status Account::Impl::bury_the_dead() {
  const auto dead = peers_.bury([this](const Record& record) { apply_peer(record); });
  if (!dead) return dead.error();
  return *dead ? settle_dead_holds() : base::Status();
}

base::Status Account::Impl::settle_dead_holds() {
  std::vector<ReservationId> dead;
  holds_.for_each([&](ReservationId id, const Hold& hold) {
    if (!hold.detached && !is_own(id) && !peers_.alive(id.epoch)) dead.push_back(id);
  });
  std::sort(dead.begin(), dead.end());
  for (const ReservationId id : dead) {
    Record record;
    record.flags = static_cast<Flags>(Flag::kRecovered);
    fill_by_rule(record, id, *holds_.find(id), false);
    if (record.type == RecordType::kVoid) record.type = RecordType::kExpire;
    if (base::Status status = commit(record); !status.ok()) return status;
  }
  return {};
}

void Account::Impl::close() {
  const std::scoped_lock lock(mutex_);
  if (writer_ == nullptr || writer_->broken()) return;  // as good as after kill
  if (!writer_->finish(clock_.wall().us).ok()) return;
  finished_.push_back(std::move(writer_));
  const FolderLock held(*folder_lock_);
  if (!held.status().ok()) return;
  {
    const BoardLock alone(*board_);
    if (!alone.status().ok()) return;
    for (const auto& finished : finished_) {
      if (!finished->retire().ok()) return;
    }
    own_locks_.clear();
  }
  board_->leave();
}

// Counting ---------------------------------------------------------------------------------------

base::Status Account::Impl::commit(Record& record) {
  base::Status status = writer_->append(record);
  if (!status.ok()) {
    disk_ = status;
    retry_disk_at_ = clock_.now() + kRetryDisk;
    return status;
  }
  apply(record);
  count_own(record);
  if (record.type > RecordType::kProgress && board_->anybody_waits()) board_->note_freed();
  return status;
}

void Account::Impl::count_own(const Record& record) {
  if (is_own(record.id)) totals_.apply(record);
}

void Account::Impl::apply(const Record& record) {
  book_.apply(record);
  switch (record.type) {
    case RecordType::kReserve:
      if (ended_early_.empty() || ended_early_.erase(record.id) == 0) {
        Hold& hold = *holds_.emplace(record.id).first;
        take(record, hold.bound);
        hold.postings = record.postings;
        hold.sent = hold.ended = false;
        hold.detached = has(record.flags, Flag::kDetached);
        hold.received = hold.logged = 0;
        hold.logged_at = {};
      }
      break;
    case RecordType::kSent:
      if (Hold* hold = holds_.find(record.id)) hold->sent = true;
      break;
    case RecordType::kProgress:
      if (Hold* hold = holds_.find(record.id)) {
        hold->received = std::max(hold->received, record.tokens);
      }
      break;
    case RecordType::kSettle:
    case RecordType::kVoid:
    case RecordType::kExpire:
      if (const Hold* hold = holds_.find(record.id); hold == nullptr) {
        ended_early_.insert(record.id);
      } else {
        if (hold->detached) remember(record.id, record);
        holds_.erase(record.id);
      }
      break;
    default:
      break;
  }
}

// Reserving --------------------------------------------------------------------------------------

base::Status Account::Impl::decide(const ReserveRequest& request) {
  BudgetBook::Queued queued;
  if (board_->anybody_waits()) {
    queued = [&](std::uint32_t budget) {
      return board_->waits_before(request.ticket, budget, now_ms());
    };
  }
  return book_.decide(request.scopes, request.bound, clock_.wall(), true, queued, decision_);
}

base::Status Account::Impl::queued(base::Status refusal, const ReserveRequest& request) {
  const auto* policy = refusal.detail("on_limit");
  const bool waits = request.may_wait && refusal.provider_code() == "limit_exceeded" &&
                     policy != nullptr && std::get<std::string>(*policy) == "queue";
  if (!waits) {
    board_->stop_waiting(request.ticket);
    return refusal;
  }
  const auto budget = static_cast<std::uint32_t>(std::get<std::int64_t>(*refusal.detail("budget")));
  const Bound& bound = request.bound;
  const std::int64_t amount = book_.in_unit(budget, bound.pico, bound.tokens);
  const std::uint64_t ticket = board_->wait(request.ticket, budget, amount, now_ms());
  if (ticket == 0) return refusal;  // thousands wait already
  return std::move(refusal).with("ticket", static_cast<std::int64_t>(ticket));
}

void Account::Impl::leave_queue(std::uint64_t ticket) {
  const std::scoped_lock lock(mutex_);
  if (ticket == 0 || board_ == nullptr) return;
  const BoardHold alone(*this);
  if (!alone.status().ok()) return;
  board_->stop_waiting(ticket);
  board_->note_freed();  // those behind may go first now
}

base::Status Account::Impl::admit(const ReserveRequest& request) {
  base::Status refusal = decide(request);
  if (!refusal.ok()) {
    // No refusal before it is known that nobody who died still holds something.
    if (base::Status status = bury_the_dead(); !status.ok()) return status;
    refusal = decide(request);
  }
  if (refusal.ok()) {
    if (request.ticket != 0) {
      board_->stop_waiting(request.ticket);
      board_->note_freed();  // who is next may fit as well
    }
    return refusal;
  }
  if (refusal.provider_code() != "approval_required") return queued(std::move(refusal), request);
  return std::move(refusal).with("approval_id", "approval-" + std::to_string(writer_->epoch()) +
                                                    "-" + std::to_string(++approvals_));
}

void Account::Impl::fill_reserve(Record& record, const ReserveRequest& request,
                                 bool enforce) const {
  record.at_us = clock_.wall().us;
  record.flags = request.call.flags;
  if (request.detached) record.flags = record.flags | Flag::kDetached;
  if (decision_.shrunk) record.flags = record.flags | Flag::kShrunk;
  record.bound = decision_.bound;
  record.pico = enforce ? decision_.bound.pico : 0;
  record.tokens = enforce ? decision_.bound.tokens : 0;
  record.postings = decision_.postings;
  record.lease_us = record.at_us + request.lease.count() / 1000;
  record.attempt = request.call.attempt;
  record.model = request.call.model;
  record.service = request.call.service;
  record.call_id = request.call.call_id;
  record.key_id = request.call.key_id;
  record.parent = request.call.parent;
  record.scopes.assign(request.scopes.begin(), request.scopes.end());
}

base::Result<Admission> Account::Impl::reserve_now(const ReserveRequest& request, bool enforce) {
  if (!is_ready()) DURE_RETURN_IF_ERROR(ready());
  for (const std::string& scope : request.scopes) {
    if (!is_scope(scope)) {
      return base::fail(base::invalid_argument(
          "scope", "\"" + scope.substr(0, 40) + "\" is no scope: write kind:name, as in org:acme"));
    }
  }
  if (!peers_.is_up_to_date()) DURE_RETURN_IF_ERROR(catch_up());
  std::optional<BoardHold> alone;
  if (book_.choose(request.scopes) && (enforce || book_.begins_windows())) {
    alone.emplace(*this);
    if (!alone->status().ok()) return base::fail(base::Status(alone->status()));
    if (!peers_.is_up_to_date()) DURE_RETURN_IF_ERROR(catch_up());
  }
  DURE_RETURN_IF_ERROR(alone && enforce ? admit(request)
                                        : book_.decide(request.scopes, request.bound, clock_.wall(),
                                                       enforce, {}, decision_));
  Record& record = fresh(RecordType::kReserve, {});
  fill_reserve(record, request, enforce);
  DURE_RETURN_IF_ERROR(commit(record));
  Admission admission;
  admission.id = record.id;
  admission.warnings = std::move(decision_.warnings);
  admission.max_output_tokens = decision_.bound.max_output_tokens;
  admission.shrunk = decision_.shrunk;
  return admission;
}

base::Result<Admission> Account::Impl::reserve(const ReserveRequest& request) {
  const std::scoped_lock lock(mutex_);
  return reserve_now(request, true);
}

base::Status Account::Impl::follow(ReservationId id, std::optional<BoardHold>& alone) {
  if (is_ours_alone(id)) return {};
  if (settled_.contains(id)) return {};
  if (base::Status status = ready(); !status.ok() && !opened_) return status;
  alone.emplace(*this);
  if (!alone->status().ok()) return alone->status();
  return catch_up();
}

// Following a call -------------------------------------------------------------------------------

base::Status Account::Impl::sent(ReservationId id) {
  const std::scoped_lock lock(mutex_);
  std::optional<BoardHold> alone;
  if (!is_ours_alone(id)) {
    if (base::Status status = follow(id, alone); !status.ok()) return status;
  }
  Hold* hold = find_own(id);
  if (hold == nullptr) return unknown_hold(id);
  if (hold->sent) return {};
  hold->sent = true;  // in memory even if the disk refuses: carry_over writes it later
  if (!is_ready()) {
    if (base::Status status = ready(); !status.ok()) return status;
  }
  Record& record = fresh(RecordType::kSent, id);
  record.at_us = clock_.wall().us;
  return commit(record);
}

base::Status Account::Impl::progress(ReservationId id, std::int64_t output_tokens) {
  const std::scoped_lock lock(mutex_);
  std::optional<BoardHold> alone;
  if (base::Status status = follow(id, alone); !status.ok()) return status;
  Hold* found = find_own(id);
  if (found == nullptr) return unknown_hold(id);
  Hold& hold = *found;
  hold.received = std::max(hold.received, output_tokens);
  const base::Instant now = clock_.now();
  if (hold.logged_at == base::Instant{}) hold.logged_at = now;
  if (hold.received - hold.logged < kProgressTokens && now - hold.logged_at < kProgressTime) {
    return {};
  }
  if (base::Status status = ready(); !status.ok()) return status;
  hold.logged = hold.received;
  hold.logged_at = now;
  Record& record = fresh(RecordType::kProgress, id);
  record.at_us = clock_.wall().us;
  record.tokens = hold.received;
  return commit(record);
}

// Ending a call ----------------------------------------------------------------------------------

void Account::Impl::remember(ReservationId id, const Record& record) {
  const auto [settled, is_new] = settled_.emplace(id);
  if (!is_new) return;
  settled->figures = {record.pico, record.tokens, record.flags};
  settled->postings = record.postings;
  if (settled_order_.size() < kKeptSettlements) return settled_order_.push_back(id);
  settled_.erase(std::exchange(settled_order_[oldest_settled_], id));
  oldest_settled_ = (oldest_settled_ + 1) % kKeptSettlements;
}

base::Status Account::Impl::end_hold(Record& record, Hold& hold, base::Status ready_) {
  const ReservationId id = record.id;
  record.at_us = clock_.wall().us;
  record.held_pico = hold.bound.pico;
  record.postings = hold.postings;
  const bool settles = record.type == RecordType::kSettle;
  for (Posting& posting : record.postings) {
    posting.held = -posting.held;
    posting.used = settles ? book_.in_unit(posting.budget, record.pico, record.tokens) : 0;
  }
  remember(id, record);
  if (ready_.ok()) ready_ = commit(record);
  if (ready_.ok() && settles) tell_alerts(record.postings);
  if (!ready_.ok()) {  // held until the next file takes it
    hold.ended = true;
    unwritten_.push_back(record);
  }
  return ready_;
}

void Account::Impl::tell_alerts(std::span<const Posting> postings) {
  if (!book_.due_alerts(postings, clock_.wall(), nullptr) || writer_->broken()) return;
  std::optional<BoardHold> alone;
  if (!board_held_) alone.emplace(*this);
  if (alone && !alone->status().ok()) return;
  if (!catch_up().ok()) return;
  const base::WallTime now = clock_.wall();
  std::vector<Record> due;
  (void)book_.due_alerts(postings, now, &due);
  for (Record& record : due) {
    if (!commit(record).ok()) return;
    if (alerts_.size() == kKeptAlerts) alerts_.erase(alerts_.begin());
    alerts_.push_back(book_.alert(record, now));
  }
}

base::Status Account::Impl::note_price_version(const std::string& version) {
  if (version == price_version_ || version.empty()) return {};
  if (base::Status status = ready(); !status.ok()) return status;
  Record record;
  record.type = RecordType::kPriceVersion;
  record.at_us = clock_.wall().us;
  record.price_version = version;
  if (base::Status status = commit(record); !status.ok()) return status;
  price_version_ = version;
  return {};
}

base::Status Account::Impl::ended(ReservationId id) {
  if (!settled_.contains(id)) return unknown_hold(id);
  const Hold* hold = holds_.find(id);
  return hold != nullptr && hold->ended ? ready() : base::Status();
}

base::Status Account::Impl::settle_again(ReservationId id, const Settled& first, Pico pico,
                                         std::int64_t tokens) {
  if (base::Status status = ended(id); !status.ok()) return status;
  if (first.figures.pico == pico && first.figures.tokens == tokens) return {};
  if (base::Status status = ready(); !status.ok()) return status;
  Record record;  // the first figures stand; the others are told in the units of the record
  record.type = RecordType::kAdjust;
  record.flags = static_cast<Flags>(Flag::kConflict);
  record.at_us = clock_.wall().us;
  record.id = id;
  record.held_pico = pico;
  return commit(record);
}

base::Status Account::Impl::settle_now(ReservationId id, const Usage& usage, const Cost& cost,
                                       const Answered& answered) {
  const std::int64_t tokens = usage.counts.input_tokens() + usage.counts.output_tokens();
  Hold* hold = find_own(id);
  if (hold == nullptr) {
    const Settled* first = settled_.find(id);
    if (first == nullptr) return unknown_hold(id);
    return settle_again(id, *first, cost.pico, tokens);
  }
  if (cost.pico < 0) return base::invalid_argument("cost", "a cost cannot be negative");
  Hold& held = *hold;
  base::Status disk;
  if (!is_ready()) disk = ready();
  if (disk.ok() && cost.price_version != price_version_) {
    disk = note_price_version(cost.price_version);
  }
  Record& record = fresh(RecordType::kSettle, id);
  fill_settle(record, usage, cost);
  record.service_tier = answered.service_tier;
  record.region = answered.region;
  record.returned_model = answered.model;
  record.request_id = answered.request_id;
  if (cost.pico > held.bound.pico) record.flags = record.flags | Flag::kOverrun;
  return end_hold(record, held, std::move(disk));
}

void Account::Impl::fill_settle(Record& record, const Usage& usage, const Cost& cost) const {
  record.pico = cost.pico;
  record.tokens = usage.counts.input_tokens() + usage.counts.output_tokens();
  record.flags = static_cast<Flags>(usage.flags | cost.flags);
  record.price_version = cost.price_version;
  for (std::size_t i = 0; i < catalog::kUnits; ++i) {
    const auto unit = static_cast<catalog::Unit>(i);
    if (usage.counts[unit] != 0) record.units.emplace_back(unit, usage.counts[unit]);
  }
  if (cost.lines.size() != record.units.size()) return;                   // a figure without prices
  for (const Line& line : cost.lines) record.rates.push_back(line.rate);  // in the same order
}

base::Status Account::Impl::settle(ReservationId id, const Usage& usage, const Cost& cost,
                                   const Answered& answered) {
  const std::scoped_lock lock(mutex_);
  std::optional<BoardHold> alone;
  if (!is_ours_alone(id)) {
    if (base::Status status = follow(id, alone); !status.ok()) return status;
  }
  return settle_now(id, usage, cost, answered);
}

// Ends a hold without reported usage; adds to the record's flags.
void Account::Impl::fill_by_rule(Record& record, ReservationId id, const Hold& hold,
                                 bool whole) const {
  record.id = id;
  record.at_us = clock_.wall().us;
  record.held_pico = hold.bound.pico;
  record.postings = hold.postings;
  if (!hold.sent && !whole) {
    record.type = RecordType::kVoid;
  } else if (whole || hold.bound.hidden_output) {
    record.type = RecordType::kSettle;
    record.pico = hold.bound.pico;
    record.tokens = hold.bound.tokens;
    record.flags = record.flags | Flag::kPossibleSpend;
  } else {
    record.type = RecordType::kSettle;
    record.pico = spent_on(hold.bound, hold.received);
    record.tokens = hold.bound.input_tokens + hold.received;
    record.flags = record.flags | Flag::kEstimated;
  }
  for (Posting& posting : record.postings) {
    posting.held = -posting.held;
    posting.used = record.type == RecordType::kSettle
                       ? book_.in_unit(posting.budget, record.pico, record.tokens)
                       : 0;
  }
}

base::Status Account::Impl::end_by_rule(ReservationId id, Hold& hold, bool whole) {
  base::Status disk = ready();
  Record& record = fresh(RecordType::kVoid, id);
  fill_by_rule(record, id, hold, whole);
  return end_hold(record, hold, std::move(disk));
}

base::Status Account::Impl::settle_by_rule(ReservationId id, bool whole) {
  const std::scoped_lock lock(mutex_);
  std::optional<BoardHold> alone;
  if (base::Status status = follow(id, alone); !status.ok()) return status;
  Hold* hold = find_own(id);
  return hold == nullptr ? ended(id) : end_by_rule(id, *hold, whole);
}

base::Status Account::Impl::void_hold(ReservationId id) {
  const std::scoped_lock lock(mutex_);
  std::optional<BoardHold> alone;
  if (base::Status status = follow(id, alone); !status.ok()) return status;
  Hold* hold = find_own(id);
  if (hold == nullptr) return ended(id);
  if (hold->sent) {
    return base::invalid_argument(
        "id", "a sent call may cost money: settle it, or settle it by rule, but do not void it");
  }
  return end_by_rule(id, *hold, false);
}

base::Status Account::Impl::adjust(ReservationId id, Pico pico, std::int64_t tokens) {
  const std::scoped_lock lock(mutex_);
  Settled* settled = settled_.find(id);
  if (settled == nullptr) return unknown_hold(id);
  if (base::Status status = ready(); !status.ok()) return status;
  Settled& known = *settled;
  if (!may_adjust(known.figures.pico, pico) || !may_adjust(known.figures.tokens, tokens)) {
    return base::invalid_argument(
        "pico", "a call cannot cost less than nothing: take off at most what it was settled with");
  }
  Record record;
  record.type = RecordType::kAdjust;
  record.at_us = clock_.wall().us;
  record.id = id;
  record.pico = pico;
  record.tokens = tokens;
  for (const Posting& posting : known.postings) {
    const std::int64_t before =
        book_.in_unit(posting.budget, known.figures.pico, known.figures.tokens);
    const std::int64_t after =
        book_.in_unit(posting.budget, known.figures.pico + pico, known.figures.tokens + tokens);
    record.postings.push_back({posting.budget, posting.window_start_us, 0, after - before});
  }
  if (base::Status status = commit(record); !status.ok()) return status;
  known.figures.pico += pico;
  known.figures.tokens += tokens;
  tell_alerts(record.postings);
  return {};
}

base::Status Account::Impl::record(const ReserveRequest& request, const Usage& usage,
                                   const Cost& cost) {
  const std::scoped_lock lock(mutex_);
  const auto admission = reserve_now(request, false);
  if (!admission) return admission.error();
  // Nothing was held, so the cost is no overrun.
  Hold& hold = *holds_.find(admission->id);
  hold.sent = true;
  base::Status disk = ready();
  if (disk.ok()) disk = note_price_version(cost.price_version);
  Record& record = fresh(RecordType::kSettle, admission->id);
  fill_settle(record, usage, cost);
  return end_hold(record, hold, std::move(disk));
}

base::Status Account::Impl::note_free(std::span<const std::string> scopes, const CallInfo& call) {
  const std::scoped_lock lock(mutex_);
  if (base::Status status = ready(); !status.ok()) return status;
  ReserveRequest request;
  request.scopes = scopes;
  request.call = call;
  decision_ = {};  // no bound, no posting
  Record& begun = fresh(RecordType::kReserve, {});
  fill_reserve(begun, request, false);
  if (base::Status status = commit(begun); !status.ok()) return status;
  const ReservationId id = begun.id;
  Record& record = fresh(RecordType::kSettle, id);
  record.flags = call.flags;
  return end_hold(record, *holds_.find(id), {});
}

base::Result<Account::Settlement> Account::Impl::settlement(ReservationId id) {
  const std::scoped_lock lock(mutex_);
  const Settled* settled = settled_.find(id);
  if (settled == nullptr) return base::fail(unknown_hold(id));
  return settled->figures;
}

// Budgets ----------------------------------------------------------------------------------------

base::Status Account::Impl::set_budget(const BudgetSpec& spec) {
  const std::scoped_lock lock(mutex_);
  if (base::Status status = ready(); !status.ok()) return status;
  const BoardHold alone(*this);
  if (!alone.status().ok()) return alone.status();
  if (base::Status status = catch_up(); !status.ok()) return status;
  auto record = book_.limit_record(spec, clock_.wall());
  if (!record) return std::move(record.error());
  if (base::Status status = commit(*record); !status.ok()) return status;
  const Posting lowered{.budget = record->budget, .used = 1};  // its use is a larger part now
  tell_alerts({&lowered, 1});
  return writer_->broken() ? disk_ : writer_->sync();
}

base::Result<std::vector<BudgetState>> Account::Impl::budgets(std::string_view scope) {
  const std::scoped_lock lock(mutex_);
  DURE_RETURN_IF_ERROR(opened_ ? base::Status() : ready());  // reading needs no room on the disk
  DURE_RETURN_IF_ERROR(catch_up());
  std::vector<BudgetState> states = book_.read(scope, clock_.wall());
  if (!board_->anybody_waits()) return states;
  const BoardHold alone(*this);
  if (!alone.status().ok()) return base::fail(base::Status(alone.status()));
  for (const Board::Waiter& waiter : board_->waiters(now_ms())) {
    const BudgetSpec* waited = book_.spec(waiter.budget);
    for (BudgetState& state : states) {
      if (waited != nullptr && state.spec.scope == waited->scope &&
          state.spec.unit == waited->unit && state.spec.window.name == waited->window.name &&
          state.spec.window.rolling == waited->window.rolling) {
        state.waiting.push_back(waiter.amount);
      }
    }
  }
  return states;
}

base::Status Account::Impl::grant(std::string_view scope, BudgetUnit unit, std::int64_t amount,
                                  base::WallTime until) {
  const std::scoped_lock lock(mutex_);
  if (amount <= 0) return base::invalid_argument("amount", "a grant must be above zero");
  if (base::Status status = ready(); !status.ok()) return status;
  const BoardLock alone(*board_);
  if (!alone.status().ok()) return alone.status();
  if (base::Status status = catch_up(); !status.ok()) return status;
  std::vector<Record> records = book_.grant_records(scope, unit, amount, until);
  if (records.empty()) {
    return {base::Code::kNotFound,
            "No budget of scope " + std::string(scope) + " in this unit: set one first"};
  }
  for (Record& record : records) {
    record.at_us = clock_.wall().us;
    if (base::Status status = commit(record); !status.ok()) return status;
  }
  return writer_->sync();
}

// The account and fork ---------------------------------------------------------------------------

// Every account of this process, so that a forked child can leave its parent's files alone.
struct Account::Forks {
  std::mutex mutex;
  std::set<Account*> accounts;
  std::map<std::string, std::weak_ptr<Account>> shared;

  // Leaked on purpose: accounts may outlive every static object.
  static Forks& get() {
    static Forks* forks = [] {
      auto* made = new Forks();
      pthread_atfork(&before, &in_parent, &in_child);
      return made;
    }();
    return *forks;
  }

 private:
  static void before() {
    Forks& forks = get();
    forks.mutex.lock();
    for (Account* account : forks.accounts) account->impl_->mutex().lock();
  }
  static void in_parent() {
    Forks& forks = get();
    for (Account* account : forks.accounts) account->impl_->mutex().unlock();
    forks.mutex.unlock();
  }
  static void in_child() {
    Forks& forks = get();
    for (Account* account : forks.accounts) {
      Impl* old = account->impl_.release();  // leaked: its reservations are the parent's
      old->abandon();
      old->mutex().unlock();
      account->impl_ = std::make_unique<Impl>(old->folder(), old->options());
    }
    forks.mutex.unlock();
  }
};

Account::Account(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
  Forks& forks = Forks::get();
  const std::scoped_lock lock(forks.mutex);
  forks.accounts.insert(this);
}

Account::~Account() {
  {
    Forks& forks = Forks::get();
    const std::scoped_lock lock(forks.mutex);
    forks.accounts.erase(this);
  }
  impl_->close();
}

base::Result<std::shared_ptr<Account>> Account::open(const std::string& folder,
                                                     AccountOptions options) {
  auto impl = std::make_unique<Impl>(folder, options);
  DURE_RETURN_IF_ERROR(impl->open());
  return std::shared_ptr<Account>(new Account(std::move(impl)));
}

base::Result<std::shared_ptr<Account>> Account::shared(const std::string& folder) {
  Forks& forks = Forks::get();
  {
    const std::scoped_lock lock(forks.mutex);
    if (auto known = forks.shared[folder].lock()) return known;
  }
  auto fresh = open(folder);
  if (!fresh) return fresh;
  const std::scoped_lock lock(forks.mutex);
  if (auto known = forks.shared[folder].lock()) return known;  // somebody was faster
  forks.shared[folder] = *fresh;
  return fresh;
}

base::Result<Admission> Account::reserve(const ReserveRequest& request) {
  return impl_->reserve(request);
}
base::Result<Admission> Account::reserve_within(ReserveRequest request, base::Duration wait,
                                                const std::atomic<bool>* stop) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kLook = std::chrono::milliseconds(1);
  constexpr auto kTry = std::chrono::milliseconds(50);
  const Clock::time_point until = Clock::now() + wait;
  request.may_wait = wait.count() > 0;
  const auto stopped = [stop] { return stop != nullptr && stop->load(); };
  while (true) {
    const std::uint64_t seen = room_changes();
    auto admission = reserve(request);
    if (admission || !request.may_wait) return admission;
    const auto* ticket = admission.error().detail("ticket");
    if (ticket == nullptr) return admission;
    request.ticket = static_cast<std::uint64_t>(std::get<std::int64_t>(*ticket));
    const Clock::time_point again = std::min(until, Clock::now() + kTry);
    while (Clock::now() < again && room_changes() == seen && !stopped()) {
      std::this_thread::sleep_for(kLook);
    }
    if (Clock::now() < until && !stopped()) continue;
    leave_queue(request.ticket);
    return admission;
  }
}
std::uint64_t Account::room_changes() const { return impl_->room_changes(); }
void Account::leave_queue(std::uint64_t ticket) { impl_->leave_queue(ticket); }
base::Status Account::sent(ReservationId id) { return impl_->sent(id); }
base::Status Account::progress(ReservationId id, std::int64_t output_tokens) {
  return impl_->progress(id, output_tokens);
}
base::Status Account::settle(ReservationId id, const Usage& usage, const Cost& cost,
                             const Answered& answered) {
  return impl_->settle(id, usage, cost, answered);
}
base::Status Account::settle_by_rule(ReservationId id) { return impl_->settle_by_rule(id, false); }
base::Status Account::settle_possible_spend(ReservationId id) {
  return impl_->settle_by_rule(id, true);
}
base::Status Account::void_hold(ReservationId id) { return impl_->void_hold(id); }
base::Status Account::adjust(ReservationId id, Pico pico, std::int64_t tokens) {
  return impl_->adjust(id, pico, tokens);
}
base::Status Account::record(const ReserveRequest& request, const Usage& usage, const Cost& cost) {
  return impl_->record(request, usage, cost);
}
base::Status Account::note_free(std::span<const std::string> scopes, const CallInfo& call) {
  return impl_->note_free(scopes, call);
}
base::Result<Account::Settlement> Account::settlement(ReservationId id) const {
  return impl_->settlement(id);
}
base::Status Account::set_budget(const BudgetSpec& spec) { return impl_->set_budget(spec); }
base::Result<std::vector<BudgetState>> Account::budgets(std::string_view scope) {
  return impl_->budgets(scope);
}
base::Status Account::grant(std::string_view scope, BudgetUnit unit, std::int64_t amount,
                            base::WallTime until) {
  return impl_->grant(scope, unit, amount, until);
}
std::vector<Alert> Account::take_alerts() { return impl_->take_alerts(); }
Totals Account::totals() const { return impl_->totals(); }
std::int64_t Account::unwritten() const { return impl_->unwritten(); }
const std::string& Account::folder() const noexcept { return impl_->folder(); }

}  // namespace dure::money
