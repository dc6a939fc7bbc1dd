// client/gathering.h - embeddings of several callers in one request.
//
// Calls that ask the same of the same provider for the same payer, and differ in their inputs only,
// board one Shipment: it departs when the least patient of them has waited long enough or when it
// is full. The reply is cut into one answer for each caller; tokens and cost are split by the exact
// counts of the inputs, so that the parts sum to what was billed. A request that is refused for
// what it holds, or because all of it together does not fit, is halved until who is meant stands
// alone.
//
// Thread-safe.
#ifndef DURE_SRC_CLIENT_GATHERING_H_
#define DURE_SRC_CLIENT_GATHERING_H_

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "dure/base/annotations.h"
#include "dure/base/hash.h"
#include "dure/client/client.h"

namespace dure::client {

class Shipment;

class Gatherings : public std::enable_shared_from_this<Gatherings> {
 public:
  static constexpr std::size_t kMostInputs = 2048;      // of a request, by OpenAI's API reference
  static constexpr std::int64_t kMostTokens = 300'000;  // likewise

  // Null: the plan is to go alone, because it does not ask for company or can have none: no
  // embeddings, a money cap or fallbacks of its own, inputs that cannot be read.
  std::shared_ptr<Call> join(const std::shared_ptr<Client>& client, const Plan& plan,
                             const std::shared_ptr<Observer>& observer);
  // `shipment` takes nobody in any more.
  void forget(const std::string& name, const Shipment* shipment);

 private:
  struct Hash {
    std::size_t operator()(const std::string& text) const noexcept { return base::hash64(text); }
  };
  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<Shipment>, Hash> waiting_ DURE_GUARDED_BY(mutex_);
};

}  // namespace dure::client

#endif  // DURE_SRC_CLIENT_GATHERING_H_
