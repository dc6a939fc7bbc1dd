// client/usage_json.h - the usage of a parsed JSON object; private to the room.
#ifndef DURE_CLIENT_USAGE_JSON_H_
#define DURE_CLIENT_USAGE_JSON_H_

#include "dure/client/usage.h"
#include "json/reader.h"

namespace dure::client {

[[nodiscard]] WireUsage usage_of(const json::Value& usage);

}  // namespace dure::client

#endif  // DURE_CLIENT_USAGE_JSON_H_
