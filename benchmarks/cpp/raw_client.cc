// raw_client: the floor. Sends the same POST over C keep-alive connections with bare send/recv
// on one epoll thread, parses nothing but the length, and prints CPU per request.
//
//   dure_raw_client PORT CONCURRENCY REQUESTS      prints: "<cpu us per request> <p50 ms> <p99 ms>"
//   dure_raw_client PORT CONCURRENCY REQUESTS PATH   the same for streams: one request a
//   connection,
//                                  prints: "<cpu us per event> <events> <receives>"
//
// The first wave, when all connections send at once, is left out of the latencies.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

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

struct Connection {
  std::string in;
  double sent_ms = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const int port = std::atoi(argv[1]);
  const int concurrency = std::atoi(argv[2]);
  const long total = argc > 4 ? concurrency : std::atol(argv[3]);  // a stream for each connection
  std::string body = R"({"model":"gpt-4o-mini","messages":[{"role":"user","content":")" +
                     std::string(1000, 'y') + R"("}],"max_tokens":100})";
  const std::string path = argc > 4 ? argv[4] : "/v1/chat/completions";
  const std::string request = "POST " + path +
                              " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                              "Content-Length: " +
                              std::to_string(body.size()) + "\r\n\r\n" + body;
  const int poller = epoll_create1(0);
  std::vector<Connection> connections(static_cast<std::size_t>(concurrency) + 4096);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  std::vector<int> fds;
  for (int i = 0; i < concurrency; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    fds.push_back(fd);
  }
  long started = 0;
  long done = 0;
  std::vector<double> latency;
  latency.reserve(static_cast<std::size_t>(total));
  const double cpu = cpu_us();
  auto fire = [&](int fd) {
    connections[static_cast<std::size_t>(fd)].sent_ms = now_ms();
    ++started;
    return send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(request.size());
  };
  for (const int fd : fds) {
    if (started < total && !fire(fd)) return 1;
  }
  std::string buffer(1U << 16U, '\0');
  epoll_event events[512];
  if (argc > 4) {
    long events_seen = 0;
    long receives = 0;
    for (int open = concurrency; open > 0;) {
      const int count = epoll_wait(poller, events, 512, 10000);
      if (count <= 0) return 1;
      for (int i = 0; i < count; ++i) {
        const ssize_t got = recv(events[i].data.fd, buffer.data(), buffer.size(), 0);
        if (got <= 0) return 1;
        ++receives;
        const std::string_view part(buffer.data(), static_cast<std::size_t>(got));
        for (std::size_t at = 0; (at = part.find("\n\n", at)) != std::string_view::npos; at += 2) {
          ++events_seen;
        }
        if (part.ends_with("\r\n0\r\n\r\n")) --open;
      }
    }
    std::printf("%.3f %ld %ld\n", (cpu_us() - cpu) / static_cast<double>(events_seen), events_seen,
                receives);
    return 0;
  }
  while (done < total) {
    const int count = epoll_wait(poller, events, 512, 10000);
    if (count <= 0) return 1;
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      Connection& connection = connections[static_cast<std::size_t>(fd)];
      const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
      if (got <= 0) return 1;
      connection.in.append(buffer.data(), static_cast<std::size_t>(got));
      const std::size_t head = connection.in.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      const char* field = strcasestr(connection.in.c_str(), "content-length:");
      if (connection.in.size() < head + 4 + static_cast<std::size_t>(std::atoll(field + 15))) {
        continue;
      }
      connection.in.clear();
      if (++done > concurrency) latency.push_back(now_ms() - connection.sent_ms);
      if (started < total && !fire(fd)) return 1;
    }
  }
  const double spent = cpu_us() - cpu;
  std::sort(latency.begin(), latency.end());
  std::printf("%.3f %.3f %.3f\n", spent / static_cast<double>(total),
              latency.empty() ? 0.0 : latency[latency.size() / 2],
              latency.empty() ? 0.0 : latency[latency.size() * 99 / 100]);
  return 0;
}
