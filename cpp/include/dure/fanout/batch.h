// dure/fanout/batch.h - many calls, so many at a time, results in the order of the requests.
//
// A failure stays in its own slot and stops nothing. At most `limit` calls are under way; the
// others wait here as values, not in the transport.
//
// Thread-safe.
#ifndef DURE_FANOUT_BATCH_H_
#define DURE_FANOUT_BATCH_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/status.h"
#include "dure/client/client.h"

namespace dure::fanout {

struct Item {
  client::Plan plan;
  base::Status refused;  // not ok: the request could not even be written; its slot says so
};

class Batch : public std::enable_shared_from_this<Batch> {
 public:
  // Starts up to `limit` (at least 1) calls. `on_done` runs once, on the I/O thread, or in this
  // call if nothing is to be done; it does not block or throw.
  [[nodiscard]] static std::shared_ptr<Batch> start(std::shared_ptr<client::Client> client,
                                                    std::vector<Item> items, std::size_t limit,
                                                    std::function<void()> on_done);

  [[nodiscard]] std::size_t total() const noexcept { return total_; }
  [[nodiscard]] std::size_t done() const;
  [[nodiscard]] bool finished() const { return done() == total_; }
  // Calls under way are cancelled and settled; those that wait end as kCancelled.
  void cancel();
  // REQUIRES: finished(). Call once.
  [[nodiscard]] std::vector<client::Outcome> take();

 private:
  class Slot;
  Batch(std::shared_ptr<client::Client> client, std::vector<Item> items, std::size_t limit,
        std::function<void()> on_done);
  void fill();
  bool start_next();
  void end(std::size_t index, client::Outcome outcome);

  const std::shared_ptr<client::Client> client_;
  const std::size_t total_;
  const std::size_t limit_;
  const std::function<void()> on_done_;
  mutable std::mutex mutex_;
  std::vector<Item> items_ DURE_GUARDED_BY(mutex_);
  std::vector<client::Outcome> outcomes_ DURE_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<client::Call>> calls_ DURE_GUARDED_BY(mutex_);  // under way, by slot
  std::vector<bool> ended_ DURE_GUARDED_BY(mutex_);
  std::size_t next_ DURE_GUARDED_BY(mutex_) = 0;
  std::size_t running_ DURE_GUARDED_BY(mutex_) = 0;
  std::size_t done_ DURE_GUARDED_BY(mutex_) = 0;
  bool cancelled_ DURE_GUARDED_BY(mutex_) = false;
};

}  // namespace dure::fanout

#endif  // DURE_FANOUT_BATCH_H_
