// dure/flow/single_flight.h - one piece of work for all who ask for the same at the same time.
//
//   auto [flight, leads] = flights.join(key, [] { return std::make_shared<Flight>(); });
//   if (leads) begin(flight);          // and, before it tells its end: flights.land(key, flight)
//
// Knows nothing of the work. Whoever comes after `land` begins anew.
//
// Thread-safe.
#ifndef DURE_FLOW_SINGLE_FLIGHT_H_
#define DURE_FLOW_SINGLE_FLIGHT_H_

#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "dure/base/annotations.h"

namespace dure::flow {

template <typename Key, typename Flight, typename Hash = std::hash<Key>>
class SingleFlight {
 public:
  // The flight of `key`, made by `make` if there is none; true: the caller is the one to begin it.
  template <typename Make>
  std::pair<std::shared_ptr<Flight>, bool> join(const Key& key, Make&& make) {
    const std::lock_guard lock(mutex_);
    auto& place = flights_[key];
    if (place != nullptr) return {place, false};
    place = make();
    return {place, true};
  }

  // `flight` takes nobody in any more. Idempotent.
  void land(const Key& key, const Flight* flight) {
    const std::lock_guard lock(mutex_);
    const auto found = flights_.find(key);
    if (found != flights_.end() && found->second.get() == flight) flights_.erase(found);
  }

  [[nodiscard]] std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return flights_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<Flight>, Hash> flights_ DURE_GUARDED_BY(mutex_);
};

}  // namespace dure::flow

#endif  // DURE_FLOW_SINGLE_FLIGHT_H_
