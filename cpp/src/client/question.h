// client/question.h - what makes two calls the same, and answers that can be given twice.
//
// Two calls are the same if organisation, provider, path, headers and every parameter that could
// change the answer are: then one answer serves both, streamed or not.
//
// Thread-safe: pure functions.
#ifndef DURE_SRC_CLIENT_QUESTION_H_
#define DURE_SRC_CLIENT_QUESTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dure/client/client.h"
#include "dure/client/dialect.h"
#include "dure/flow/cache.h"

namespace dure::client {

struct Question {
  std::string identity;  // equal for the same calls, and for no others
  Operation operation = Operation::kChat;
  std::string model;  // canonical
  bool stream = false;
  bool wants_usage = false;  // the caller asked for the chunk of usage
  bool settled = false;      // meant to be answered alike: embeddings, temperature 0, a seed
};

// nullopt: no question that others could ask too, or one that is wrong (the usual way says how).
[[nodiscard]] std::optional<Question> read_question(const Plan& plan);
// Whether read_question could find a settled one: a look at the text, no reading.
[[nodiscard]] bool may_be_settled(const Plan& plan);

[[nodiscard]] flow::CacheKey key_of(const Question& question);

// An answer as it is kept.
struct Kept {
  money::Pico cost = 0;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  std::string model;
  std::vector<std::string> events;  // of a streamed response; chat's are made from the body
  std::string body;
};
[[nodiscard]] std::string pack(const Kept& kept);
// nullopt: the bytes are damaged, or of another version.
[[nodiscard]] std::optional<Kept> unpack(std::string_view bytes);

// The chunks of a stream that says what the chat answer `body` says. `usage`: with the last one.
[[nodiscard]] std::vector<std::string> to_chunks(std::string_view body, bool usage);

}  // namespace dure::client

#endif  // DURE_SRC_CLIENT_QUESTION_H_
