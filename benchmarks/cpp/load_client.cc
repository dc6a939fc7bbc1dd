// load_client: what a gateway bears. Sends one POST over C keep-alive connections on one epoll
// thread and reads each answer to its end, whole or streamed.
//
//   dure_load_client PORT CONCURRENCY REQUESTS STREAM(0|1) ["Header: value"]...
//
// Prints one JSON line: rps, p50_ms, p99_ms, cpu_us (this process, per request), bad (answers that
// were not 200), events (server-sent ones), largest (most events in one receive), first_ms (p50 of
// the first byte of a body). The first wave is left out of the latencies.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace {

double cpu_us() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

double now_ms() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  return static_cast<double>(at.tv_sec) * 1e3 + static_cast<double>(at.tv_nsec) * 1e-6;
}

// 1 kB of prose: a prompt of one word a thousand times is none.
std::string prose() {
  const std::string sentence =
      "Many hands make light work when every hand knows what the others have already done. ";
  std::string text;
  while (text.size() < 1000) text += sentence;
  return text;
}

std::string request_of(bool stream, const std::vector<std::string>& headers) {
  const std::string body = R"({"model":"gpt-4o-mini","messages":[{"role":"user","content":")" +
                           prose() + R"("}],"max_tokens":100)" +
                           (stream ? R"(,"stream":true})" : "}");
  std::string request =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
      "Content-Type: application/json\r\n";
  for (const std::string& header : headers) request += header + "\r\n";
  return request + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

struct Connection {
  std::string in;
  double sent_ms = 0;
  double first_ms = 0;
};

// Whether the answer in `in` is complete.
bool whole(const std::string& in) {
  const std::size_t head = in.find("\r\n\r\n");
  if (head == std::string::npos) return false;
  const std::string_view top(in.data(), head + 2);
  const char* field = strcasestr(in.c_str(), "content-length:");
  if (field != nullptr && field < in.c_str() + head) {
    return in.size() >= head + 4 + static_cast<std::size_t>(std::atoll(field + 15));
  }
  return in.ends_with("\r\n0\r\n\r\n");
}

std::size_t events_in(std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = part.find("\n\n", at)) != std::string_view::npos; at += 2) ++count;
  return count;
}

double at(std::vector<double>& sorted, std::size_t percent) {
  if (sorted.empty()) return 0.0;
  std::sort(sorted.begin(), sorted.end());
  return sorted[std::min(sorted.size() - 1, sorted.size() * percent / 100)];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  const int port = std::atoi(argv[1]);
  const long concurrency = std::atol(argv[2]);
  const long total = std::atol(argv[3]);
  const bool stream = std::atoi(argv[4]) != 0;
  const std::string request = request_of(stream, std::vector<std::string>(argv + 5, argv + argc));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int poller = epoll_create1(0);
  const int on = 1;
  std::vector<Connection> connections(static_cast<std::size_t>(concurrency) + 4096);
  std::vector<int> fds;
  for (long i = 0; i < concurrency; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    fds.push_back(fd);
  }
  long started = 0, done = 0, bad = 0, events = 0;
  std::size_t largest = 0;
  std::vector<double> latency, first;
  auto fire = [&](int fd) {
    Connection& one = connections[static_cast<std::size_t>(fd)];
    one.in.clear();
    one.sent_ms = now_ms();
    one.first_ms = 0;
    ++started;
    return send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(request.size());
  };
  const double cpu = cpu_us();
  const double begun = now_ms();
  for (const int fd : fds) {
    if (started < total && !fire(fd)) return 1;
  }
  std::string buffer(1U << 16U, '\0');
  epoll_event ready[512];
  while (done < total) {
    const int count = epoll_wait(poller, ready, 512, 30000);
    if (count <= 0) return 1;
    for (int i = 0; i < count; ++i) {
      const int fd = ready[i].data.fd;
      Connection& one = connections[static_cast<std::size_t>(fd)];
      const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
      if (got <= 0) return 1;
      const std::string_view part(buffer.data(), static_cast<std::size_t>(got));
      if (one.first_ms == 0) one.first_ms = now_ms();
      if (stream) {
        const std::size_t seen = events_in(part);
        events += static_cast<long>(seen);
        largest = std::max(largest, seen);
      }
      one.in.append(part);
      if (!whole(one.in)) continue;
      if (!one.in.starts_with("HTTP/1.1 200")) {
        if (bad++ == 0) std::fprintf(stderr, "%s\n", one.in.c_str());
      }
      if (++done > concurrency) {
        latency.push_back(now_ms() - one.sent_ms);
        first.push_back(one.first_ms - one.sent_ms);
      }
      if (started < total && !fire(fd)) return 1;
    }
  }
  const double took = now_ms() - begun;
  std::printf(
      "{\"rps\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"first_ms\":%.3f,\"cpu_us\":%.2f,"
      "\"bad\":%ld,\"events\":%ld,\"events_per_second\":%.1f,\"largest\":%zu}\n",
      static_cast<double>(total) / took * 1e3, at(latency, 50), at(latency, 99), at(first, 50),
      (cpu_us() - cpu) / static_cast<double>(total), bad, events,
      static_cast<double>(events) / took * 1e3, largest);
  return 0;
}
