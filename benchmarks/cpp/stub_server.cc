// stub_server: one epoll thread that answers every POST with the same chat completion.
//
//   dure_stub_server PORT [DELAY_MS]
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
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

namespace {

struct Connection {
  std::string in;
};

struct Due {
  long long at_us;
  int fd;
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
  std::deque<Due> due;
  std::string buffer(1U << 16U, '\0');
  epoll_event events[512];
  while (true) {
    int timeout = -1;
    if (!due.empty()) {
      const long long left = due.front().at_us - now_us();
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
        connection.in.erase(0, length);
        if (delay_us == 0) {
          if (send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) break;
        } else {
          due.push_back({now_us() + delay_us, fd});
        }
      }
    }
    while (!due.empty() && due.front().at_us <= now_us()) {
      if (connections.count(due.front().fd) != 0) {
        (void)!send(due.front().fd, answer.data(), answer.size(), MSG_NOSIGNAL);
      }
      due.pop_front();
    }
  }
}
