// stub_server: one epoll thread that answers every POST with the same chat completion.
//
//   dure_stub_server PORT [DELAY_MS]
//
// A POST to /sse/EVENTS/WRITES/GAP_US... is answered by a stream of chat chunks of 250 bytes:
// WRITES writes of EVENTS events each, GAP_US microseconds apart, then [DONE].
//
// Keep-alive HTTP/1.1 over loopback, Content-Length bodies only. It exists to be cheap and equal
// for every client under test; it is no general server. Prints the bound port, then serves until
// it is killed.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

namespace {

struct Connection {
  std::string in;
};

struct Due {
  int fd = -1;
  long events = 0;  // zero: the whole answer
  long writes = 0;  // that are left
  long long gap_us = 0;
};

long long now_us() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1'000'000LL + at.tv_nsec / 1000;
}

std::string reply() {
  std::string text(720, 'x');
  std::string body =
      R"({"id":"chatcmpl-stub","object":"chat.completion","created":1767225600,"model":"gpt-4o-mini",)"
      R"("choices":[{"index":0,"message":{"role":"assistant","content":")" +
      text +
      R"(","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":200,)"
      R"("completion_tokens":90,"total_tokens":290,"prompt_tokens_details":{"cached_tokens":0}},)"
      R"("system_fingerprint":"fp_stub"})";
  return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_stub\r\n"
         "openai-processing-ms: 1\r\nx-ratelimit-limit-requests: 10000\r\n"
         "x-ratelimit-remaining-requests: 9999\r\nServer: stub\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

// One chat chunk of 250 bytes.
std::string chat_event() {
  std::string text =
      R"(data: {"id":"chatcmpl-stub","object":"chat.completion.chunk","created":1767225600,)"
      R"("model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":")";
  const std::string end = "\"},\"finish_reason\":null}]}\n\n";
  text.append(250 - text.size() - end.size(), 'x');
  return text + end;
}

std::string last_events() {
  return "data: "
         "{\"id\":\"chatcmpl-stub\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,"
         "\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":"
         "\"stop\"}]}"
         "\n\ndata: [DONE]\n\n";
}

std::string chunk(const std::string& text) {
  char size[24];
  std::snprintf(size, sizeof size, "%zx\r\n", text.size());
  return size + text + "\r\n";
}

constexpr const char* kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

void say(int fd, const std::string& text) {
  (void)!send(fd, text.data(), text.size(), MSG_NOSIGNAL);
}

// Sends one write of a stream; false: it was the last.
bool stream_on(Due& due, const std::string& one) {
  std::string events;
  for (long i = 0; i < due.events; ++i) events += one;
  say(due.fd, chunk(events));
  if (--due.writes > 0) return true;
  say(due.fd, chunk(last_events()) + "0\r\n\r\n");
  return false;
}

// The length of the first complete request in `in`, or 0.
std::size_t complete(const std::string& in) {
  const std::size_t head = in.find("\r\n\r\n");
  if (head == std::string::npos) return 0;
  std::size_t length = 0;
  const char* field = strcasestr(in.c_str(), "content-length:");
  if (field != nullptr) length = static_cast<std::size_t>(std::atoll(field + 15));
  const std::size_t total = head + 4 + length;
  return in.size() >= total ? total : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const int port = argc > 1 ? std::atoi(argv[1]) : 0;
  const long long delay_us = argc > 2 ? std::atoll(argv[2]) * 1000 : 0;
  const std::string answer = reply();
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener, 4096) != 0) {
    std::perror("bind");
    return 1;
  }
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);

  const int poller = epoll_create1(0);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = listener;
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  std::unordered_map<int, std::unique_ptr<Connection>> connections;
  std::multimap<long long, Due> due;  // by time
  const std::string one = chat_event();
  std::string buffer(1U << 16U, '\0');
  epoll_event events[512];
  while (true) {
    int timeout = -1;
    if (!due.empty()) {
      const long long left = due.begin()->first - now_us();
      timeout = left <= 0 ? 0 : static_cast<int>((left + 999) / 1000);
    }
    const int count = epoll_wait(poller, events, 512, timeout);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        for (int peer = 0; (peer = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
          setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
          event.events = EPOLLIN;
          event.data.fd = peer;
          epoll_ctl(poller, EPOLL_CTL_ADD, peer, &event);
          connections[peer] = std::make_unique<Connection>();
        }
        continue;
      }
      Connection& connection = *connections[fd];
      const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
      if (got <= 0) {
        close(fd);
        connections.erase(fd);
        continue;
      }
      connection.in.append(buffer.data(), static_cast<std::size_t>(got));
      for (std::size_t length = 0; (length = complete(connection.in)) != 0;) {
        Due next{.fd = fd};
        const std::size_t path = connection.in.find("/sse/");
        const bool streams = path < connection.in.find('\n') &&
                             std::sscanf(connection.in.c_str() + path, "/sse/%ld/%ld/%lld",
                                         &next.events, &next.writes, &next.gap_us) == 3;
        connection.in.erase(0, length);
        if (streams) {
          say(fd, kStreamHead);
          due.emplace(now_us() + next.gap_us, next);
        } else if (delay_us == 0) {
          if (send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) break;
        } else {
          due.emplace(now_us() + delay_us, next);
        }
      }
    }
    while (!due.empty() && due.begin()->first <= now_us()) {
      auto node = due.extract(due.begin());
      Due& next = node.mapped();
      if (connections.count(next.fd) == 0) continue;
      if (next.events == 0) {
        say(next.fd, answer);
      } else if (stream_on(next, one)) {
        node.key() += next.gap_us;
        due.insert(std::move(node));
      }
    }
  }
}
