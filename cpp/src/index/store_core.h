// index/store_core.h - one open folder in one process: connections, indexes in memory, threads.
//
// Order of locks: apply_mutex_ before the queues' and before an index's own. The writer thread
// commits without any lock and publishes under apply_mutex_; the sealer builds without any lock.
//
// Thread-safe, in the process that made it.
#ifndef DURE_INDEX_STORE_CORE_H_
#define DURE_INDEX_STORE_CORE_H_

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "collection_index.h"
#include "dure/base/annotations.h"
#include "dure/base/files.h"
#include "store_db.h"

namespace dure::index {

class StoreCore {
 public:
  [[nodiscard]] static base::Result<std::unique_ptr<StoreCore>> open(const std::string& folder,
                                                                     const StoreOptions& options);
  ~StoreCore() { close(); }
  StoreCore(const StoreCore&) = delete;
  StoreCore& operator=(const StoreCore&) = delete;

  // A collection as it is now, with its index if its dimension is known.
  struct Loaded {
    CollectionRow row;
    std::shared_ptr<CollectionIndex> index;  // null: dimension not known yet
    std::uint64_t applied = 0;               // the seq that the index holds
  };
  // kNotFound if there is none. Brings the index up to what all processes have committed.
  [[nodiscard]] base::Result<Loaded> current(const std::string& tenant, const std::string& name);

  // Runs `work` with a connection for reading; several threads may.
  template <typename Work>
  auto read(Work&& work) -> base::Result<decltype(work(std::declval<StoreDb&>()))> {
    auto db = borrow();
    if (!db) return base::fail(std::move(db.error()));
    auto made = work(**db);
    base::Status status = (*db)->take_status();
    give_back(std::move(*db));
    if (!status.ok()) return base::fail(std::move(status));
    return made;
  }

  // What one write does inside the transaction. `changes` is by collection; a failure takes back
  // this write alone.
  using Changed = std::unordered_map<std::int64_t, Changes>;
  using Write = std::function<base::Status(StoreDb& db, std::uint64_t seq, Changed& changed)>;
  // Durable and visible when it returns ok. `alone`: in a commit of its own, and with every index
  // up to date before it begins.
  [[nodiscard]] base::Status write(Write work, bool alone = false);
  // Waits while the collection has more unsealed rows than may be.
  void hold_back(const CollectionIndex& index);

  [[nodiscard]] base::Status optimize(std::int64_t collection);
  // See Collection::finish_reembed.
  [[nodiscard]] base::Result<bool> finish_reembed(const CollectionInfo& info, const ModelIn& model);
  [[nodiscard]] base::Result<VerifyOut> verify();
  void close();
  [[nodiscard]] base::Status backup(const std::string& path);
  [[nodiscard]] const StoreOptions& options() const noexcept { return options_; }
  [[nodiscard]] pid_t owner() const noexcept { return owner_; }

 private:
  struct Waiting {
    Write work;
    bool alone;
    base::Status status;
    bool done = false;
  };
  struct Request {
    std::int64_t collection;
    base::Status status;
    bool done = false;
  };

  StoreCore(std::string folder, const StoreOptions& options);

  [[nodiscard]] base::Result<std::unique_ptr<StoreDb>> borrow();
  void give_back(std::unique_ptr<StoreDb> db);

  [[nodiscard]] base::Status catch_up() DURE_REQUIRES(apply_mutex_);
  [[nodiscard]] base::Status catch_up(Loaded& loaded) DURE_REQUIRES(apply_mutex_);
  [[nodiscard]] base::Status load(Loaded& loaded) DURE_REQUIRES(apply_mutex_);

  void run_writer();
  void commit(std::vector<Waiting*>& group);
  void publish(std::uint64_t before, std::uint64_t seq, Changed& changed);
  void run_sealer();
  void start_sealer() DURE_REQUIRES(seal_mutex_);
  void ask_to_seal();
  // Asks if this collection has enough to seal, or too much that is dead; of a read-only store: if
  // another process has sealed what is still flat here.
  void ask_if_wanted(const Loaded& loaded) DURE_REQUIRES(apply_mutex_);
  [[nodiscard]] base::Status seal_one(StoreDb& db, std::int64_t collection, bool all);
  // Builds one segment of each run of parts, several at once, and puts them in place.
  [[nodiscard]] base::Status seal_runs(StoreDb& db, const Loaded& loaded,
                                       const std::vector<std::shared_ptr<const Part>>& parts,
                                       bool all);
  [[nodiscard]] base::Status put_in_place(StoreDb& db, const Loaded& loaded,
                                          const std::shared_ptr<Part>& sealed);
  // How `rows` more rows are to be sealed beside `memory` bytes of other segments.
  [[nodiscard]] SealForm form_of(std::size_t rows, std::size_t dim, std::size_t memory) const;
  // Waits for the right to seal. kInvalidArgument if the store closes meanwhile.
  [[nodiscard]] base::Result<std::unique_ptr<base::LockFile>> lock_sealing();
  [[nodiscard]] base::Status compact(StoreDb& db, Loaded loaded);
  // A segment of the rows' new vectors; nothing if they are too few.
  [[nodiscard]] base::Result<std::optional<SegmentRow>> seal_next(StoreDb& db,
                                                                  const CollectionRow& row,
                                                                  std::size_t dim);
  // Reads a collection anew, beside the searches, and puts it in place.
  [[nodiscard]] base::Status reload(StoreDb& db, const CollectionInfo& info);
  void write_words(const CollectionIndex& index, const Part& sealed);
  void remove_segments(const std::vector<std::string>& names);
  [[nodiscard]] std::vector<std::int64_t> loaded_collections();
  void remove_strays();
  [[nodiscard]] base::Status check_not_emptied();

  const std::string folder_;
  const StoreOptions options_;
  const pid_t owner_;
  base::Files& files_;
  std::atomic<bool> closing_{false};

  std::mutex readers_mutex_;
  std::vector<std::unique_ptr<StoreDb>> readers_ DURE_GUARDED_BY(readers_mutex_);

  std::mutex apply_mutex_;  // guards what is in memory
  std::unique_ptr<StoreDb> poll_ DURE_GUARDED_BY(apply_mutex_);
  std::uint64_t seen_ DURE_GUARDED_BY(apply_mutex_) = 0;
  std::unordered_map<std::string, Loaded> loaded_ DURE_GUARDED_BY(apply_mutex_);  // tenant \0 name

  std::mutex write_mutex_;  // guards the queue
  std::condition_variable write_wake_;
  std::condition_variable write_done_;
  std::deque<Waiting*> queue_ DURE_GUARDED_BY(write_mutex_);
  std::thread writer_ DURE_GUARDED_BY(write_mutex_);
  std::unique_ptr<StoreDb> writer_db_;  // the writer thread's

  std::mutex seal_mutex_;  // guards the requests
  std::condition_variable seal_wake_;
  std::condition_variable seal_done_;
  bool seal_asked_ DURE_GUARDED_BY(seal_mutex_) = false;
  std::deque<std::shared_ptr<Request>> requests_ DURE_GUARDED_BY(seal_mutex_);
  std::thread sealer_ DURE_GUARDED_BY(seal_mutex_);
  std::atomic<bool> seals_{false};  // this process got the lock of sealing last time
};

// What Store and Collection hold: the core of this process. After fork, the child leaves the
// parent's core alone (its threads are gone, its locks may be held) and opens its own.
class StoreHandle {
 public:
  StoreHandle(std::string folder, const StoreOptions& options, std::unique_ptr<StoreCore> core)
      : folder_(std::move(folder)), options_(options), core_(core.release()) {}
  ~StoreHandle();
  StoreHandle(const StoreHandle&) = delete;
  StoreHandle& operator=(const StoreHandle&) = delete;

  // kInvalidArgument after close().
  [[nodiscard]] base::Result<StoreCore*> core();
  void close();

 private:
  const std::string folder_;
  const StoreOptions options_;
  std::atomic<StoreCore*> core_;
  std::atomic<bool> closed_{false};
};

}  // namespace dure::index

#endif  // DURE_INDEX_STORE_CORE_H_
