// A real HTTP server on loopback for tests: plain sockets, one thread a connection, no HTTP beyond
// what a test scripts. A script gets the whole request and the connection, and says what happens.
#ifndef DURE_TESTS_NET_STUB_SERVER_H_
#define DURE_TESTS_NET_STUB_SERVER_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace dure::net {

class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}
  ~Connection() { ::close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t wrote = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (wrote <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(wrote));
    }
  }
  void send_slowly(std::string_view text, std::chrono::milliseconds gap) const {
    for (const char c : text) {
      send({&c, 1});
      std::this_thread::sleep_for(gap);
    }
  }
  // The connection ends with a reset instead of an orderly close.
  void reset() const {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  // True once the peer has closed; false if it has not within `limit`.
  [[nodiscard]] bool wait_closed(std::chrono::milliseconds limit) const {
    const auto step = std::chrono::milliseconds(10);
    for (auto waited = std::chrono::milliseconds(0); waited < limit; waited += step) {
      pollfd watched{.fd = fd_, .events = POLLIN, .revents = 0};
      char byte = 0;
      if (::poll(&watched, 1, 10) == 1 && ::recv(fd_, &byte, 1, MSG_PEEK) <= 0) return true;
    }
    return false;
  }
  // A whole request with a Content-Length body; empty at the end of the connection.
  [[nodiscard]] std::string read_request() {
    while (true) {
      const std::size_t end = buffer_.find("\r\n\r\n");
      if (end != std::string::npos) {
        const std::size_t whole = end + 4 + content_length(buffer_.substr(0, end));
        if (buffer_.size() >= whole) {
          std::string request = buffer_.substr(0, whole);
          buffer_.erase(0, whole);
          return request;
        }
      }
      char part[65536];
      const ssize_t got = ::recv(fd_, part, sizeof part, 0);
      if (got <= 0) return {};
      buffer_.append(part, static_cast<std::size_t>(got));
    }
  }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  static std::size_t content_length(std::string_view head) {
    const std::size_t at = head.find("Content-Length: ");
    std::size_t length = 0;
    if (at != std::string_view::npos) {
      std::from_chars(head.data() + at + 16, head.data() + head.size(), length);
    }
    return length;
  }
  const int fd_;
  std::string buffer_;
};

inline std::string sized_reply(std::string_view body, std::string_view more = "") {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(more) + "\r\n" + std::string(body);
}

class StubServer {
 public:
  // Returns whether the connection is kept for another request.
  using Script = std::function<bool(Connection&, const std::string& request)>;

  explicit StubServer(Script script) : script_(std::move(script)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(listener_, 1024);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~StubServer() {
    closing_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (auto& worker : workers_) worker.join();
  }
  StubServer(const StubServer&) = delete;
  StubServer& operator=(const StubServer&) = delete;

  [[nodiscard]] std::string url(std::string_view path = "/") const {
    return "http://127.0.0.1:" + std::to_string(port_) + std::string(path);
  }
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  void accept_all() {
    while (!closing_) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      ++connections_;
      const std::lock_guard lock(mutex_);
      open_.push_back(fd);
      workers_.emplace_back([this, fd] { serve(fd); });
    }
  }
  void serve(int fd) {
    {
      Connection connection(fd);
      while (!closing_) {
        const std::string request = connection.read_request();
        if (request.empty() || !script_(connection, request)) break;
      }
      const std::lock_guard lock(mutex_);
      std::erase(open_, fd);
    }
  }

  const Script script_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> closing_{false};
  std::atomic<int> connections_{0};
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> workers_;
  std::thread acceptor_;
};

}  // namespace dure::net

#endif  // DURE_TESTS_NET_STUB_SERVER_H_
