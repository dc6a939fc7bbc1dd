// client/hedged_call.h - a second copy of a call whose first answer is late.
//
// The copy is sent after the 95th percentile of first answers, if the endpoint's share of copies
// and the call's own attempts allow it; it takes its own hold. Whichever answers first is heard,
// the other one is cancelled and settled; the record tells the cost of both.
#ifndef DURE_SRC_CLIENT_HEDGED_CALL_H_
#define DURE_SRC_CLIENT_HEDGED_CALL_H_

#include <memory>

#include "dure/client/client.h"

namespace dure::client {

// As Client::start_alone; with a copy if the plan asks for it and has no tools, whose effects would
// come twice.
std::shared_ptr<Call> start_hedged(const std::shared_ptr<Client>& client, Plan plan,
                                   std::shared_ptr<Observer> observer);

}  // namespace dure::client

#endif  // DURE_SRC_CLIENT_HEDGED_CALL_H_
