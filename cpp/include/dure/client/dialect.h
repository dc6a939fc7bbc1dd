// dure/client/dialect.h - the wire of OpenAI's chat completions, responses and embeddings.
//
// Reads what a request needs for admission (model, exact input tokens, output bound), makes the
// body that is really sent, and reads replies and streams: text, usage, how they ended. A further
// wire is a further dialect_*.cc; the client room's order of steps stays.
//
// prepare: thread-safe. ChatAssembler: one thread at a time.
#ifndef DURE_CLIENT_DIALECT_H_
#define DURE_CLIENT_DIALECT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"
#include "dure/catalog/model.h"
#include "dure/client/usage.h"
#include "dure/money/cost.h"
#include "dure/policy/service_policy.h"

namespace dure::json {
class Value;
}  // namespace dure::json

namespace dure::client {

enum class Operation : std::uint8_t {
  kChat,
  kEmbeddings,
  kResponses,
  kUnmetered,  // lists and the like: no model, no price, no hold
};

// Whose shape goes over the wire; callers always use OpenAI's.
enum class Wire : std::uint8_t { kOpenAi, kAnthropic, kAzure };

// A request understood. Values only.
struct Prepared {
  Operation operation = Operation::kUnmetered;
  std::string body;         // as it goes out
  std::string model;        // as the caller wrote it
  std::string canonical;    // as policy, budgets and prices know it
  bool stream = false;      // the caller asked for a stream
  bool hide_usage = false;  // we asked for the usage chunk, the caller did not
  bool hidden_output = false;
  bool provider_side = false;  // server-side tools, stored prompts, a previous response
  std::int64_t input_tokens = 0;
  money::BoundKind input_kind = money::BoundKind::kExact;
  std::int64_t choices = 1;            // n
  std::int64_t max_output_tokens = 0;  // the smallest of the request's and the model's
  bool output_was_limited = false;     // by the request
  std::string service_tier;            // empty: not given
};

// Understands the JSON object `body` for `path` ("/chat/completions", "/embeddings", "/responses",
// whatever query follows; else unmetered). `find_model` resolves and checks the model (policy,
// catalogue); an empty name asks for the service's default. Fails with kInvalidArgument (detail
// "path": where in the body), also for what the service's terms do not allow, or as `find_model`
// does.
class ModelFinder {
 public:
  virtual ~ModelFinder() = default;
  [[nodiscard]] virtual base::Result<const catalog::Model*> find(std::string_view name) const = 0;
  // What the caller's service may ask for beside an answer; nullptr: anything. Valid while the
  // finder is, after find has found a model.
  [[nodiscard]] virtual const policy::Terms* terms() const { return nullptr; }
};
[[nodiscard]] base::Result<Prepared> prepare(std::string_view path, std::string body,
                                             const ModelFinder& models, Wire wire = Wire::kOpenAi);

// `body` with another model's name.
[[nodiscard]] std::string with_model(std::string_view body, std::string_view model);

// `body` with its output maximum replaced by `tokens`: a budget shrank it.
[[nodiscard]] std::string with_output_limit(std::string_view body, std::int64_t tokens);

// A buffered success reply. `usable`: an object with what the operation promises.
struct ReplyFacts {
  bool usable = false;
  WireUsage usage;
  std::string service_tier;
  std::string model;  // as the provider named it
};
[[nodiscard]] ReplyFacts read_reply(Operation operation, std::string_view body);

// Puts the chunks of one chat stream, or the events of one stream of responses, together: facts for
// settling, and on wish the whole answer.
class ChatAssembler {
 public:
  // `whole`: keep what whole() needs, not only text and usage.
  explicit ChatAssembler(bool whole, Operation operation = Operation::kChat);
  ~ChatAssembler();
  ChatAssembler(const ChatAssembler&) = delete;
  ChatAssembler& operator=(const ChatAssembler&) = delete;

  struct Event {
    enum class Kind : std::uint8_t { kChunk, kUsageOnly, kError, kGarbage } kind = Kind::kGarbage;
    std::string_view text;  // content of all choices of this chunk; borrowed until the next feed
  };
  // `data`: the data of one event, not "[DONE]".
  Event feed(std::string_view data);

  // Every choice that was begun has its finish_reason, and there is at least one; the response was
  // told to be completed, incomplete or failed.
  [[nodiscard]] bool finished() const noexcept;
  [[nodiscard]] const WireUsage& usage() const noexcept { return usage_; }
  [[nodiscard]] const std::string& service_tier() const noexcept { return service_tier_; }
  // As the provider named it.
  [[nodiscard]] const std::string& model() const noexcept { return model_; }
  // The content so far, choice after choice; tool arguments and refusals are in billed_text().
  [[nodiscard]] std::string text() const;
  // All text that was billed as output, for counting when no usage comes.
  [[nodiscard]] std::string billed_text() const;
  // The answer as a buffered reply would have it (object "chat.completion" or "response").
  [[nodiscard]] std::string whole() const;

 private:
  struct ToolCall;
  struct Choice;
  struct State;
  Event feed_response(const json::Value& root);

  const Operation operation_;
  std::unique_ptr<State> state_;
  WireUsage usage_;
  std::string service_tier_;
  std::string model_;
};

// Tokens of `text` by the public encoding of `model`; its bytes if there is none (a ceiling).
[[nodiscard]] std::int64_t count_output_tokens(const catalog::Model& model, std::string_view text);

}  // namespace dure::client

#endif  // DURE_CLIENT_DIALECT_H_
