#include "store_core.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <utility>

#include "dure/base/cancel.h"
#include "dure/base/random.h"

namespace dure::index {
namespace {

constexpr std::size_t kMostInCommit = 64;  // waiting calls that share a transaction
constexpr auto kLockPause = std::chrono::milliseconds(20);
constexpr auto kCancelPause = std::chrono::milliseconds(20);
constexpr const char* kSealLock = "/index.lock";
constexpr const char* kOpenLock = "/open.lock";

std::string key_of(const std::string& tenant, const std::string& name) {
  std::string key = tenant;
  key.push_back('\0');
  return key += name;
}

base::Status closed() {
  return base::invalid_argument("store", "the store is closed: open it again");
}

base::Status read_only() {
  return {base::Code::kIo, "the store was opened read-only: open it without read_only to write"};
}

constexpr std::size_t kLeastProductRows = 4096;  // fewer train no product codes

std::size_t half_of_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0
             ? static_cast<std::size_t>(pages) * static_cast<std::size_t>(page) / 2
             : SIZE_MAX;
}

using Runs = std::vector<std::vector<std::shared_ptr<const Part>>>;

// Cuts parts into runs that are built at once: each worth a segment, no more than there are
// threads, and no more segments than a collection may have afterwards.
Runs runs_of(const std::vector<std::shared_ptr<const Part>>& parts, std::size_t segments,
             const SealPolicy& policy) {
  std::size_t rows = 0;
  std::size_t replaced = 0;
  for (const auto& part : parts) {
    rows += part->size();
    replaced += part->is_segment() ? 1 : 0;
  }
  const std::size_t room = kMostSegments - std::min(kMostSegments - 1, segments - replaced);
  const std::size_t threads =
      std::min<std::size_t>(policy.builders, std::max(1U, std::thread::hardware_concurrency()));
  const std::size_t count =
      replaced > 0 ? 1
                   : std::clamp<std::size_t>(rows / policy.seal_rows, 1, std::min(threads, room));
  Runs runs(1);
  std::size_t in_run = 0;
  for (const auto& part : parts) {
    if (runs.size() < count && in_run >= rows / count) {
      runs.emplace_back();
      in_run = 0;
    }
    runs.back().push_back(part);
    in_run += part->size();
  }
  return runs;
}

std::string new_segment_name(std::int64_t collection) {
  char name[64];
  std::snprintf(name, sizeof(name), "seg-%lld-%016llx.dure", static_cast<long long>(collection),
                static_cast<unsigned long long>(base::system_random().next()));
  return name;
}

}  // namespace

StoreCore::StoreCore(std::string folder, const StoreOptions& options)
    : folder_(std::move(folder)),
      options_(options),
      owner_(::getpid()),
      files_(base::system_files()) {}

base::Result<std::unique_ptr<StoreCore>> StoreCore::open(const std::string& folder,
                                                         const StoreOptions& options) {
  std::unique_ptr<StoreCore> core(new StoreCore(folder, options));
  std::unique_ptr<base::LockFile> lock;
  if (!options.read_only) {
    DURE_RETURN_IF_ERROR(core->files_.create_folder(folder));
    auto made = core->files_.open_lock(folder + kOpenLock);  // two that create it at once
    if (!made) {
      return base::fail(made.error().code(),
                        made.error().message() + ": open it read-only (read_only=True) to search");
    }
    lock = std::move(*made);
    DURE_RETURN_IF_ERROR(lock->acquire());
  }
  DURE_RETURN_IF_ERROR(core->check_not_emptied());
  if (options.read_only && !core->files_.open_read(folder + "/store.db")) {
    return base::fail(base::Code::kNotFound,
                      "there is no store in " + folder + ": open it without read_only to make one");
  }
  auto db = StoreDb::open(folder, options.durability, options.read_only);
  if (!db) return base::fail(std::move(db.error()));
  core->poll_ = std::make_unique<StoreDb>(std::move(*db));
  core->seen_ = core->poll_->seq();
  DURE_RETURN_IF_ERROR(core->poll_->take_status());
  if (!options.read_only) core->remove_strays();
  return core;
}

// A store.db of no bytes, or none, is one that is being made, unless something shows that it was
// one before.
base::Status StoreCore::check_not_emptied() {
  const std::string path = folder_ + "/store.db";
  const auto file = files_.open_read(path);
  if (!file && file.error().code() != base::Code::kNotFound) return {};
  if (file) {
    const auto size = (*file)->size();
    if (!size || *size != 0) return {};
  }
  const auto names = files_.list(folder_);
  if (!names) return {};
  const bool was_store = std::any_of(names->begin(), names->end(), [&](const std::string& name) {
    return (file && "/" + name == kSealLock) ||
           (name.starts_with("seg-") && name.ends_with(".dure"));
  });
  if (!was_store) return {};
  return base::Status(base::Code::kCorrupt,
                      path + (file ? " was emptied (0 bytes)" : " is gone") +
                          " beside what was built from it: restore a backup as store.db, or "
                          "remove the folder and ingest again")
      .with("path", path);
}

// Segment files that a killed process wrote and did not register.
void StoreCore::remove_strays() {
  auto lock = files_.open_lock(folder_ + kSealLock);
  if (!lock) return;
  const auto mine = (*lock)->try_acquire();
  if (!mine || !*mine) return;
  const std::vector<std::string> known = poll_->segment_files();
  const auto names = files_.list(folder_);
  if (!names || !poll_->take_status().ok()) return;
  for (const std::string& name : *names) {
    const bool ours = name.starts_with("seg-") &&
                      (name.ends_with(".dure") || name.find(".words") != std::string::npos);
    const bool kept = std::any_of(known.begin(), known.end(), [&name](const std::string& one) {
      return name == one || name == words_file(one);
    });
    if (ours && !kept) (void)files_.remove(folder_ + "/" + name);
  }
}

// --- reading
// --------------------------------------------------------------------------------------

base::Result<std::unique_ptr<StoreDb>> StoreCore::borrow() {
  {
    const std::lock_guard<std::mutex> lock(readers_mutex_);
    if (!readers_.empty()) {
      auto db = std::move(readers_.back());
      readers_.pop_back();
      return db;
    }
  }
  auto db = StoreDb::open(folder_, options_.durability, options_.read_only);
  if (!db) return base::fail(std::move(db.error()));
  return std::make_unique<StoreDb>(std::move(*db));
}

void StoreCore::give_back(std::unique_ptr<StoreDb> db) {
  const std::lock_guard<std::mutex> lock(readers_mutex_);
  readers_.push_back(std::move(db));
}

base::Status StoreCore::load(Loaded& loaded) {
  auto index =
      std::make_shared<CollectionIndex>(loaded.row.info.dim, loaded.row.info.metric, options_.seal);
  const std::uint64_t seq = poll_->load(loaded.row, files_, folder_, *index);
  if (base::Status status = poll_->take_status(); !status.ok()) return status;
  loaded.index = std::move(index);
  loaded.applied = seq;
  return {};
}

base::Status StoreCore::catch_up(Loaded& loaded) {
  const auto row = poll_->find_collection(loaded.row.info.tenant, loaded.row.info.name);
  if (base::Status status = poll_->take_status(); !status.ok()) return status;
  if (!row || row->id != loaded.row.id) return {base::Code::kNotFound, "dropped"};
  if (row->info.dim != 0 && (!loaded.index || loaded.applied < row->purged)) {
    Loaded fresh;
    fresh.row = *row;
    base::Status status = load(fresh);
    if (status.ok()) loaded = std::move(fresh);
    return status;
  }
  loaded.row = *row;
  if (loaded.row.info.dim == 0) return {};
  Changes changes;
  const std::uint64_t seq = poll_->changes_since(loaded.row, loaded.applied, changes);
  if (base::Status status = poll_->take_status(); !status.ok()) return status;
  loaded.index->apply(changes.dead, std::move(changes.rows));
  loaded.applied = seq;
  ask_if_wanted(loaded);
  return {};
}

base::Status StoreCore::catch_up() {
  const std::uint64_t seq = poll_->seq();
  if (base::Status status = poll_->take_status(); !status.ok()) return status;
  if (seq == seen_) return {};
  for (auto at = loaded_.begin(); at != loaded_.end();) {
    base::Status status = at->second.applied < seq ? catch_up(at->second) : base::Status();
    if (status.code() == base::Code::kNotFound) {
      at = loaded_.erase(at);
      continue;
    }
    if (!status.ok()) return status;
    ++at;
  }
  seen_ = seq;
  return {};
}

base::Result<StoreCore::Loaded> StoreCore::current(const std::string& tenant,
                                                   const std::string& name) {
  const std::lock_guard<std::mutex> lock(apply_mutex_);
  DURE_RETURN_IF_ERROR(catch_up());
  const std::string key = key_of(tenant, name);
  auto at = loaded_.find(key);
  if (at == loaded_.end()) {
    Loaded loaded;
    const auto row = poll_->find_collection(tenant, name);
    DURE_RETURN_IF_ERROR(poll_->take_status());
    if (!row) {
      return base::fail(base::Code::kNotFound,
                        "there is no collection '" + name + "': it was dropped or never made");
    }
    loaded.row = *row;
    if (loaded.row.info.dim != 0) DURE_RETURN_IF_ERROR(load(loaded));
    at = loaded_.emplace(key, std::move(loaded)).first;
    ask_if_wanted(at->second);
  }
  return at->second;
}

// --- writing
// --------------------------------------------------------------------------------------

base::Status StoreCore::write(Write work, bool alone) {
  if (options_.read_only) return read_only();
  Waiting mine{std::move(work), alone, {}, false};
  std::unique_lock<std::mutex> lock(write_mutex_);
  if (closing_) return closed();
  if (!writer_.joinable()) writer_ = std::thread([this] { run_writer(); });
  queue_.push_back(&mine);
  write_wake_.notify_one();
  write_done_.wait(lock, [&mine] { return mine.done; });
  return mine.status;
}

void StoreCore::run_writer() {
  for (;;) {
    std::vector<Waiting*> group;
    {
      std::unique_lock<std::mutex> lock(write_mutex_);
      write_wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      while (!queue_.empty() && group.size() < kMostInCommit) {
        if (queue_.front()->alone && !group.empty()) break;
        group.push_back(queue_.front());
        queue_.pop_front();
        if (group.back()->alone) break;
      }
    }
    try {
      commit(group);
    } catch (const std::bad_alloc&) {
      for (Waiting* one : group) {
        one->status = {base::Code::kOutOfMemory, "no memory for this write: use smaller batches"};
      }
    } catch (const std::exception& failure) {
      for (Waiting* one : group) {
        one->status = {base::Code::kInternal, std::string("write: ") + failure.what()};
      }
    }
    {
      const std::lock_guard<std::mutex> lock(write_mutex_);
      for (Waiting* one : group) one->done = true;
    }
    write_done_.notify_all();
  }
}

void StoreCore::commit(std::vector<Waiting*>& group) {
  const auto all_fail = [&group](const base::Status& status) {
    for (Waiting* one : group) one->status = status;
  };
  if (!writer_db_) {
    auto db = StoreDb::open(folder_, options_.durability, false);
    if (!db) return all_fail(db.error());
    writer_db_ = std::make_unique<StoreDb>(std::move(*db));
  }
  StoreDb& db = *writer_db_;
  auto transaction = sql::Transaction::begin(db.database());
  if (!transaction) return all_fail(transaction.error());
  if (group.front()->alone) {  // nobody can commit now: what is in memory becomes exact
    const std::lock_guard<std::mutex> lock(apply_mutex_);
    if (base::Status status = catch_up(); !status.ok()) return all_fail(status);
  }
  const std::uint64_t before = db.seq();
  const std::uint64_t seq = before + 1;
  Changed changed;
  std::size_t accepted = 0;
  for (Waiting* one : group) {
    Changed mine;
    one->status = db.database().execute("SAVEPOINT one");
    if (one->status.ok()) one->status = one->work(db, seq, mine);
    if (base::Status stuck = db.take_status(); one->status.ok()) one->status = std::move(stuck);
    if (!one->status.ok()) {
      if (!db.database().in_transaction()) return all_fail(one->status);  // the disk: all is undone
      (void)db.database().execute("ROLLBACK TO one");
      (void)db.database().execute("RELEASE one");
      continue;
    }
    (void)db.database().execute("RELEASE one");
    ++accepted;
    for (auto& [collection, changes] : mine) {
      Changes& sum = changed[collection];
      // A row made and gone within one commit never shows.
      sum.dead.insert(sum.dead.end(), changes.dead.begin(), changes.dead.end());
      std::move(changes.rows.begin(), changes.rows.end(), std::back_inserter(sum.rows));
      sum.dropped = sum.dropped || changes.dropped;
    }
  }
  if (accepted == 0) return;
  db.set_seq(seq);
  base::Status status = db.take_status();
  if (status.ok()) status = transaction->commit();
  if (!status.ok()) {
    for (Waiting* one : group) {
      if (one->status.ok()) one->status = status;
    }
    return;
  }
  publish(before, seq, changed);
}

void StoreCore::publish(std::uint64_t before, std::uint64_t seq, Changed& changed) {
  const std::lock_guard<std::mutex> lock(apply_mutex_);
  for (auto& [key, loaded] : loaded_) {
    if (loaded.applied >= seq) continue;  // a reader was faster
    const auto at = changed.find(loaded.row.id);
    if (loaded.applied != before || !loaded.index) continue;  // another process: catch_up() replays
    if (at != changed.end()) {
      Changes& changes = at->second;
      // catch_up() forgets it, also if one of its name is made anew, or reads the new generation.
      if (changes.dropped) continue;
      std::sort(changes.dead.begin(), changes.dead.end());
      std::erase_if(changes.rows, [&changes](const NewRow& row) {
        return std::binary_search(changes.dead.begin(), changes.dead.end(), row.chunk);
      });
      loaded.index->apply(changes.dead, std::move(changes.rows));
      ask_if_wanted(loaded);
    }
    loaded.applied = seq;
  }
}

void StoreCore::hold_back(const CollectionIndex& index) {
  while (!closing_ && options_.seal.background && seals_ &&
         index.unsealed() > options_.seal.most_unsealed) {
    ask_to_seal();
    std::unique_lock<std::mutex> lock(seal_mutex_);
    seal_done_.wait_for(lock, std::chrono::milliseconds(100));
  }
}

// --- sealing
// --------------------------------------------------------------------------------------

void StoreCore::start_sealer() {
  if (!sealer_.joinable() && !closing_) sealer_ = std::thread([this] { run_sealer(); });
}

void StoreCore::ask_to_seal() {
  const std::lock_guard<std::mutex> lock(seal_mutex_);
  seal_asked_ = true;
  start_sealer();
  seal_wake_.notify_one();
}

void StoreCore::ask_if_wanted(const Loaded& loaded) {
  if (!options_.seal.background || !loaded.index) return;
  const bool much = loaded.index->unsealed() >= options_.seal.seal_rows;
  if (options_.read_only ? much && !loaded.index->knows(poll_->segment_files(loaded.row.id))
                         : much || loaded.index->wants_rebuild()) {
    ask_to_seal();
  }
}

base::Status StoreCore::optimize(std::int64_t collection) {
  if (options_.read_only) return read_only();
  const auto mine = std::make_shared<Request>(Request{collection, {}, false});
  std::unique_lock<std::mutex> lock(seal_mutex_);
  if (closing_) return closed();
  requests_.push_back(mine);
  start_sealer();
  seal_wake_.notify_one();
  while (!seal_done_.wait_for(lock, kCancelPause, [&mine] { return mine->done; })) {
    lock.unlock();
    base::check_cancel();  // who leaves here leaves the work to the sealer
    lock.lock();
  }
  return mine->status;
}

std::vector<std::int64_t> StoreCore::loaded_collections() {
  const std::lock_guard<std::mutex> lock(apply_mutex_);
  std::vector<std::int64_t> ids;
  for (const auto& [key, loaded] : loaded_) ids.push_back(loaded.row.id);
  return ids;
}

void StoreCore::run_sealer() {
  const auto work = [this](std::int64_t collection, bool all) -> base::Status {
    try {
      auto db = borrow();
      if (!db) return db.error();
      base::Status status = seal_one(**db, collection, all);
      (void)(*db)->take_status();
      give_back(std::move(*db));
      return status;
    } catch (const std::bad_alloc&) {
      return {base::Code::kOutOfMemory, "no memory to seal: searches stay exact, and slower"};
    } catch (const std::exception& failure) {
      return {base::Code::kInternal, std::string("seal: ") + failure.what()};
    }
  };
  for (;;) {
    std::shared_ptr<Request> request;
    {
      std::unique_lock<std::mutex> lock(seal_mutex_);
      seal_wake_.wait(lock, [this] { return closing_ || seal_asked_ || !requests_.empty(); });
      if (!requests_.empty()) {
        request = std::move(requests_.front());
        requests_.pop_front();
      } else if (closing_) {
        return;
      } else {
        seal_asked_ = false;
      }
    }
    base::Status status;
    if (request != nullptr) {
      status = closing_ ? closed() : work(request->collection, true);
    } else {
      // A failed background seal is tried again at the next commit; searches stay exact meanwhile.
      for (const std::int64_t collection : loaded_collections()) {
        if (!closing_) (void)work(collection, false);
      }
    }
    {
      const std::lock_guard<std::mutex> lock(seal_mutex_);
      if (request != nullptr) {
        request->status = std::move(status);
        request->done = true;
      }
    }
    seal_done_.notify_all();
  }
}

base::Status StoreCore::compact(StoreDb& db, Loaded loaded) {
  std::vector<std::string> stale;
  base::Status status = write(
      [&](StoreDb& writer, std::uint64_t seq, Changed& /*changed*/) {
        stale = writer.purge(loaded.row.id, seq);
        return writer.take_status();
      },
      true);
  if (!status.ok()) return status;
  remove_segments(stale);
  return reload(db, loaded.row.info);
}

base::Status StoreCore::reload(StoreDb& db, const CollectionInfo& info) {
  base::Status status;
  const auto row = db.find_collection(info.tenant, info.name);
  if (!row) return db.take_status();
  CollectionIndex fresh(row->info.dim, row->info.metric, options_.seal);
  const std::uint64_t seq = db.load(*row, files_, folder_, fresh);
  if (status = db.take_status(); !status.ok()) return status;
  const std::lock_guard<std::mutex> lock(apply_mutex_);
  const auto at = loaded_.find(key_of(row->info.tenant, row->info.name));
  if (at == loaded_.end() || at->second.row.id != row->id) return {};
  if (at->second.row.gen != row->gen) return {};  // catch_up() reads the new generation
  Changes changes;
  const std::uint64_t now = poll_->changes_since(*row, seq, changes);
  if (status = poll_->take_status(); !status.ok()) return status;
  fresh.apply(changes.dead, std::move(changes.rows));
  at->second.index->take(fresh);
  at->second.applied = now;
  return {};
}

void StoreCore::remove_segments(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    (void)files_.remove(folder_ + "/" + name);
    (void)files_.remove(folder_ + "/" + words_file(name));
  }
}

// So that the next open reads no texts. Not having it costs time alone.
void StoreCore::write_words(const CollectionIndex& index, const Part& sealed) {
  if (sealed.first() != 0) return;
  (void)files_.replace(folder_ + "/" + words_file(sealed.file()), index.words_of_segment());
}

base::Status StoreCore::seal_one(StoreDb& db, std::int64_t collection, bool all) {
  Loaded loaded;
  {
    const std::lock_guard<std::mutex> lock(apply_mutex_);
    for (const auto& [key, one] : loaded_) {
      if (one.row.id == collection) loaded = one;
    }
  }
  if (!loaded.index) return {};
  const auto take_up = [&]() -> base::Status {  // what another process has sealed
    if (!all && loaded.index->unsealed() < options_.seal.seal_rows) return {};
    if (loaded.index->knows(db.segment_files(collection))) return db.take_status();
    return reload(db, loaded.row.info);
  };
  if (options_.read_only) return take_up();
  auto lock = all ? lock_sealing() : files_.open_lock(folder_ + kSealLock);
  if (!lock) return lock.error();
  if (!all) {
    const auto mine = (*lock)->try_acquire();
    if (!mine) return mine.error();
    seals_ = *mine;
    if (!*mine) return {};  // another process seals; this one stays flat and exact
  }
  const auto now = db.find_collection(loaded.row.info.tenant, loaded.row.info.name);
  if (!now || now->id != collection || now->gen != loaded.row.gen) return db.take_status();
  if (base::Status status = take_up(); !status.ok()) return status;
  if (all ? loaded.index->has_dead() : loaded.index->wants_rebuild()) {
    if (base::Status status = compact(db, loaded); !status.ok()) return status;
  }
  if (all) {
    const auto rows = loaded.index->count(nullptr);
    if (rows && *rows < options_.seal.smallest) return {};
  }
  const auto parts = loaded.index->to_seal(all);
  if (parts.empty()) return {};
  return seal_runs(db, loaded, parts, all);
}

SealForm StoreCore::form_of(std::size_t rows, std::size_t dim, std::size_t memory) const {
  const std::size_t limit =
      options_.seal.segment_memory != 0 ? options_.seal.segment_memory : half_of_memory();
  const bool beyond = memory + Part::graph_bytes(rows, dim, options_.seal.graph) > limit;
  return {options_.seal.graph, beyond && rows >= kLeastProductRows};
}

base::Status StoreCore::seal_runs(StoreDb& db, const Loaded& loaded,
                                  const std::vector<std::shared_ptr<const Part>>& parts, bool all) {
  const std::size_t memory = loaded.index->graph_memory(parts);
  const auto runs = all ? Runs{parts} : runs_of(parts, loaded.index->segments(), options_.seal);
  using Made = base::Result<std::shared_ptr<Part>>;
  std::vector<Made> made(runs.size(), Made(base::fail(base::Code::kInternal, "not built")));
  const auto build = [&](std::size_t i) {
    std::size_t rows = 0;
    for (const auto& part : runs[i]) rows += part->size();
    try {
      made[i] = Part::seal(runs[i], form_of(rows, loaded.index->dim(), memory), files_, folder_,
                           new_segment_name(loaded.row.id), closing_);
    } catch (const std::bad_alloc&) {
      made[i] = base::fail(base::Code::kOutOfMemory,
                           "no memory to seal: searches stay exact, and slower");
    } catch (const std::exception& failure) {
      made[i] = base::fail(base::Code::kInternal, std::string("seal: ") + failure.what());
    }
  };
  std::vector<std::thread> helpers;
  for (std::size_t i = 1; i < runs.size(); ++i) helpers.emplace_back(build, i);
  build(0);
  for (std::thread& helper : helpers) helper.join();
  base::Status status;
  for (auto& sealed : made) {
    if (!sealed) {
      if (status.ok()) status = sealed.error();
      continue;
    }
    base::Status placed = put_in_place(db, loaded, *sealed);
    if (status.ok()) status = std::move(placed);
  }
  return status;
}

base::Status StoreCore::put_in_place(StoreDb& db, const Loaded& loaded,
                                     const std::shared_ptr<Part>& sealed) {
  const Part& part = *sealed;
  const std::int64_t collection = loaded.row.id;
  const std::string& name = part.file();
  std::vector<std::string> replaced;
  base::Status status = write(
      [&](StoreDb& writer, std::uint64_t /*seq*/, Changed& /*changed*/) {
        replaced =
            writer.add_segment(collection, {name, part.chunks().front(), part.chunks().back(),
                                            static_cast<std::int64_t>(part.size())});
        return writer.take_status();
      },
      true);
  if (!status.ok()) {
    (void)files_.remove(folder_ + "/" + name);
    return status;
  }
  if (loaded.index->replace(sealed)) write_words(*loaded.index, part);
  loaded.index->know_files(db.segment_files(collection));
  remove_segments(replaced);
  return db.take_status();
}

base::Result<std::unique_ptr<base::LockFile>> StoreCore::lock_sealing() {
  auto lock = files_.open_lock(folder_ + kSealLock);
  if (!lock) return base::fail(std::move(lock.error()));
  for (;;) {
    const auto mine = (*lock)->try_acquire();
    if (!mine) return base::fail(mine.error());
    if (*mine) {
      seals_ = true;
      return lock;
    }
    if (closing_) return base::fail(closed());
    std::this_thread::sleep_for(kLockPause);
    base::check_cancel();
  }
}

// --- a new generation of vectors
// -------------------------------------------------------------------

base::Result<std::optional<SegmentRow>> StoreCore::seal_next(StoreDb& db, const CollectionRow& row,
                                                             std::size_t dim) {
  const auto flat = std::make_shared<Part>(0, dim, row.info.metric);
  db.read_next(row, *flat);
  DURE_RETURN_IF_ERROR(db.take_status());
  if (flat->size() < options_.seal.smallest) return std::optional<SegmentRow>();
  const std::shared_ptr<const Part> parts[] = {flat};
  const std::string name = new_segment_name(row.id);
  auto sealed = Part::seal(parts, form_of(flat->size(), dim, 0), files_, folder_, name, closing_);
  if (!sealed) return base::fail(std::move(sealed.error()));
  const Part& part = **sealed;
  return std::optional<SegmentRow>(SegmentRow{name, part.chunks().front(), part.chunks().back(),
                                              static_cast<std::int64_t>(part.size())});
}

base::Result<bool> StoreCore::finish_reembed(const CollectionInfo& info, const ModelIn& model) {
  if (options_.read_only) return base::fail(read_only());
  auto lock = lock_sealing();
  if (!lock) return base::fail(std::move(lock.error()));
  std::optional<SegmentRow> segment;
  const auto wrong = [&]() {
    return base::invalid_argument("embedder", "collection '" + info.name +
                                                  "' is not being re-embedded with " + model.id +
                                                  " any more: begin again");
  };
  base::Status status;
  auto sealed = read([&](StoreDb& db) -> std::optional<SegmentRow> {
    const auto row = db.find_collection(info.tenant, info.name);
    const auto next = row ? db.next_generation(row->id) : std::nullopt;
    if (!next || next->model.fingerprint != model.fingerprint) {
      status = wrong();
      return std::nullopt;
    }
    const ReembedState state = db.reembed_state(row->id);
    if (state.ready < state.rows) return std::nullopt;  // found again below
    auto made = seal_next(db, *row, next->dim);
    if (made) return std::move(*made);
    status = std::move(made.error());
    return std::nullopt;
  });
  if (!sealed) return base::fail(std::move(sealed.error()));
  if (!status.ok()) return base::fail(std::move(status));
  segment = std::move(*sealed);
  bool done = false;
  std::vector<std::string> stale;
  status = write(
      [&](StoreDb& db, std::uint64_t seq, Changed& changed) -> base::Status {
        const auto row = db.find_collection(info.tenant, info.name);
        const auto next = row ? db.next_generation(row->id) : std::nullopt;
        if (!next || next->model.fingerprint != model.fingerprint) return wrong();
        const ReembedState state = db.reembed_state(row->id);
        if (state.ready < state.rows) return db.take_status();
        stale = db.flip(*row, *next, seq);
        if (segment) (void)db.add_segment(row->id, *segment);
        changed[row->id].dropped = true;  // what is in memory is of the old generation
        done = true;
        return db.take_status();
      },
      true);
  if (!status.ok() || !done) {
    if (segment) remove_segments({segment->file});
    if (!status.ok()) return base::fail(std::move(status));
    return false;
  }
  remove_segments(stale);
  return true;
}

base::Result<VerifyOut> StoreCore::verify() {
  return read([this](StoreDb& db) { return db.verify(files_, folder_); });
}

// --- the end
// --------------------------------------------------------------------------------------

base::Status StoreCore::backup(const std::string& path) {
  if (auto there = files_.open_read(path); there) {
    return {base::Code::kIo, path + " exists already: name a new file"};
  }
  auto db = borrow();
  if (!db) return db.error();
  base::Status status = (*db)->database().backup_to(path);
  give_back(std::move(*db));
  return status;
}

void StoreCore::close() {
  std::thread writer;
  std::thread sealer;
  closing_ = true;
  {
    const std::lock_guard<std::mutex> lock(seal_mutex_);
    sealer = std::move(sealer_);
  }
  seal_wake_.notify_all();
  seal_done_.notify_all();
  if (sealer.joinable()) sealer.join();  // first: it may wait for the writer
  {
    const std::lock_guard<std::mutex> lock(write_mutex_);
    writer = std::move(writer_);
  }
  write_wake_.notify_all();
  if (writer.joinable()) writer.join();
}

StoreHandle::~StoreHandle() {
  StoreCore* core = core_.load();
  if (core != nullptr && core->owner() == ::getpid()) delete core;
}

base::Result<StoreCore*> StoreHandle::core() {
  if (closed_) return base::fail(closed());
  StoreCore* core = core_.load();
  if (core->owner() == ::getpid()) return core;
  auto made = StoreCore::open(folder_, options_);
  if (!made) return base::fail(std::move(made.error()));
  if (core_.compare_exchange_strong(core, made->get())) return made->release();
  return core_.load();  // another thread of the child was faster
}

void StoreHandle::close() {
  if (closed_.exchange(true)) return;
  StoreCore* core = core_.load();
  if (core->owner() == ::getpid()) core->close();
}

}  // namespace dure::index
