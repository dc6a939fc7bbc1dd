#include <gtest/gtest.h>
#include <sys/wait.h>
#include <zlib.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "dure/net/http_transport.h"
#include "fake_clock.h"
#include "stub_server.h"

namespace dure::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Records everything that happens to one request, and can wait for its end.
class Recorder final : public Handler {
 public:
  void on_sent() noexcept override { sent = true; }
  void on_head(int status, HeaderView headers) noexcept override {
    const std::lock_guard lock(mutex_);
    status_code = status;
    head = headers.all();
  }
  Flow on_body(std::span<const std::byte> part) noexcept override {
    const std::lock_guard lock(mutex_);
    if (!one_byte_only) body.append(reinterpret_cast<const char*>(part.data()), part.size());
    received += part.size();
    ++parts;
    changed_.notify_all();
    return pause ? Flow::kPause : Flow::kGo;
  }
  void on_end(base::Status status, const Timing& how) noexcept override {
    const std::lock_guard lock(mutex_);
    ++ends;
    end = std::move(status);
    timing = how;
    changed_.notify_all();
  }

  bool wait_end(milliseconds limit = seconds(10)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [this] { return ends > 0; });
  }
  bool wait_parts(int count, milliseconds limit = seconds(10)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return parts >= count; });
  }
  std::string stage() const {
    const auto* value = end.detail("stage");
    return value != nullptr ? std::get<std::string>(*value) : "";
  }
  std::string cap() const {
    const auto* value = end.detail("cap");
    return value != nullptr ? std::get<std::string>(*value) : "";
  }

  bool pause = false;
  bool one_byte_only = false;
  std::atomic<bool> sent{false};
  int status_code = 0;
  int ends = 0;
  int parts = 0;
  std::size_t received = 0;
  std::string body;
  Headers head;
  base::Status end;
  Timing timing;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

std::shared_ptr<Transport> make_of(Engine engine, TransportOptions options = {},
                                   const base::Clock& clock = base::system_clock()) {
  return make_transport(std::move(options), clock, engine);
}

class Calls {
 public:
  explicit Calls(Engine engine) : transport(make_of(engine)) {}

  std::shared_ptr<Recorder> start(Request request, bool pause = false) {
    auto recorder = std::make_shared<Recorder>();
    recorder->pause = pause;
    last_id = transport->submit(std::move(request), recorder);
    return recorder;
  }
  std::shared_ptr<Recorder> run(Request request) {
    auto recorder = start(std::move(request));
    EXPECT_TRUE(recorder->wait_end()) << "no end";
    EXPECT_EQ(recorder->ends, 1);
    return recorder;
  }
  // One reply to whatever is asked, then the connection closes.
  std::shared_ptr<Recorder> against(std::string reply, bool reset = false) {
    StubServer server([&](Connection& connection, const std::string&) {
      connection.send(reply);
      if (reset) {
        std::this_thread::sleep_for(milliseconds(50));  // else the reset overtakes the bytes
        connection.reset();
      }
      return false;
    });
    return run({.url = server.url(), .body = "{}"});
  }

  RequestId last_id = 0;
  std::shared_ptr<Transport> transport;
};

// What both engines promise; kAuto is the choice between them.
class TransportTest : public Calls, public ::testing::TestWithParam<Engine> {
 public:
  TransportTest() : Calls(GetParam()) {}
  static std::shared_ptr<Transport> make(TransportOptions options,
                                         const base::Clock& clock = base::system_clock()) {
    return make_of(GetParam(), std::move(options), clock);
  }
};

std::string name_of(const ::testing::TestParamInfo<Engine>& info) {
  return info.param == Engine::kA ? "a" : info.param == Engine::kB ? "b" : "auto";
}

INSTANTIATE_TEST_SUITE_P(Engines, TransportTest,
                         ::testing::Values(Engine::kA, Engine::kB, Engine::kAuto), name_of);

class CurlTransportTest : public Calls, public ::testing::Test {
 public:
  CurlTransportTest() : Calls(Engine::kA) {}
};

TEST_P(TransportTest, MovesBytesExactly) {
  std::string seen;
  std::string body(300'000, '\0');
  for (std::size_t at = 0; at < body.size(); ++at) body[at] = static_cast<char>(at * 31);
  StubServer server([&](Connection& connection, const std::string& request) {
    seen = request;
    connection.send(sized_reply(body, "X-One: 1\r\nx-one: 2\r\n"));
    return true;
  });
  const auto reply = run({.method = "POST",
                          .url = server.url("/v1/chat?x=1"),
                          .headers = {{"Authorization", "Bearer k"}, {"X-Empty", ""}},
                          .body = body});
  EXPECT_TRUE(reply->end.ok()) << reply->end.message();
  EXPECT_EQ(reply->status_code, 200);
  EXPECT_EQ(reply->body, body);
  EXPECT_EQ(HeaderView(reply->head).get("X-ONE"), "2");
  EXPECT_TRUE(reply->sent);
  EXPECT_EQ(reply->timing.bytes_in, body.size());
  EXPECT_TRUE(seen.starts_with("POST /v1/chat?x=1 HTTP/1.1\r\n"));
  EXPECT_NE(seen.find("\r\nAuthorization: Bearer k\r\n"), std::string::npos);
  EXPECT_NE(seen.find("\r\nX-Empty:"), std::string::npos);
  EXPECT_EQ(seen.find("Content-Type"), std::string::npos);
  EXPECT_EQ(seen.find("Expect"), std::string::npos);
  EXPECT_TRUE(seen.ends_with(body));
}

TEST_F(CurlTransportTest, EveryHeaderArrivesOnceAndAlone) {
  std::vector<std::string> lines;
  StubServer server([&](Connection& connection, const std::string& request) {
    lines.clear();
    const std::string head = request.substr(0, request.find("\r\n\r\n") + 2);
    for (std::size_t at = head.find("\r\n") + 2; at < head.size();) {
      const std::size_t end = head.find("\r\n", at);
      lines.push_back(head.substr(at, end - at));
      at = end + 2;
    }
    connection.send(sized_reply("ok"));
    return true;
  });
  const Headers all{{"User-Agent", "dure/1"},     {"authorization", "Bearer k"},
                    {"Accept", "text/x"},         {"X-Client-Request-Id", "7"},
                    {"OpenAI-Project", "p"},      {"X-Other", "a: b"},
                    {"OpenAI-Organization", ""},  {"Accept-Encoding", "identity"},
                    {"traceparent", "00-1-2-01"}, {"Content-Type", "application/json"}};
  for (const bool typed : {true, false, true}) {  // on one connection and one handle
    for (const std::size_t count : {all.size() - 1, std::size_t{2}, std::size_t{0}}) {
      Headers headers(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
      if (typed) headers.push_back(all.back());
      EXPECT_TRUE(run({.url = server.url(), .headers = headers, .body = "{}"})->end.ok());
      std::multiset<std::string> want{"Host: 127.0.0.1:" + std::to_string(server.port()),
                                      "Content-Length: 2"};
      for (const auto& [name, value] : headers) {
        want.insert(value.empty() ? name + ":" : name + ": " + value);
      }
      std::multiset<std::string> have(lines.begin(), lines.end());
      if (count < 3) std::erase_if(have, [](const auto& line) { return line == "Accept: */*"; });
      if (count < 8) {
        std::erase_if(have, [](const auto& line) { return line.starts_with("Accept-Encoding:"); });
      }
      EXPECT_EQ(have, want) << count << typed;
    }
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST_P(TransportTest, MethodsWithAndWithoutBody) {
  std::string seen;
  StubServer server([&](Connection& connection, const std::string& request) {
    seen =
        request.substr(0, request.find(' ')) + "|" + request.substr(request.find("\r\n\r\n") + 4);
    connection.send("HTTP/1.1 204 No Content\r\n\r\n");
    return true;
  });
  for (const auto& [method, body] :
       std::vector<std::pair<std::string, std::string>>{{"GET", ""},
                                                        {"GET", "x"},
                                                        {"POST", ""},
                                                        {"PUT", "abc"},
                                                        {"DELETE", ""},
                                                        {"PATCH", "p"},
                                                        {"HEAD", ""}}) {
    const auto reply = run({.method = method, .url = server.url(), .body = body});
    EXPECT_TRUE(reply->end.ok()) << method << reply->end.message();
    EXPECT_EQ(reply->status_code, 204);
    EXPECT_EQ(seen, method + "|" + body);
  }
}

TEST_P(TransportTest, KeepsConnectionsAlive) {
  StubServer server([](Connection& connection, const std::string&) {
    connection.send(sized_reply("ok"));
    return true;
  });
  for (int at = 0; at < 20; ++at) {
    const auto reply = run({.url = server.url(), .body = "{}"});
    EXPECT_EQ(reply->timing.reused_connection, at > 0);
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST_P(TransportTest, AClosedIdleConnectionIsReplaced) {
  StubServer server([](Connection& connection, const std::string&) {
    connection.send(sized_reply("ok"));
    return false;  // closes without saying so
  });
  for (int at = 0; at < 10; ++at) {
    EXPECT_TRUE(run({.url = server.url(), .body = "{}"})->end.ok());
    std::this_thread::sleep_for(milliseconds(5));
  }
}

// A reply that nobody asked for, wherever it stands: no later request gets it.
TEST_P(TransportTest, AnUnaskedReplyIsNeverAnAnswer) {
  enum class Stray : std::uint8_t { kLater, kWithTheReply, kBehindTheBody };
  for (const Stray how : {Stray::kLater, Stray::kWithTheReply, Stray::kBehindTheBody}) {
    std::atomic<int> served{0};
    std::atomic<bool> said{false};
    StubServer server([&](Connection& connection, const std::string& request) {
      const std::string reply = sized_reply(request.substr(request.find("\r\n\r\n") + 4));
      const std::string stray = ++served == 1 ? sized_reply("stray") : "";
      if (how == Stray::kLater) {
        connection.send(reply);
        std::this_thread::sleep_for(milliseconds(20));
        connection.send(stray);
      } else if (how == Stray::kWithTheReply) {
        connection.send(reply + stray);
      } else {
        const std::size_t head = reply.find("\r\n\r\n") + 4;
        connection.send(reply.substr(0, head));
        std::this_thread::sleep_for(milliseconds(20));
        connection.send(reply.substr(head) + stray);
      }
      said = true;
      return true;
    });
    for (int at = 0; at < 3; ++at) {
      const auto reply = run({.url = server.url(), .body = "own " + std::to_string(at)});
      EXPECT_TRUE(reply->end.ok()) << reply->end.message();
      EXPECT_EQ(reply->body, "own " + std::to_string(at)) << static_cast<int>(how);
      while (!said) std::this_thread::sleep_for(milliseconds(1));
    }
    EXPECT_GT(server.connections(), 1) << "the first one is used no more";
  }
}

// One connection that waits for its next request beside many that are held back by their readers:
// only the first may be ended for what it says unasked.
TEST_P(TransportTest, APausedStreamIsNotTakenForAnIdleConnection) {
  const std::string body(3U << 20U, 'x');
  StubServer server([&](Connection& connection, const std::string&) {
    connection.send(sized_reply(body));
    return true;
  });
  std::vector<std::shared_ptr<Recorder>> held;
  std::vector<RequestId> ids;
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(run({.url = server.url()})->received, body.size());  // leaves an idle one
    held.push_back(start({.url = server.url()}, true));
    ids.push_back(last_id);
    EXPECT_TRUE(held.back()->wait_parts(1));
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_EQ(run({.url = server.url()})->received, body.size());
  for (std::size_t at = 0; at < held.size(); ++at) {
    while (!held[at]->wait_end(milliseconds(1))) transport->resume(ids[at]);
    EXPECT_TRUE(held[at]->end.ok()) << held[at]->end.message();
    EXPECT_EQ(held[at]->received, body.size());
  }
}

TEST_P(TransportTest, ManyAtOnceInSeveralShards) {
  StubServer server([](Connection& connection, const std::string& request) {
    std::this_thread::sleep_for(milliseconds(20));
    connection.send(sized_reply(request.substr(request.find("\r\n\r\n") + 4)));
    return true;
  });
  std::vector<std::shared_ptr<Recorder>> all;
  for (int at = 0; at < 200; ++at) {
    all.push_back(start({.url = server.url(), .body = "request " + std::to_string(at)}));
  }
  for (int at = 0; at < 200; ++at) {
    ASSERT_TRUE(all[static_cast<std::size_t>(at)]->wait_end());
    EXPECT_EQ(all[static_cast<std::size_t>(at)]->body, "request " + std::to_string(at));
  }
  EXPECT_LE(server.connections(), 200);
}

TEST_P(TransportTest, NeverOpensMoreConnectionsThanAllowed) {
  transport = make({.max_connections = 3});
  std::atomic<int> busy{0};
  std::atomic<int> most{0};
  StubServer server([&](Connection& connection, const std::string&) {
    const int now = ++busy;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    std::this_thread::sleep_for(milliseconds(5));
    --busy;
    connection.send(sized_reply("ok"));
    return true;
  });
  std::vector<std::shared_ptr<Recorder>> all;
  for (int at = 0; at < 30; ++at) all.push_back(start({.url = server.url(), .body = "{}"}));
  for (const auto& one : all) {
    ASSERT_TRUE(one->wait_end());
    EXPECT_TRUE(one->end.ok());
  }
  EXPECT_EQ(most, 3);
  EXPECT_EQ(server.connections(), 3);
}

TEST_P(TransportTest, BodiesInEveryFraming) {
  EXPECT_EQ(against("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n")
                ->body,
            "abcde");
  EXPECT_EQ(against("HTTP/1.1 200 OK\r\n\r\nuntil the close")->body, "until the close");
  EXPECT_EQ(against("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")->body, "ok");
  EXPECT_EQ(against("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" +
                    sized_reply("ok"))
                ->body,
            "ok");
  const auto longer = against("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more");
  EXPECT_TRUE(longer->end.ok());
  EXPECT_EQ(longer->body, "ok");
}

TEST_P(TransportTest, AnyStatusIsAReply) {
  for (const int status : {301, 400, 401, 404, 413, 429, 500, 503, 529}) {
    const auto reply = against("HTTP/1.1 " + std::to_string(status) +
                               " X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 1\r\n\r\nx");
    EXPECT_TRUE(reply->end.ok()) << status << reply->end.message();
    EXPECT_EQ(reply->status_code, status);
  }
}

TEST_P(TransportTest, CutRepliesAreTruncated) {
  const char* cut[] = {
      "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
  };
  for (const char* reply : cut) {
    for (const bool reset : {false, true}) {
      EXPECT_EQ(against(reply, reset)->end.code(), base::Code::kTruncated) << reply << reset;
    }
  }
  EXPECT_EQ(against("HTTP/1.1 200 OK\r\n\r\nclose-delimited", true)->end.code(),
            base::Code::kTruncated);
}

TEST_P(TransportTest, NoAnswerAfterTheRequestLeftIsUpstream) {
  for (const char* reply : {"", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\nContent-"}) {
    for (const bool reset : {false, true}) {
      const auto failed = against(reply, reset);
      EXPECT_EQ(failed->end.code(), base::Code::kUpstream) << reply << failed->end.message();
      EXPECT_TRUE(failed->sent);
    }
  }
}

TEST_P(TransportTest, MalformedRepliesAreRefused) {
  const char* malformed[] = {
      "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: "
      "chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
      "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok",
      "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
      "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
      "HTTP/1.1 200 OK\r\nNo colon\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.1 200 OK\r\nA: \x01\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
      "HTTP/1.1 2x0 OK\r\n\r\n",
      "<html>no HTTP at all</html>",
      "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip",
  };
  for (const char* reply : malformed) {
    const auto refused = against(reply);
    EXPECT_EQ(refused->end.code(), base::Code::kUpstream)
        << reply << "\n -> " << refused->end.message();
    EXPECT_EQ(refused->body, "");
  }
}

TEST_P(TransportTest, CapsEndTheTransferAndAreNamed) {
  StubServer server([](Connection& connection, const std::string& request) {
    if (request.find("/body") != std::string::npos) {
      connection.send("HTTP/1.1 200 OK\r\n\r\n");
      for (int at = 0; at < 10'000; ++at) connection.send(std::string(1000, 'x'));
    } else if (request.find("/line") != std::string::npos) {
      connection.send("HTTP/1.1 200 OK\r\nA: " + std::string(200'000, 'x') + "\r\n\r\n");
    } else {
      connection.send("HTTP/1.1 200 OK\r\n");
      for (int at = 0; at < 10'000; ++at) connection.send("A: " + std::string(90, 'x') + "\r\n");
    }
    return false;
  });
  const auto body = run({.url = server.url("/body"), .caps = {.body = 50'000}});
  EXPECT_EQ(body->end.code(), base::Code::kUpstream);
  EXPECT_EQ(body->cap(), "body");
  EXPECT_LE(body->body.size(), 50'000U);
  for (const char* path : {"/line", "/many"}) {
    const auto head = run({.url = server.url(path)});
    EXPECT_EQ(head->end.code(), base::Code::kUpstream) << path << head->end.message();
    EXPECT_EQ(head->cap(), "headers") << path << head->end.message();
  }
}

// Engine B alone asks for identity where no stream is expected.
TEST(ChoiceOfEngine, PlainHttpIsForBUnlessAProxyIsInTheWay) {
  std::string seen;
  const auto note = [&](Connection& connection, const std::string& request) {
    seen = request;
    connection.send(sized_reply("ok"));
    return true;
  };
  StubServer server(note);
  StubServer proxy(note);
  const auto engine_for = [&](TransportOptions options, Request request) {
    const auto transport = make_of(Engine::kAuto, std::move(options));
    const auto reply = std::make_shared<Recorder>();
    transport->submit(std::move(request), reply);
    EXPECT_TRUE(reply->wait_end());
    EXPECT_TRUE(reply->end.ok()) << reply->end.message();
    const bool identity = seen.find("\r\nAccept-Encoding: identity\r\n") != std::string::npos;
    return identity ? Engine::kB : Engine::kA;
  };
  const ProxyRules by_proxy{.http = proxy.url(), .https = {}, .no_proxy = {}};
  const ProxyRules not_here{.http = proxy.url(), .https = {}, .no_proxy = {"127.0.0.1"}};
  EXPECT_EQ(engine_for({}, {.url = server.url()}), Engine::kB);
  EXPECT_EQ(engine_for({.proxy = not_here}, {.url = server.url()}), Engine::kB);
  EXPECT_EQ(proxy.connections(), 0);
  EXPECT_EQ(engine_for({.proxy = by_proxy}, {.url = server.url()}), Engine::kA);
  EXPECT_EQ(engine_for({}, {.url = server.url(), .proxy = proxy.url()}), Engine::kA);
  EXPECT_EQ(proxy.connections(), 2);
}

class HttpTransportTest : public Calls, public ::testing::Test {
 public:
  HttpTransportTest() : Calls(Engine::kB) {}
};

TEST_F(HttpTransportTest, SpeaksPlainHttpWithoutProxyOnly) {
  EXPECT_EQ(run({.url = "https://127.0.0.1:1/"})->end.code(), base::Code::kInvalidArgument);
  EXPECT_EQ(run({.url = "http://127.0.0.1:1/", .proxy = "http://127.0.0.1:2"})->end.code(),
            base::Code::kInvalidArgument);
}

TEST_F(HttpTransportTest, AsksForIdentityAndRefusesACodingThatNobodyAskedFor) {
  std::string seen;
  StubServer server([&](Connection& connection, const std::string& request) {
    seen = request;
    connection.send(sized_reply("zipped", "Content-Encoding: gzip\r\n"));
    return true;
  });
  const auto refused = run({.url = server.url()});
  EXPECT_EQ(refused->end.code(), base::Code::kUpstream);
  EXPECT_EQ(refused->body, "");
  EXPECT_NE(seen.find("\r\nAccept-Encoding: identity\r\n"), std::string::npos);
  EXPECT_EQ(run({.url = server.url(), .headers = {{"accept-encoding", "gzip"}}})->body, "zipped");
}

// A server that closes kept connections behind our back: the request goes out once more, on a new
// one, if nothing of an answer came; a second failure is reported.
TEST_P(TransportTest, AStaleConnectionIsReplacedOnceIfNothingWasAnswered) {
  std::atomic<int> requests{0};
  StubServer server([&](Connection& connection, const std::string& request) {
    ++requests;
    if (request.find("/warm") != std::string::npos) {
      connection.send(sized_reply("ok"));
      return true;
    }
    if (request.find("/half") != std::string::npos) connection.send("HTTP/1.1 2");
    if (request.find("/once") != std::string::npos && requests == 3) {
      connection.send(sized_reply("again"));
      return true;
    }
    return false;
  });
  const auto send = [&](const char* path) {
    requests = 0;
    EXPECT_TRUE(run({.url = server.url("/warm")})->end.ok());
    return run({.url = server.url(path)});
  };
  const auto resent = send("/once");
  EXPECT_EQ(resent->body, "again") << resent->end.message();
  EXPECT_TRUE(resent->timing.resent);
  EXPECT_EQ(requests, 3);
  ASSERT_TRUE(run({.url = server.url("/warm")})->end.ok());
  requests = 1;
  const auto unsent = run({.url = server.url("/once"), .resend = false});
  EXPECT_EQ(unsent->end.code(), base::Code::kUpstream);
  EXPECT_FALSE(unsent->timing.resent);
  EXPECT_EQ(requests, 2);
  EXPECT_EQ(send("/never")->end.code(), base::Code::kUpstream);
  EXPECT_EQ(requests, 3);
  EXPECT_EQ(send("/half")->end.code(), base::Code::kUpstream);
  // libcurl counts whole lines only, so A goes on as if nothing had come.
  EXPECT_EQ(requests, GetParam() == Engine::kA ? 3 : 2) << "something of the answer had come";
}

TEST_F(HttpTransportTest, AnEarlyAnswerToALargeRequestIsTaken) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  socklen_t size = sizeof address;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  std::thread server([listener] {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    char part[1024];
    (void)::recv(fd, part, sizeof part, 0);
    const Connection connection(fd);
    connection.send("HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno");
    (void)connection.wait_closed(seconds(5));
  });
  const auto early =
      run({.url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/",
           .body = std::string(32U << 20U, 'x')});
  EXPECT_TRUE(early->end.ok()) << early->end.message();
  EXPECT_EQ(early->status_code, 413);
  EXPECT_EQ(early->body, "no");
  server.join();
  ::close(listener);
}

std::string gzip_of(std::string_view text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

TEST_F(CurlTransportTest, TheBodyCapCountsDecompressedBytes) {
  std::string text;
  for (int at = 0; text.size() < 2'000'000; ++at) text += std::to_string(at * 7919) + ", ";
  const std::string zeros(2'000'000, '\0');
  const std::string packed_text = gzip_of(text);
  const std::string packed_zeros = gzip_of(zeros);
  ASSERT_LT(packed_zeros.size(), 10'000U);
  std::string seen;
  StubServer server([&](Connection& connection, const std::string& request) {
    seen = request;
    const bool bomb = request.find("/bomb") != std::string::npos;
    connection.send(sized_reply(bomb ? packed_zeros : packed_text, "Content-Encoding: gzip\r\n"));
    return true;
  });
  EXPECT_EQ(run({.url = server.url()})->body, text);
  EXPECT_NE(seen.find("Accept-Encoding: "), std::string::npos);
  EXPECT_NE(seen.find("gzip"), std::string::npos);
  const auto bomb = run({.url = server.url(), .caps = {.body = 100'000}});
  EXPECT_EQ(bomb->end.code(), base::Code::kUpstream);
  EXPECT_EQ(bomb->cap(), "body");
  EXPECT_LE(bomb->body.size(), 100'000U);
  const auto zipped = run({.url = server.url("/bomb")});
  EXPECT_EQ(zipped->end.code(), base::Code::kUpstream);
  EXPECT_EQ(zipped->cap(), "ratio");
  EXPECT_LT(zipped->body.size(), zeros.size());
  (void)run({.url = server.url(), .stream = true});
  EXPECT_NE(seen.find("Accept-Encoding: identity\r\n"), std::string::npos);
}

TEST_P(TransportTest, RefusedConnectionsAreUnavailableAndNamed) {
  int port = 0;
  {
    const StubServer gone([](Connection&, const std::string&) { return false; });
    port = gone.port();
  }
  const auto refused = run({.url = "http://127.0.0.1:" + std::to_string(port) + "/", .body = "{}"});
  EXPECT_EQ(refused->end.code(), base::Code::kUnavailable);
  EXPECT_EQ(refused->stage(), "connect");
  EXPECT_EQ(std::get<std::string>(*refused->end.detail("host")), "127.0.0.1");
  EXPECT_EQ(std::get<std::string>(*refused->end.detail("tried")), "127.0.0.1");
  EXPECT_FALSE(refused->sent);
}

TEST_P(TransportTest, UnknownNamesAreUnavailable) {
  const auto unknown = run({.url = "http://-no-such-host.invalid/", .body = "{}"});
  EXPECT_EQ(unknown->end.code(), base::Code::kUnavailable) << unknown->end.message();
  EXPECT_EQ(unknown->stage(), "resolve");
}

TEST_P(TransportTest, NamesAreResolvedByUsAndPassedOn) {
  StubServer server([](Connection& connection, const std::string& request) {
    connection.send(sized_reply(request.find("Host: localhost:") != std::string::npos ? "y" : "n"));
    return true;
  });
  const std::string url = "http://localhost:" + std::to_string(server.port()) + "/";
  std::vector<std::shared_ptr<Recorder>> all;
  for (int at = 0; at < 100; ++at) all.push_back(start({.url = url, .body = "{}"}));
  for (const auto& one : all) {
    ASSERT_TRUE(one->wait_end());
    EXPECT_TRUE(one->end.ok()) << one->end.message();
    EXPECT_EQ(one->body, "y");
  }
}

std::atomic<int> look_ups{0};

TEST_P(TransportTest, ManyColdRequestsToOneHostLookItUpOnce) {
  look_ups = 0;
  transport =
      make({.look_up = [](const std::string& host) -> base::Result<std::vector<std::string>> {
        ++look_ups;
        std::this_thread::sleep_for(milliseconds(50));
        if (host != "model.test") return base::fail(base::Code::kUnavailable, "unknown");
        return std::vector<std::string>{"127.0.0.1"};
      }});
  StubServer server([](Connection& connection, const std::string&) {
    connection.send(sized_reply("ok"));
    return true;
  });
  const std::string url = "http://model.test:" + std::to_string(server.port()) + "/";
  std::vector<std::shared_ptr<Recorder>> all;
  for (int at = 0; at < 500; ++at) all.push_back(start({.url = url}));
  for (const auto& one : all) {
    ASSERT_TRUE(one->wait_end());
    EXPECT_TRUE(one->end.ok()) << one->end.message();
  }
  EXPECT_EQ(look_ups, 1);
  EXPECT_TRUE(run({.url = url})->end.ok());
  EXPECT_EQ(look_ups, 1);
  EXPECT_EQ(run({.url = "http://other.test/"})->stage(), "resolve");
  EXPECT_EQ(run({.url = "http://other.test/"})->stage(), "resolve");
  EXPECT_EQ(look_ups, 3);  // failures are not kept
}

TEST_P(TransportTest, ALookUpThatThrowsIsAnError) {
  transport = make({.look_up = [](const std::string&) -> base::Result<std::vector<std::string>> {
    throw std::runtime_error("from outside");
  }});
  for (int at = 0; at < 3; ++at) {
    const auto failed = run({.url = "http://model.test/"});
    EXPECT_FALSE(failed->end.ok());
    EXPECT_EQ(failed->stage(), "resolve");
    EXPECT_FALSE(failed->sent);
  }
}

TEST_P(TransportTest, EveryAddressOfAHostIsTriedAndNamed) {
  transport = make({.look_up = [](const std::string&) -> base::Result<std::vector<std::string>> {
    return std::vector<std::string>{"127.0.0.2", "127.0.0.3", "127.0.0.1"};
  }});
  StubServer server([](Connection& connection, const std::string&) {
    connection.send(sized_reply("ok"));
    return true;
  });
  const std::string host = "http://model.test:";
  const auto reached = run({.url = host + std::to_string(server.port()) + "/"});
  EXPECT_EQ(reached->body, "ok") << reached->end.message();
  const auto failed = run({.url = host + "1/"});
  ASSERT_EQ(failed->end.code(), base::Code::kUnavailable) << failed->end.message();
  EXPECT_EQ(failed->stage(), "connect");
  EXPECT_EQ(std::get<std::string>(*failed->end.detail("tried")), "127.0.0.2, 127.0.0.3, 127.0.0.1");
  EXPECT_LT(failed->timing.ended - failed->timing.submitted, seconds(2));
}

TEST_F(CurlTransportTest, TlsThatIsNoneIsUnavailable) {
  StubServer server([](Connection& connection, const std::string&) {
    connection.send("HTTP/1.1 400 plain text\r\n\r\n");
    return false;
  });
  const auto failed = run({.url = "https://127.0.0.1:" + std::to_string(server.port()) + "/",
                           .deadlines = {.connect = seconds(2)}});
  EXPECT_FALSE(failed->sent);
  EXPECT_TRUE(failed->end.code() == base::Code::kUnavailable ||
              failed->end.code() == base::Code::kDeadline)
      << failed->end.message();
}

TEST_F(CurlTransportTest, WithoutAuthoritiesTlsFailsClosed) {
  transport = make_curl_transport({.ca_file = "/no/such/file.pem"}, base::system_clock());
  const auto failed = run({.url = "https://127.0.0.1:1/"});
  EXPECT_EQ(failed->end.code(), base::Code::kUnavailable);
  EXPECT_EQ(failed->stage(), "tls");
  EXPECT_EQ(std::get<std::string>(*failed->end.detail("tried")), "/no/such/file.pem");
}

TEST_P(TransportTest, EachDeadlineNamesItsStage) {
  StubServer server([](Connection& connection, const std::string& request) {
    if (request.find("/head") != std::string::npos) {
      connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    } else if (request.find("/part") != std::string::npos) {
      connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    } else if (request.find("/drip") != std::string::npos) {
      connection.send("HTTP/1.1 200 OK\r\n\r\n");
      connection.send_slowly(std::string(40, 'x'), milliseconds(20));
    }
    (void)connection.wait_closed(seconds(5));
    return false;
  });
  const struct {
    const char* path;
    Deadlines deadlines;
    const char* stage;
  } cases[] = {
      {"/none", {.first_byte = milliseconds(80)}, "first_byte"},
      {"/head", {.first_byte = milliseconds(80)}, "first_byte"},
      {"/part", {.first_byte = seconds(5), .idle = milliseconds(80)}, "idle"},
      {"/none", {.total = milliseconds(80)}, "total"},
      {"/drip", {.idle = seconds(5), .total = milliseconds(200)}, "total"},
  };
  for (const auto& one : cases) {
    const base::Instant begin = base::system_clock().now();
    const auto late = run({.url = server.url(one.path), .deadlines = one.deadlines});
    EXPECT_EQ(late->end.code(), base::Code::kDeadline) << one.path << late->end.message();
    EXPECT_EQ(late->stage(), one.stage);
    EXPECT_LT(base::system_clock().now() - begin, seconds(2)) << one.path;
  }
}

TEST_P(TransportTest, TheConnectDeadlineEndsAConnectThatHangs) {
  // A full backlog: the kernel drops further SYNs.
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 0), 0);
  socklen_t size = sizeof address;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  std::vector<int> fillers;
  for (int at = 0; at < 4; ++at) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    fillers.push_back(fd);
  }
  std::this_thread::sleep_for(milliseconds(50));
  const auto late = run({.url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/",
                         .deadlines = {.connect = milliseconds(150)}});
  EXPECT_EQ(late->end.code(), base::Code::kDeadline) << late->end.message();
  EXPECT_EQ(late->stage(), "connect");
  EXPECT_FALSE(late->sent);
  for (const int fd : fillers) ::close(fd);
  ::close(listener);
}

TEST_P(TransportTest, ARequestThatNeverLeftTheQueueSaysSo) {
  transport = make({.max_connections = 1});
  StubServer server([](Connection& connection, const std::string&) {
    (void)connection.wait_closed(seconds(5));
    return false;
  });
  const auto first = start({.url = server.url()});
  const auto late = run({.url = server.url(), .deadlines = {.total = milliseconds(80)}});
  EXPECT_EQ(late->stage(), "queue");
  EXPECT_FALSE(late->sent);
}

TEST_P(TransportTest, AFullQueueRefusesAtOnce) {
  transport = make({.max_connections = 1, .max_queued = 2});
  StubServer server([](Connection& connection, const std::string&) {
    (void)connection.wait_closed(seconds(5));
    return false;
  });
  std::vector<std::shared_ptr<Recorder>> waiting;
  for (int at = 0; at < 3; ++at) waiting.push_back(start({.url = server.url()}));
  const RequestId waits = last_id;
  const auto refused = run({.url = server.url()});
  EXPECT_EQ(refused->end.code(), base::Code::kQueueFull);
  EXPECT_TRUE(refused->end.retry_after());
  EXPECT_FALSE(refused->sent);
  transport->cancel(waits);  // now there is room again
  EXPECT_TRUE(waiting.back()->wait_end());
  EXPECT_NE(run({.url = server.url(), .deadlines = {.total = milliseconds(50)}})->end.code(),
            base::Code::kQueueFull);
}

TEST_P(TransportTest, DeadlinesFollowTheInjectedClock) {
  dure::testing::FakeClock clock;
  transport = make({}, clock);
  StubServer server([](Connection& connection, const std::string&) {
    (void)connection.wait_closed(seconds(5));
    return false;
  });
  const auto waiting = start({.url = server.url(), .deadlines = {.total = seconds(600)}});
  EXPECT_FALSE(waiting->wait_end(milliseconds(100)));
  clock.advance(seconds(601));
  EXPECT_TRUE(waiting->wait_end(seconds(2)));
  EXPECT_EQ(waiting->end.code(), base::Code::kDeadline);
  transport.reset();  // before its clock
}

TEST_P(TransportTest, CancelAtEachStageEndsOnceAndClosesTheConnection) {
  std::atomic<int> closed{0};
  StubServer server([&](Connection& connection, const std::string& request) {
    if (request.find("/head") != std::string::npos) {
      connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    } else if (request.find("/body") != std::string::npos) {
      connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    }
    if (connection.wait_closed(seconds(5))) ++closed;
    return false;
  });
  for (const char* path : {"/wait", "/head", "/body"}) {
    for (const int wait_ms : {0, 1, 50}) {
      const auto one = start({.url = server.url(path)});
      std::this_thread::sleep_for(milliseconds(wait_ms));
      transport->cancel(last_id);
      transport->cancel(last_id);
      ASSERT_TRUE(one->wait_end());
      EXPECT_EQ(one->end.code(), base::Code::kCancelled);
    }
  }
  transport = make({.look_up = [](const std::string&) -> base::Result<std::vector<std::string>> {
    std::this_thread::sleep_for(milliseconds(200));
    return base::fail(base::Code::kUnavailable, "no such host");
  }});
  const auto resolving = start({.url = "http://model.test/"});
  transport->cancel(last_id);
  ASSERT_TRUE(resolving->wait_end());
  EXPECT_EQ(resolving->end.code(), base::Code::kCancelled);
  for (int at = 0; at < 100 && closed < 3; ++at) std::this_thread::sleep_for(milliseconds(20));
  EXPECT_GE(closed, 3);  // those that had reached the server
}

TEST_P(TransportTest, CancelWhileQueuedSendingOrPausedFreesItsPlace) {
  transport = make({.max_connections = 1});
  std::atomic<int> closed{0};
  StubServer server([&](Connection& connection, const std::string& request) {
    if (request.find("/now") != std::string::npos) {
      connection.send(sized_reply("ok"));
      return true;
    }
    if (request.find("/paused") != std::string::npos) {
      connection.send("HTTP/1.1 200 OK\r\n\r\n" + std::string(1U << 20U, 'x'));
    }
    if (connection.wait_closed(seconds(5))) ++closed;
    return false;
  });
  const auto cancelled = [&](const std::shared_ptr<Recorder>& one, RequestId id) {
    transport->cancel(id);
    EXPECT_TRUE(one->wait_end());
    EXPECT_EQ(one->end.code(), base::Code::kCancelled);
    EXPECT_EQ(one->ends, 1);
  };
  const auto first = start({.url = server.url("/wait")});
  const RequestId holds = last_id;
  const auto queued = start({.url = server.url("/now")});
  std::this_thread::sleep_for(milliseconds(20));
  cancelled(queued, last_id);
  EXPECT_FALSE(queued->sent);
  cancelled(first, holds);
  EXPECT_TRUE(run({.url = server.url("/now")})->end.ok()) << "the only place is free again";

  const auto paused = start({.url = server.url("/paused")}, true);
  ASSERT_TRUE(paused->wait_parts(1));
  std::this_thread::sleep_for(milliseconds(20));
  cancelled(paused, last_id);
  EXPECT_TRUE(run({.url = server.url("/now")})->end.ok());

  // Nobody reads this one: it is sent until the buffers between are full.
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  socklen_t size = sizeof address;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  const auto sending =
      start({.url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/",
             .body = std::string(32U << 20U, 'x')});
  const RequestId sends = last_id;
  const Connection accepted(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  ::close(listener);
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_TRUE(sending->sent);
  cancelled(sending, sends);
  char part[65536];
  ssize_t got = 0;
  std::size_t received = 0;
  while ((got = ::recv(accepted.fd(), part, sizeof part, 0)) > 0) {
    received += static_cast<std::size_t>(got);
  }
  EXPECT_LT(received, 32U << 20U);
  EXPECT_TRUE(run({.url = server.url("/now")})->end.ok());
  for (int at = 0; at < 100 && closed < 2; ++at) std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(closed, 2);
}

TEST_F(CurlTransportTest, CancelInTheMiddleOfATlsHandshake) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  socklen_t size = sizeof address;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  const auto hangs =
      start({.url = "https://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/"});
  const Connection accepted(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  char hello[4096];
  EXPECT_GT(::recv(accepted.fd(), hello, sizeof hello, 0), 0);
  transport->cancel(last_id);
  ASSERT_TRUE(hangs->wait_end());
  EXPECT_EQ(hangs->end.code(), base::Code::kCancelled);
  EXPECT_FALSE(hangs->sent);
  while (::recv(accepted.fd(), hello, sizeof hello, 0) > 0) {  // until it is closed
  }
  ::close(listener);
}

TEST_P(TransportTest, APausedStreamHoldsTheServerBackAndLosesNothing) {
  constexpr std::size_t kWhole = 32U << 20U;
  StubServer server([](Connection& connection, const std::string&) {
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kWhole) + "\r\n\r\n");
    const std::string part(1U << 16U, 'x');
    for (std::size_t sent = 0; sent < kWhole; sent += part.size()) connection.send(part);
    return false;
  });
  auto slow = std::make_shared<Recorder>();
  slow->pause = true;
  slow->one_byte_only = true;
  const RequestId id = transport->submit(
      {.url = server.url(), .deadlines = {.idle = milliseconds(100)}, .stream = true}, slow);
  ASSERT_TRUE(slow->wait_parts(1));
  std::this_thread::sleep_for(milliseconds(300));  // longer than idle: the pause is ours
  EXPECT_EQ(slow->ends, 0);
  EXPECT_LT(slow->received, 1U << 20U);
  for (int parts = 2; slow->ends == 0 && parts < 100; ++parts) {
    transport->resume(id);
    (void)slow->wait_parts(parts, milliseconds(500));
  }
  slow->pause = false;
  transport->resume(id);
  ASSERT_TRUE(slow->wait_end());
  EXPECT_TRUE(slow->end.ok()) << slow->end.message();
  EXPECT_EQ(slow->received, kWhole);
}

TEST_P(TransportTest, APausedStreamStillEndsAtItsTotalDeadline) {
  StubServer server([](Connection& connection, const std::string&) {
    connection.send("HTTP/1.1 200 OK\r\n\r\n" + std::string(1U << 20U, 'x'));
    (void)connection.wait_closed(seconds(5));
    return false;
  });
  const auto slow = start({.url = server.url(), .deadlines = {.total = milliseconds(300)}}, true);
  ASSERT_TRUE(slow->wait_end(seconds(3)));
  EXPECT_EQ(slow->stage(), "total");
}

TEST_P(TransportTest, WrongRequestsAreRefusedBeforeAnyByteLeaves) {
  const Request wrong[] = {
      {.url = "ftp://127.0.0.1/"},
      {.url = "file:///etc/passwd"},
      {.url = "http://user:secret@127.0.0.1/"},
      {.url = "http://127.0.0.1/?api_key=secret"},
      {.url = "http://127.0.0.1/?a=1&KEY=secret"},
      {.url = "http://127.1/"},
      {.url = "http://0x7f000001/"},
      {.url = "http://2130706433/"},
      {.url = "http://127.0.0.1:99999/"},
      {.url = "http://127.0.0.1:/"},
      {.url = "http://[::1/"},
      {.url = "http:///x"},
      {.url = "http://a b/"},
      {.url = "http://127.0.0.1\\@evil/"},
      {.url = "http://127.0.0.1/#x"},
      {.url = "http://ex\xC3\xA4mple/"},
      {.method = "PO ST", .url = "http://127.0.0.1/"},
      {.url = "http://127.0.0.1/", .headers = {{"A", "b\r\nC: d"}}},
      {.url = "http://127.0.0.1/", .headers = {{"A b", "c"}}},
      {.url = "http://127.0.0.1/", .headers = {{"Content-Length", "5"}}},
      {.url = "http://127.0.0.1/", .headers = {{"Transfer-Encoding", "chunked"}}},
      {.url = "http://127.0.0.1/", .proxy = "ftp://x"},
  };
  for (const Request& request : wrong) {
    const auto refused = run(request);
    EXPECT_EQ(refused->end.code(), base::Code::kInvalidArgument) << request.url;
    EXPECT_EQ(refused->end.message().find("secret"), std::string::npos);
    EXPECT_FALSE(refused->sent);
  }
}

TEST_P(TransportTest, GuardedRequestsReachPublicAddressesOnly) {
  StubServer server([](Connection& connection, const std::string&) {
    connection.send(sized_reply("inside"));
    return true;
  });
  const std::string port = std::to_string(server.port());
  // An ordinary request opens a connection; the guarded one must not ride on it.
  ASSERT_TRUE(run({.url = server.url()})->end.ok());
  for (const std::string host : {"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"}) {
    const auto refused = run({.url = "http://" + host + ":" + port + "/", .guarded = true});
    EXPECT_EQ(refused->end.code(), base::Code::kInvalidArgument) << host << refused->end.message();
    EXPECT_FALSE(refused->sent);
  }
  transport = make({.egress = EgressGuard::create({"127.0.0.1"}).value()});
  EXPECT_EQ(run({.url = server.url(), .guarded = true})->body, "inside");
}

TEST_F(CurlTransportTest, AProxyIsUsedWhenRulesOrRequestSaySo) {
  std::string seen;
  StubServer proxy([&](Connection& connection, const std::string& request) {
    seen = request.substr(0, request.find("\r\n"));
    if (request.starts_with("CONNECT")) {
      connection.send("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
      return false;
    }
    connection.send(sized_reply("by proxy"));
    return true;
  });
  TransportOptions options;
  options.proxy.http = options.proxy.https = proxy.url();
  options.proxy.no_proxy = {"127.0.0.1"};
  transport = make_curl_transport(options, base::system_clock());
  EXPECT_EQ(run({.url = "http://model.test/v1"})->body, "by proxy");
  EXPECT_EQ(seen, "POST http://model.test/v1 HTTP/1.1") << seen;
  const auto refused = run({.url = "https://model.test/v1"});
  EXPECT_EQ(seen, "CONNECT model.test:443 HTTP/1.1");
  EXPECT_EQ(refused->end.code(), base::Code::kUnavailable) << refused->end.message();
  EXPECT_EQ(refused->stage(), "proxy");
  StubServer direct([](Connection& connection, const std::string&) {
    connection.send(sized_reply("direct"));
    return true;
  });
  EXPECT_EQ(run({.url = direct.url()})->body, "direct");
  EXPECT_EQ(run({.url = direct.url(), .proxy = proxy.url()})->body, "by proxy");
}

TEST_F(CurlTransportTest, AProxyThatRefusesIsNamedAndNotItsUser) {
  const auto refused = run({.url = "http://192.0.2.7/", .proxy = "http://user:secret@127.0.0.1:1"});
  EXPECT_EQ(refused->end.code(), base::Code::kUnavailable);
  EXPECT_EQ(refused->stage(), "proxy");
  EXPECT_EQ(std::get<std::string>(*refused->end.detail("tried")), "127.0.0.1:1");
  EXPECT_EQ(refused->end.message().find("secret"), std::string::npos) << refused->end.message();
}

TEST_P(TransportTest, AUnixSocketThatIsNotThereIsNamed) {
  transport = make({.unix_socket = "/nonexistent/model.sock"});
  const auto refused = run({.url = "http://model/"});
  EXPECT_EQ(refused->end.code(), base::Code::kUnavailable);
  EXPECT_EQ(std::get<std::string>(*refused->end.detail("tried")), "/nonexistent/model.sock");
}

TEST_P(TransportTest, WarmConnectionsToManyHostsStayWarm) {
  const auto ok = [](Connection& connection, const std::string&) {
    connection.send(sized_reply("ok"));
    return true;
  };
  std::vector<std::unique_ptr<StubServer>> servers;
  for (int at = 0; at < 70; ++at) servers.push_back(std::make_unique<StubServer>(ok));
  for (const bool again : {false, true}) {
    for (const auto& server : servers) {
      EXPECT_EQ(run({.url = server->url()})->timing.reused_connection, again);
    }
  }
}

// A stream is asked for as it is; compressed all the same, it would be read as nonsense.
TEST_P(TransportTest, AStreamThatIsCompressedUnaskedIsRefused) {
  StubServer server([](Connection& connection, const std::string&) {
    connection.send(sized_reply("zipped", "Content-Encoding: gzip\r\n"));
    return false;
  });
  const auto refused = run({.url = server.url(), .stream = true});
  EXPECT_EQ(refused->end.code(), base::Code::kUpstream);
  EXPECT_EQ(refused->body, "");
}

TEST_F(CurlTransportTest, LibcurlDoesNotReadTheProxyVariables) {
  ::setenv("http_proxy", "http://127.0.0.1:1", 1);
  ::setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
  StubServer server([](Connection& connection, const std::string&) {
    connection.send(sized_reply("direct"));
    return true;
  });
  EXPECT_EQ(run({.url = server.url()})->body, "direct");
  const ProxyRules rules = ProxyRules::from_environment();
  ::unsetenv("http_proxy");
  ::unsetenv("ALL_PROXY");
  EXPECT_EQ(rules.choose("http", "a", 80), "http://127.0.0.1:1");
  EXPECT_EQ(rules.choose("https", "a", 443), "http://127.0.0.1:1");
}

class Tick final : public Work {
 public:
  void run() noexcept override {
    const std::lock_guard lock(mutex);
    at = base::system_clock().now();
    seen.notify_all();
  }
  std::mutex mutex;
  std::condition_variable seen;
  base::Instant at;
};

TEST_P(TransportTest, WorkRunsAtItsTime) {
  const base::Instant begin = base::system_clock().now();
  std::vector<std::shared_ptr<Tick>> ticks;
  for (const int after : {60, 20, 40}) {
    ticks.push_back(std::make_shared<Tick>());
    transport->run_at(begin + milliseconds(after), ticks.back());
  }
  for (const auto& tick : ticks) {
    std::unique_lock lock(tick->mutex);
    ASSERT_TRUE(tick->seen.wait_for(lock, seconds(5), [&] { return tick->at.ns != 0; }));
  }
  EXPECT_GE(ticks[1]->at - begin, milliseconds(20));
  EXPECT_GE(ticks[2]->at, ticks[1]->at);
  EXPECT_GE(ticks[0]->at, ticks[2]->at);
}

TEST_P(TransportTest, StopFailsWhatIsPendingAndLaterRequests) {
  StubServer server([](Connection& connection, const std::string&) {
    (void)connection.wait_closed(seconds(5));
    return false;
  });
  std::vector<std::shared_ptr<Recorder>> all;
  for (int at = 0; at < 10; ++at) all.push_back(start({.url = server.url()}));
  EXPECT_TRUE(transport->stop(seconds(2)));
  for (const auto& one : all) {
    EXPECT_EQ(one->ends, 1);
    EXPECT_EQ(one->end.code(), base::Code::kUnavailable);
  }
  const auto later = start({.url = server.url()});
  EXPECT_EQ(later->ends, 1);
  EXPECT_EQ(later->stage(), "closed");
  EXPECT_TRUE(transport->stop(seconds(2)));
}

TEST_P(TransportTest, AHandlerMayLetTheTransportGo) {
  class Owner final : public Handler {
   public:
    void on_head(int, HeaderView) noexcept override {}
    Flow on_body(std::span<const std::byte>) noexcept override { return Flow::kGo; }
    void on_end(base::Status, const Timing&) noexcept override {
      owned.reset();
      done = true;
    }
    std::shared_ptr<Transport> owned;
    std::atomic<bool> done{false};
  };
  const auto owner = std::make_shared<Owner>();
  owner->owned = transport;
  transport->submit({.url = "http://127.0.0.1:1/"}, owner);
  transport.reset();
  for (int at = 0; at < 500 && !owner->done; ++at) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_TRUE(owner->done);
}

std::size_t open_files() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

TEST_P(TransportTest, TheChildOfAForkStartsAnewAndTheParentGoesOn) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "no thread may start there after the fork of a process that has some";
#endif
  StubServer server([](Connection& connection, const std::string& request) {
    if (request.find("/wait") != std::string::npos) std::this_thread::sleep_for(milliseconds(300));
    connection.send(sized_reply("ok"));
    return true;
  });
  ASSERT_TRUE(run({.url = server.url()})->end.ok());
  const auto pending = start({.url = server.url("/wait")});
  std::this_thread::sleep_for(milliseconds(50));
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(10);
    auto anew = std::make_shared<Recorder>();
    transport->cancel(last_id);  // the parent's: nothing happens here
    transport->submit({.url = server.url()}, anew);
    const bool ok = anew->wait_end() && anew->end.ok() && pending->ends == 0;
    ::_exit(ok ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ASSERT_TRUE(pending->wait_end());
  EXPECT_TRUE(pending->end.ok()) << pending->end.message();
}

TEST_P(TransportTest, NothingIsLeftOpenAfterwards) {
  const std::size_t before = open_files();
  for (int round = 0; round < 5; ++round) {
    StubServer server([](Connection& connection, const std::string& request) {
      connection.send(sized_reply(request.find("/bad") != std::string::npos ? "" : "ok"));
      return true;
    });
    const auto one = make({});
    std::vector<std::shared_ptr<Recorder>> all;
    for (int at = 0; at < 40; ++at) {
      auto recorder = std::make_shared<Recorder>();
      const RequestId id = one->submit({.url = server.url()}, recorder);
      if (at % 3 == 0) one->cancel(id);
      all.push_back(recorder);
    }
    for (const auto& recorder : all) ASSERT_TRUE(recorder->wait_end());
  }
  EXPECT_EQ(open_files(), before);
}

}  // namespace
}  // namespace dure::net
