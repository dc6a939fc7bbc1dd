// dure/flow/balancer.h - which of several equal peers is asked: the better of two chosen by chance.
//
//   const auto pick = balancer.choose(usable);   // the other peers are not looked at
//   balancer.begin(*pick); ... balancer.end(*pick, time_to_first_token);
//
// Two random choices spread load nearly as well as looking at all, and never send everybody to the
// one that looks best. A peer's score is its peak-EWMA latency times what it has in flight, by its
// weight: a slow answer counts at once and is forgotten slowly. Sources: Mitzenmacher, "The Power
// of Two Choices in Randomized Load Balancing"; Finagle's peak EWMA.
//
// Thread-safe. Takes a short lock, never blocks otherwise.
#ifndef DURE_FLOW_BALANCER_H_
#define DURE_FLOW_BALANCER_H_

#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "dure/base/annotations.h"
#include "dure/base/clock.h"
#include "dure/base/random.h"

namespace dure::flow {

class Balancer {
 public:
  static constexpr base::Duration kMemory = std::chrono::seconds(10);  // tau

  // `clock` and `random` outlive the balancer. `weights` > 0: shares of the load at equal latency.
  Balancer(std::vector<double> weights, const base::Clock& clock, base::Random& random);

  // One of `usable`, positions of peers; nullopt: there is none.
  [[nodiscard]] std::optional<std::size_t> choose(std::span<const std::size_t> usable);
  void begin(std::size_t peer);
  // `latency`: to the first token; nullopt: nothing was learned.
  void end(std::size_t peer, std::optional<base::Duration> latency);

  [[nodiscard]] double score(std::size_t peer) const;

 private:
  struct Peer {
    double weight = 1;
    double latency_ns = 0;
    base::Instant seen{};
    int in_flight = 0;
  };
  [[nodiscard]] double score_of(const Peer& peer) const DURE_REQUIRES(mutex_);

  const base::Clock& clock_;
  base::Random& random_;
  mutable std::mutex mutex_;
  std::vector<Peer> peers_ DURE_GUARDED_BY(mutex_);
};

}  // namespace dure::flow

#endif  // DURE_FLOW_BALANCER_H_
