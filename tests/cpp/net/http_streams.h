// Replies as bytes, for tests of the parser and of both engines: what is well formed and what it
// means, and what every engine refuses.
#ifndef DURE_TESTS_NET_HTTP_STREAMS_H_
#define DURE_TESTS_NET_HTTP_STREAMS_H_

#include <string>
#include <vector>

namespace dure::net {

struct WellFormed {
  const char* name;
  std::string bytes;
  int status;
  std::string body;
  std::string method = "POST";
  bool until_close = false;  // the server closes after it
};

inline std::vector<WellFormed> well_formed_streams() {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  return {
      {"length", ok + "Content-Length: 5\r\n\r\nhello", 200, "hello"},
      {"no body", ok + "Content-Length: 0\r\n\r\n", 200, ""},
      {"chunked",
       ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n", 200,
       "abc0123456789"},
      {"extensions",
       ok + "Transfer-Encoding: Chunked\r\n\r\n2;a=\"b\"\r\nxy\r\n1 ;c\r\nz\r\n000;d\r\n\r\n", 200,
       "xyz"},
      {"trailers",
       ok + "Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n1\r\nq\r\n0\r\nA: b\r\nC: d\r\n\r\n",
       200, "q"},
      {"empty chunked", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, ""},
      {"until close", ok + "X: y\r\n\r\nall that comes", 200, "all that comes", "POST", true},
      {"until close, says so", ok + "Connection: close\r\n\r\nend", 200, "end", "GET", true},
      {"interim",
       "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\nContent-Length: "
       "9\r\n\r\n" +
           ok + "Content-Length: 2\r\n\r\nok",
       200, "ok"},
      {"204", "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", 204, ""},
      {"304 with length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, "", "GET"},
      {"head", ok + "Content-Length: 70\r\n\r\n", 200, "", "HEAD"},
      {"head, chunked", ok + "Transfer-Encoding: chunked\r\n\r\n", 200, "", "HEAD"},
      {"old", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", 200, "old"},
      {"old until close", "HTTP/1.0 404 Gone\r\n\r\nwhere", 404, "where", "GET", true},
      {"old, kept", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n1", 200,
       "1"},
      {"no reason", "HTTP/1.1 503\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nno", 503, "no"},
      {"odd headers",
       ok + "A:b\r\nA:\t c \t\r\nE:\r\nB: \xC3\xA9\r\nconTENT-length:4\r\n\r\n\r\n\r\n", 200,
       "\r\n\r\n"},
      {"binary", ok + "Content-Length: 6\r\n\r\n" + std::string("\0\r\n\xFF\n\0", 6), 200,
       std::string("\0\r\n\xFF\n\0", 6)},
  };
}

// Every one ends with kUpstream, before any byte of a body is given.
inline std::vector<std::string> malformed_streams() {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  return {
      ok + "A: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
      ok + "A: b\r\n\tfolded\r\nContent-Length: 2\r\n\r\nok",
      ok + " first: folded\r\nContent-Length: 2\r\n\r\nok",
      ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      ok + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
      ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
      ok + "Content-Length: 2\n\r\nok",
      ok + "Content-Length: 2\r\n\nok",
      ok + "Content-Length : 2\r\n\r\nok",
      ok + "Transfer-Encoding : chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      ok + "Transfer-Encoding: identity, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      ok + "Transfer-Encoding: identity\r\n\r\nok",
      ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      ok + "Transfer-Encoding: \x0B"
           "chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      ok + "Content-Length: +2\r\n\r\nok",
      ok + "Content-Length: -2\r\n\r\nok",
      ok + "Content-Length: 0x2\r\n\r\nok",
      ok + "Content-Length: 2, 2\r\n\r\nok",
      ok + "Content-Length: \r\n\r\nok",
      ok + "Content-Length: 9223372036854775808\r\n\r\nok",
      ok + "Content-Length: 99999999999999999999999\r\n\r\nok",
      ok + "No colon\r\nContent-Length: 2\r\n\r\nok",
      ok + ": no name\r\nContent-Length: 2\r\n\r\nok",
      ok + "A: \x01\r\nContent-Length: 2\r\n\r\nok",
      ok + "A: b\rC: d\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
      ok + "Transfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
      ok + "Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\nok\r\n0\r\n\r\n",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
      "HTTP/1.1 2x0 OK\r\n\r\n",
      "<html>no HTTP at all</html>\r\n\r\n",
  };
}

}  // namespace dure::net

#endif  // DURE_TESTS_NET_HTTP_STREAMS_H_
