#include "dure/flow/balancer.h"

#include <algorithm>
#include <cmath>

namespace dure::flow {
namespace {

constexpr double kUnknownNs = 1e6;  // of a peer never heard of: it is tried soon

}  // namespace

Balancer::Balancer(std::vector<double> weights, const base::Clock& clock, base::Random& random)
    : clock_(clock), random_(random) {
  for (const double weight : weights) peers_.push_back({.weight = std::max(weight, 1e-6)});
}

std::optional<std::size_t> Balancer::choose(std::span<const std::size_t> usable) {
  if (usable.empty()) return std::nullopt;
  const std::size_t count = usable.size();
  const std::size_t first = random_.next() % count;
  if (count == 1) return usable[first];
  const std::size_t second = (first + 1 + random_.next() % (count - 1)) % count;
  const std::lock_guard lock(mutex_);
  const bool better = score_of(peers_[usable[second]]) < score_of(peers_[usable[first]]);
  return usable[better ? second : first];
}

void Balancer::begin(std::size_t peer) {
  const std::lock_guard lock(mutex_);
  ++peers_[peer].in_flight;
}

void Balancer::end(std::size_t peer, std::optional<base::Duration> latency) {
  const std::lock_guard lock(mutex_);
  Peer& at = peers_[peer];
  --at.in_flight;
  if (!latency) return;
  const auto sample = static_cast<double>(latency->count());
  const base::Instant now = clock_.now();
  const double kept = std::exp(-static_cast<double>((now - at.seen).count()) /
                               static_cast<double>(kMemory.count()));
  at.latency_ns = sample > at.latency_ns ? sample : at.latency_ns * kept + sample * (1 - kept);
  at.seen = now;
}

double Balancer::score(std::size_t peer) const {
  const std::lock_guard lock(mutex_);
  return score_of(peers_[peer]);
}

// What it would cost to ask this peer now. Nothing heard for long: nothing held against it.
double Balancer::score_of(const Peer& peer) const {
  const double kept = std::exp(-static_cast<double>((clock_.now() - peer.seen).count()) /
                               static_cast<double>(kMemory.count()));
  const double latency = peer.latency_ns == 0 ? kUnknownNs : peer.latency_ns * kept;
  return latency * (peer.in_flight + 1) / peer.weight;
}

}  // namespace dure::flow
