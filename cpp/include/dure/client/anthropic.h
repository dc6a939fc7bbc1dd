// dure/client/anthropic.h - Anthropic's Messages wire, read and written as OpenAI's chat wire.
//
// A request in the shape of chat completions becomes a body for /v1/messages; replies and streams
// come back in the shape of chat completions, so that nothing above this file knows two wires.
// Nothing vanishes silently: what the other wire has no word for is refused by name, and what has a
// word of its own there (top_k, thinking, cache_control, ...) passes as it is.
//
// to_messages, from_message: thread-safe. MessageStream: one thread at a time.
#ifndef DURE_CLIENT_ANTHROPIC_H_
#define DURE_CLIENT_ANTHROPIC_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"

namespace dure::json {
class Value;
}  // namespace dure::json

namespace dure::client {

// The body for /v1/messages. `max_tokens` goes out unless the request has a maximum of its own.
// Fails with kInvalidArgument (detail "path": where in the body).
[[nodiscard]] base::Result<std::string> to_messages(const json::Value& chat, std::string_view model,
                                                    std::int64_t max_tokens);

// The reply of /v1/messages as a chat completion; empty if it is none. `created`: Unix seconds.
[[nodiscard]] std::string from_message(std::string_view body, std::int64_t created);

// Turns the events of one stream into chunks of a chat completion.
class MessageStream {
 public:
  explicit MessageStream(std::int64_t created) : created_(created) {}

  // The chunks that the event `data` comes to: none for a ping, "[DONE]" last for message_stop. An
  // error object, and what is no event, comes back as it is.
  [[nodiscard]] std::vector<std::string> feed(std::string_view data);

 private:
  struct Block {
    bool is_tool = false;
    std::int64_t tool = 0;  // its place among the tool calls
  };
  void take_usage(const json::Value& usage);
  [[nodiscard]] std::string chunk(std::string_view delta, std::string_view finish_reason) const;
  [[nodiscard]] std::string usage_chunk() const;
  [[nodiscard]] std::string begin_block(const json::Value& event);
  [[nodiscard]] std::string go_on(const json::Value& event);

  const std::int64_t created_;
  std::string id_, model_;
  std::map<std::int64_t, Block> blocks_;
  std::int64_t tools_ = 0;
  std::map<std::string, std::int64_t, std::less<>> usage_;  // last value of each count
};

}  // namespace dure::client

#endif  // DURE_CLIENT_ANTHROPIC_H_
