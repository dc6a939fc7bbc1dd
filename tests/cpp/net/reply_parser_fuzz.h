// The property that a fuzzer attacks: bytes fed whole and fed in pieces mean the same. Used by the
// libFuzzer target (tests/cpp/fuzz/reply_parser_fuzz.cc) and by the replay of its corpus.
#ifndef DURE_TESTS_NET_REPLY_PARSER_FUZZ_H_
#define DURE_TESTS_NET_REPLY_PARSER_FUZZ_H_

#include <cstdlib>
#include <string>
#include <string_view>

#include "net/reply_parser.h"

namespace dure::net {

struct Told final : ReplyParser::Sink {
  base::Status take_head(const HeadCheck& head) override {
    if (++heads != 1) std::abort();
    status = head.status();
    headers = head.headers().all();
    return {};
  }
  base::Status take_body(std::string_view part) override {
    if (part.empty() || heads != 1) std::abort();
    body += part;
    return {};
  }
  int heads = 0;
  int status = 0;
  Headers headers;
  std::string body;
  base::Code outcome = base::Code::kOk;
  bool whole = false;
};

// Feeds `bytes` in pieces of `size`, each copied so that a read beyond it is found.
inline Told read_in_pieces(ReplyParser& parser, std::string_view bytes, std::size_t size,
                           bool to_head) {
  Told told;
  parser.begin(to_head, 4096);
  while (!bytes.empty() && told.outcome == base::Code::kOk && !parser.done()) {
    const std::string piece(bytes.substr(0, size));
    std::string_view left = piece;
    told.outcome = parser.feed(left, told).code();
    bytes.remove_prefix(piece.size() - left.size());
  }
  told.whole = told.outcome == base::Code::kOk && parser.end_of_stream();
  return told;
}

// The first byte chooses the size of the pieces and whether the request was HEAD. Aborts if the
// property does not hold.
inline void check_reply_parser(std::string_view input) {
  if (input.empty()) return;
  const auto choice = static_cast<unsigned char>(input.front());
  const bool to_head = (choice & 0x80U) != 0;
  const std::string_view bytes = input.substr(1);
  ReplyParser parser;
  const Told whole = read_in_pieces(parser, bytes, bytes.size() + 1, to_head);
  const Told cut = read_in_pieces(parser, bytes, (choice & 0x7FU) + 1, to_head);
  const bool same = whole.outcome == cut.outcome && whole.whole == cut.whole &&
                    whole.heads == cut.heads && whole.status == cut.status &&
                    whole.headers == cut.headers && whole.body == cut.body;
  if (!same) std::abort();
}

}  // namespace dure::net

#endif  // DURE_TESTS_NET_REPLY_PARSER_FUZZ_H_
