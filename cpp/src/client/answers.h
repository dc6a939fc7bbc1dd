// client/answers.h - calls that need not be made: the answer is kept, or comes already.
//
// A kept answer is told inside `serve`. Else those who ask the same at the same time board one
// Flight: one call, whose answer each gets in the form that he asked for, streams from their
// beginning on. It lives as long as one of them waits; the oldest who does pays, the others'
// records say what they saved. What fails for reasons of the one whose call it was (his budget,
// his time) is begun anew for the others.
//
// Thread-safe.
#ifndef DURE_SRC_CLIENT_ANSWERS_H_
#define DURE_SRC_CLIENT_ANSWERS_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "client/question.h"
#include "dure/base/annotations.h"
#include "dure/base/hash.h"
#include "dure/client/client.h"
#include "dure/flow/cache.h"
#include "dure/flow/single_flight.h"

namespace dure::client {

class Flight;

class Answers : public std::enable_shared_from_this<Answers> {
 public:
  static constexpr std::size_t kMemory = 64U << 20U;  // bytes
  static constexpr std::size_t kDisk = 1U << 30U;     // likewise

  explicit Answers(std::string folder) : folder_(std::move(folder)), memory_(kMemory) {}

  // Null: the plan is to be started in the usual way. Else nothing is left to do for it.
  std::shared_ptr<Call> serve(const std::shared_ptr<Client>& client, const Plan& plan,
                              const std::shared_ptr<Observer>& observer);
  void keep(const flow::CacheKey& key, const Kept& kept, const CallOptions& options,
            base::WallTime now);
  void land(const Question& question, const Flight* flight);
  void forget();

 private:
  struct Hash {
    std::size_t operator()(const std::string& text) const noexcept { return base::hash64(text); }
  };
  [[nodiscard]] flow::CacheValue find(const flow::CacheKey& key, Caching caching,
                                      base::WallTime now);
  [[nodiscard]] flow::CacheStore* disk();
  std::shared_ptr<Call> board(const std::shared_ptr<Client>& client, const Plan& plan,
                              const std::shared_ptr<Observer>& observer, const Question& question,
                              bool shares);

  const std::string folder_;
  flow::MemoryCache memory_;
  std::mutex mutex_;
  std::unique_ptr<flow::CacheStore> disk_ DURE_GUARDED_BY(mutex_);
  bool disk_failed_ DURE_GUARDED_BY(mutex_) = false;
  flow::SingleFlight<std::string, Flight, Hash> flights_;
};

}  // namespace dure::client

#endif  // DURE_SRC_CLIENT_ANSWERS_H_
