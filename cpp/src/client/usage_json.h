// client/usage_json.h - the usage of a parsed JSON object; private to the room.
#ifndef DURE_CLIENT_USAGE_JSON_H_
#define DURE_CLIENT_USAGE_JSON_H_

#include "dure/client/usage.h"
#include "json/reader.h"

namespace dure::client {

[[nodiscard]] WireUsage usage_of(const json::Value& usage);
// The usage of a response, with what its output says was used beside tokens: web searches. A tool
// of the provider whose price nobody knows makes it garbage.
[[nodiscard]] WireUsage usage_of_response(const json::Value& response);

}  // namespace dure::client

#endif  // DURE_CLIENT_USAGE_JSON_H_
