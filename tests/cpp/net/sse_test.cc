#include "dure/net/sse.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace dure::net {
namespace {

struct Seen {
  std::string type, data, id;
  bool operator==(const Seen&) const = default;
};

struct Outcome {
  std::vector<Seen> events;
  bool failed = false;
  std::optional<std::uint64_t> retry_ms;
  bool operator==(const Outcome&) const = default;
};

Outcome parse(const std::vector<std::string_view>& parts, SseCaps caps = {},
              SseParser::AtEnd at_end = SseParser::AtEnd::kDiscard) {
  Outcome outcome;
  SseParser parser(
      [&](const SseEvent& event) {
        outcome.events.push_back(
            {std::string(event.type), std::string(event.data), std::string(event.id)});
      },
      caps);
  for (const std::string_view part : parts) {
    if (!parser.feed(part).ok()) outcome.failed = true;
  }
  parser.finish(at_end);
  outcome.retry_ms = parser.retry_ms();
  return outcome;
}

std::vector<std::string> data_of(std::string_view stream) {
  std::vector<std::string> data;
  for (const Seen& seen : parse({stream}).events) data.push_back(seen.data);
  return data;
}

using Strings = std::vector<std::string>;

TEST(Sse, LinesEndInLfCrOrCrlf) {
  EXPECT_EQ(data_of("data: a\n\ndata: b\r\rdata: c\r\n\r\ndata: d\n\r\n"),
            (Strings{"a", "b", "c", "d"}));
}

TEST(Sse, DataLinesAreJoinedByLf) {
  EXPECT_EQ(data_of("data: a\ndata: b\ndata:\n\n"), (Strings{"a\nb\n"}));
}

TEST(Sse, EmptyDataIsAnEventAndNoDataIsNone) {
  EXPECT_EQ(data_of("data\n\ndata:\n\nevent: x\n\nid: 1\n\n\n\n"), (Strings{"", ""}));
}

TEST(Sse, ExactlyOneSpaceIsStripped) {
  EXPECT_EQ(data_of("data:  a\n\ndata:b\n\ndata:\tc\n\n"), (Strings{" a", "b", "\tc"}));
}

TEST(Sse, CommentsAndUnknownFieldsAreIgnored) {
  EXPECT_EQ(data_of(": ping\ndata: a\n:\nDATA: b\n data: c\nfoo: d\n\n"), (Strings{"a"}));
}

TEST(Sse, TheTypeServesOneEventAndTheIdPersists) {
  const auto events =
      parse({"event: delta\nid: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\nevent:\ndata: d\n\n"})
          .events;
  EXPECT_EQ(
      events,
      (std::vector<Seen>{
          {"delta", "a", "7"}, {"message", "b", "7"}, {"message", "c", ""}, {"message", "d", ""}}));
}

TEST(Sse, TheTypeOfAnEventWithoutDataIsForgotten) {
  EXPECT_EQ(parse({"event: lost\n\ndata: a\n\n"}).events,
            (std::vector<Seen>{{"message", "a", ""}}));
}

TEST(Sse, AnIdWithNulIsIgnored) {
  using namespace std::string_view_literals;
  EXPECT_EQ(parse({"id: 1\nid: 2\0\ndata: a\n\n"sv}).events.at(0).id, "1");
}

TEST(Sse, RetryIsDigitsOnly) {
  EXPECT_EQ(parse({"retry: 1500\n"}).retry_ms, 1500U);
  for (const char* wrong : {"retry: -1\n", "retry: 1.5\n", "retry: \n", "retry: 1s\n",
                            "retry: +1\n", "retry: 99999999999999999999999\n"}) {
    EXPECT_EQ(parse({wrong}).retry_ms, std::nullopt) << wrong;
  }
}

TEST(Sse, OneLeadingByteOrderMarkIsDropped) {
  EXPECT_EQ(data_of("\xEF\xBB\xBF"
                    "data: a\n\n"),
            (Strings{"a"}));
  EXPECT_EQ(data_of("\xEF\xBB\xBF\xEF\xBB\xBF"
                    "data: a\n\n"),
            (Strings{}));
  EXPECT_EQ(data_of("data: \xEF\xBB\xBF\n\n"), (Strings{"\xEF\xBB\xBF"}));
  EXPECT_EQ(data_of("\xEF\xBB:x\ndata: a\n\n"), (Strings{"a"}));
}

TEST(Sse, WrongUtf8BecomesReplacementCharacters) {
  EXPECT_EQ(data_of("data: a\xFF"
                    "b\n\n"),
            (Strings{"a\xEF\xBF\xBD"
                     "b"}));
  EXPECT_EQ(data_of("data: \xF0\x9F\x98\n\n"), (Strings{"\xEF\xBF\xBD"}));
  EXPECT_EQ(data_of("data: \xED\xA0\x80\n\n"), (Strings{"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}));
  EXPECT_EQ(data_of("data: \xEB\x91\x90\xEB\xA0\x88\n\n"), (Strings{"두레"}));
}

TEST(Sse, UnicodeLineSeparatorsAreText) {
  EXPECT_EQ(data_of("data: a\u2028b\u0085c\v\f\n\n"), (Strings{"a\u2028b\u0085c\v\f"}));
}

TEST(Sse, AnEventPendingAtTheEndIsDiscardedUnlessAskedFor) {
  EXPECT_EQ(data_of("data: a\n\ndata: b\n"), (Strings{"a"}));
  for (const char* tail : {"data: b", "data: b\n"}) {
    const auto events = parse({tail}, {}, SseParser::AtEnd::kDeliver).events;
    EXPECT_EQ(events, (std::vector<Seen>{{"message", "b", ""}}));
  }
}

TEST(Sse, PendingTellsACutStream) {
  SseParser parser([](const SseEvent&) {});
  EXPECT_FALSE(parser.pending());
  ASSERT_TRUE(parser.feed("data: a").ok());
  EXPECT_TRUE(parser.pending());
  ASSERT_TRUE(parser.feed("\n").ok());
  EXPECT_TRUE(parser.pending());
  ASSERT_TRUE(parser.feed("\n").ok());
  EXPECT_FALSE(parser.pending());
}

TEST(Sse, ACarriageReturnAtTheEndOfAPartEndsTheLineAtOnce) {
  std::vector<std::string> data;
  SseParser parser([&](const SseEvent& event) { data.emplace_back(event.data); });
  ASSERT_TRUE(parser.feed("data: a\r\r").ok());
  EXPECT_EQ(data, Strings{"a"});
  ASSERT_TRUE(parser.feed("\ndata: b\n\n").ok());
  EXPECT_EQ(data, (Strings{"a", "b"}));
}

TEST(Sse, EachCapIsNamedAndFinal) {
  const struct {
    SseCaps caps;
    const char* stream;
    const char* name;
  } cases[] = {
      {{.line = 9}, "data: 1234\n\n", "line"},
      {{.line = 9}, "data: 1234", "line"},
      {{.event = 5}, "data: 123\ndata: 45\n\n", "event"},
      {{.total = 10}, "data: 1\n\ndata: 2\n\n", "total"},
  };
  for (const auto& one : cases) {
    int events = 0;
    SseParser parser([&](const SseEvent&) { ++events; }, one.caps);
    const base::Status status = parser.feed(one.stream);
    ASSERT_EQ(status.code(), base::Code::kUpstream) << one.name;
    EXPECT_EQ(std::get<std::string>(*status.detail("cap")), one.name);
    EXPECT_FALSE(parser.feed("data: x\n\n").ok());
    EXPECT_EQ(events, 0);
  }
  EXPECT_FALSE(parse({"data: 123\n\n"}, {.line = 9, .event = 3, .total = 11}).failed);
}

// Every rule at once: any cut gives what the whole gives.
TEST(Sse, AnyCutGivesTheSame) {
  using namespace std::string_view_literals;
  const std::string_view streams[] = {
      "\xEF\xBB\xBF"
      "data: a\r\n\r\nevent: x\rdata: b\r\r:c\n\ndata: \xED\x95\x9C\xEA\xB8\x80 \xFF\xF0\x9F\n\n"
      "id: 1\nretry: 20\ndata\ndata:  two\n\nid: 2\0\ndata: last\n\ndata: cut"sv,
      "\n\r\n\r\r\n\ndata:x\n\r\ndata:y\r\r\n\n"sv,
      "\xEF\xBB"sv,
      "\xEF\xBB\xBF"sv,
  };
  for (const std::string_view stream : streams) {
    for (const auto at_end : {SseParser::AtEnd::kDiscard, SseParser::AtEnd::kDeliver}) {
      const Outcome whole = parse({stream}, {}, at_end);
      std::vector<std::string_view> bytes;
      for (std::size_t at = 0; at < stream.size(); ++at) bytes.push_back(stream.substr(at, 1));
      EXPECT_EQ(parse(bytes, {}, at_end), whole);
      for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
        EXPECT_EQ(parse({stream.substr(0, cut), stream.substr(cut)}, {}, at_end), whole) << cut;
      }
    }
  }
}

TEST(Sse, AnyCutOfRandomStreamsGivesTheSame) {
  std::mt19937 random(20261121);  // NOLINT: a fixed seed
  const std::string_view pieces[] = {
      "data",     ":", " ",    "\n",           "\r",        "\r\n", "\n\n",     "id",
      "event: e", "x", "\xFF", "\xEF\xBB\xBF", "data: v\n", ":c",   "retry: 3", "\xED\x95"};
  for (int round = 0; round < 2000; ++round) {
    std::string stream;
    for (auto left = 1 + random() % 40; left > 0; --left) {
      stream += pieces[random() % std::size(pieces)];
    }
    const SseCaps caps{.line = 4 + random() % 40, .event = 1 + random() % 20};
    std::vector<std::string_view> parts;
    for (std::string_view rest = stream; !rest.empty();) {
      const std::size_t length = std::min<std::size_t>(rest.size(), 1 + random() % 5);
      parts.push_back(rest.substr(0, length));
      rest.remove_prefix(length);
    }
    EXPECT_EQ(parse(parts, caps), parse({stream}, caps)) << testing::PrintToString(stream);
  }
}

}  // namespace
}  // namespace dure::net
