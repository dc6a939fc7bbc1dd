// net/engine_transport.h - a Transport over one engine's thread: started at the first request,
// replaced in the child of a fork, stopped at interpreter exit.
#ifndef DURE_SRC_NET_ENGINE_TRANSPORT_H_
#define DURE_SRC_NET_ENGINE_TRANSPORT_H_

#include <functional>
#include <memory>

#include "dure/base/clock.h"
#include "dure/net/transport.h"
#include "net/io_thread.h"

namespace dure::net {

using MakeEngine = std::function<std::shared_ptr<IoThread>()>;  // may throw std::bad_alloc

// `make` is called for each engine that is started; `clock` outlives the transport.
[[nodiscard]] std::shared_ptr<Transport> make_engine_transport(MakeEngine make,
                                                               const base::Clock& clock);

}  // namespace dure::net

#endif  // DURE_SRC_NET_ENGINE_TRANSPORT_H_
