#include "net/reply_parser.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "http_streams.h"
#include "reply_parser_fuzz.h"

namespace dure::net {
namespace {

class Reader final : public ReplyParser::Sink {
 public:
  base::Status take_head(const HeadCheck& head) override {
    EXPECT_EQ(++heads, 1);
    status = head.status();
    headers = head.headers().all();
    return {};
  }
  base::Status take_body(std::string_view part) override {
    EXPECT_EQ(heads, 1);
    EXPECT_FALSE(part.empty());
    body += part;
    return {};
  }
  int heads = 0;
  int status = 0;
  Headers headers;
  std::string body;
};

// Feeds `bytes` in pieces that end at `cuts`; the status of the first failure.
base::Status feed(ReplyParser& parser, Reader& reader, std::string_view bytes,
                  const std::vector<std::size_t>& cuts) {
  std::size_t from = 0;
  for (std::size_t at = 0; at <= cuts.size(); ++at) {
    const std::size_t to = at < cuts.size() ? cuts[at] : bytes.size();
    std::string_view part = bytes.substr(from, to - from);
    if (base::Status status = parser.feed(part, reader); !status.ok()) return status;
    EXPECT_TRUE(part.empty() || parser.done());
    from = to - part.size();
    if (parser.done()) break;
  }
  return {};
}

void expect_well_formed(ReplyParser& parser, const WellFormed& stream,
                        const std::vector<std::size_t>& cuts) {
  parser.begin(stream.method == "HEAD", 4096);
  EXPECT_TRUE(parser.untouched());
  Reader reader;
  const base::Status status = feed(parser, reader, stream.bytes, cuts);
  ASSERT_TRUE(status.ok()) << stream.name << ": " << status.message();
  EXPECT_EQ(parser.done(), !stream.until_close) << stream.name;
  EXPECT_TRUE(parser.end_of_stream()) << stream.name;
  EXPECT_EQ(reader.status, stream.status) << stream.name;
  EXPECT_EQ(reader.body, stream.body) << stream.name;
}

TEST(ReplyParser, EveryStreamWholeCutAnywhereAndByteByByte) {
  ReplyParser parser;  // one for all: nothing of a reply stays for the next
  for (const WellFormed& stream : well_formed_streams()) {
    expect_well_formed(parser, stream, {});
    for (std::size_t cut = 1; cut < stream.bytes.size(); ++cut) {
      expect_well_formed(parser, stream, {cut});
      for (std::size_t next = cut + 1; next < stream.bytes.size(); next += 3) {
        expect_well_formed(parser, stream, {cut, next});
      }
    }
    std::vector<std::size_t> all(stream.bytes.size() - 1);
    for (std::size_t at = 0; at < all.size(); ++at) all[at] = at + 1;
    expect_well_formed(parser, stream, all);
  }
}

TEST(ReplyParser, AReplyThatStopsAnywhereIsNeverWhole) {
  ReplyParser parser;
  for (const WellFormed& stream : well_formed_streams()) {
    if (stream.until_close) continue;  // nobody can know
    for (std::size_t size = 0; size < stream.bytes.size(); ++size) {
      parser.begin(stream.method == "HEAD", 4096);
      Reader reader;
      ASSERT_TRUE(feed(parser, reader, stream.bytes.substr(0, size), {}).ok()) << stream.name;
      EXPECT_FALSE(parser.done()) << stream.name << size;
      EXPECT_FALSE(parser.end_of_stream()) << stream.name << size;
      EXPECT_EQ(parser.untouched(), size == 0);
      EXPECT_TRUE(stream.body.starts_with(reader.body));
    }
  }
}

TEST(ReplyParser, MalformedStreamsAreRefusedHoweverTheyAreCut) {
  ReplyParser parser;
  for (const std::string& bytes : malformed_streams()) {
    for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
      parser.begin(false, 4096);
      Reader reader;
      const base::Status status = feed(parser, reader, bytes, {cut});
      EXPECT_EQ(status.code(), base::Code::kUpstream) << bytes << " at " << cut;
      EXPECT_EQ(reader.body, "") << bytes;
    }
  }
}

TEST(ReplyParser, ChunkFramingIsStrict) {
  const std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char* body :
       {"2\nok\r\n0\r\n\r\n", "2\r\nok\n0\r\n\r\n", "2\r\nokk\r\n0\r\n\r\n", "2\r\nok\r\n0\r\n\n",
        "2 x\r\nok\r\n", "2\rx\nok\r\n", "\r\nok\r\n", "2;\x01\r\nok\r\n",
        "2\r\nok\r\n0\r\nA: b\n\r\n", "8000000000000000\r\n"}) {
    ReplyParser parser;
    parser.begin(false, 4096);
    Reader reader;
    EXPECT_EQ(feed(parser, reader, head + body, {}).code(), base::Code::kUpstream) << body;
  }
}

TEST(ReplyParser, SaysWhetherTheConnectionMayServeAgain) {
  const struct {
    const char* bytes;
    bool reusable;
  } cases[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true},
      {"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", false},
      {"HTTP/1.1 200 OK\r\nConnection: x, close\r\nContent-Length: 0\r\n\r\n", false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false},
      {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", true},
      {"HTTP/1.1 204 No\r\n\r\n", true},
      {"HTTP/1.1 100 Go\r\nConnection: close\r\n\r\nHTTP/1.1 204 No\r\n\r\n", true},
  };
  for (const auto& one : cases) {
    ReplyParser parser;
    parser.begin(false, 4096);
    Reader reader;
    ASSERT_TRUE(feed(parser, reader, one.bytes, {}).ok());
    ASSERT_TRUE(parser.done());
    EXPECT_EQ(parser.reusable(), one.reusable) << one.bytes;
  }
}

TEST(ReplyParser, LeavesWhatFollowsTheReply) {
  ReplyParser parser;
  parser.begin(false, 4096);
  Reader reader;
  std::string_view bytes = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 more";
  ASSERT_TRUE(parser.feed(bytes, reader).ok());
  EXPECT_EQ(bytes, "HTTP/1.1 200 more");
}

TEST(ReplyParser, LinesWithoutEndAreCapped) {
  ReplyParser parser;
  parser.begin(false, 1U << 20U);
  Reader reader;
  base::Status status;
  const std::string part(1000, 'x');
  std::size_t fed = 0;
  for (; status.ok() && fed < 1U << 20U; fed += part.size()) {
    std::string_view bytes = part;
    status = parser.feed(bytes, reader);
  }
  EXPECT_EQ(status.code(), base::Code::kUpstream);
  EXPECT_NE(status.detail("cap"), nullptr);
  EXPECT_LE(fed, HeadCheck::kMostLine + 2 * part.size());
}

// What the fuzzer found worth keeping, and every stream of the tables, replayed.
TEST(ReplyParser, TheFuzzCorpusReplays) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/data/fuzz/reply_parser")) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    check_reply_parser(bytes);
    ++files;
  }
  EXPECT_GT(files, 10U);
  for (const WellFormed& stream : well_formed_streams()) check_reply_parser("\x03" + stream.bytes);
  for (const std::string& bytes : malformed_streams()) check_reply_parser("\x05" + bytes);
}

}  // namespace
}  // namespace dure::net
