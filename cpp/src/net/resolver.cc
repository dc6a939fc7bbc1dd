#include "net/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "dure/base/annotations.h"
#include "net/native_thread.h"

namespace dure::net {
namespace {

constexpr int kMostThreads = 4;
constexpr auto kIdle = std::chrono::seconds(5);
constexpr auto kPatience = std::chrono::milliseconds(10);

base::Status not_found(const std::string& host, std::string_view why) {
  return base::Status(base::Code::kUnavailable, "the name '" + host +
                                                    "' could not be resolved: " + std::string(why) +
                                                    "; look at the URL and at the name server");
}

std::string text_of(const addrinfo& info) {
  char buffer[INET6_ADDRSTRLEN] = {};
  const void* address =
      info.ai_family == AF_INET
          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(info.ai_addr)->sin_addr)
          : &reinterpret_cast<const sockaddr_in6*>(info.ai_addr)->sin6_addr;
  return ::inet_ntop(info.ai_family, address, buffer, sizeof buffer) != nullptr ? buffer : "";
}

}  // namespace

struct Resolver::Shared {
  explicit Shared(LookUp how) : look_up(how) {}

  const LookUp look_up;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::pair<std::string, OnDone>> jobs DURE_GUARDED_BY(mutex);
  int threads DURE_GUARDED_BY(mutex) = 0;
  int idle DURE_GUARDED_BY(mutex) = 0;
  bool closed DURE_GUARDED_BY(mutex) = false;
};

Resolver::Resolver(LookUp look_up)
    : shared_(std::make_shared<Shared>(look_up != nullptr ? look_up : &Resolver::system_look_up)) {}

Resolver::~Resolver() {
  std::deque<std::pair<std::string, OnDone>> dropped;
  const std::lock_guard lock(shared_->mutex);
  shared_->closed = true;
  dropped.swap(shared_->jobs);
  shared_->changed.notify_all();
}

base::Result<Addresses> Resolver::system_look_up(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) return base::fail(not_found(host, ::gai_strerror(error)));
  Addresses addresses;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    std::string text = text_of(*at);
    if (!text.empty() && std::ranges::find(addresses, text) == addresses.end()) {
      addresses.push_back(std::move(text));
    }
  }
  ::freeaddrinfo(found);
  if (addresses.empty()) return base::fail(not_found(host, "it has no address"));
  return addresses;
}

void Resolver::look_up(std::string host, OnDone on_done) {
  const std::lock_guard lock(shared_->mutex);
  const int wanted = static_cast<int>(shared_->jobs.size()) + 1;
  if (shared_->idle < wanted && shared_->threads < kMostThreads) {
    try {
      start_thread([shared = shared_] { work(shared); }).detach();
      ++shared_->threads;
    } catch (const std::system_error&) {
      if (shared_->threads == 0) {
        return on_done(std::make_shared<const base::Result<Addresses>>(
            base::fail(not_found(host, "no thread can be started"))));
      }
    }
  }
  shared_->jobs.emplace_back(std::move(host), std::move(on_done));
  shared_->changed.notify_one();
}

// Somebody waits for this answer: want of memory only puts it off.
void Resolver::tell(const OnDone& on_done, base::Result<Addresses>& result) noexcept {
  Answer answer;
  while (true) {
    try {
      if (answer == nullptr) {
        answer = std::make_shared<const base::Result<Addresses>>(std::move(result));
      }
      return on_done(answer);
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(kPatience);
    }
  }
}

// Nothing that a look-up throws leaves the thread.
base::Result<Addresses> Resolver::ask(LookUp look_up, const std::string& host) noexcept {
  try {
    try {
      return look_up(host);
    } catch (const std::bad_alloc&) {
      throw;
    } catch (...) {
      return base::fail(not_found(host, "the look-up failed"));
    }
  } catch (...) {
    return base::fail(base::Status(base::Code::kOutOfMemory, "no memory"));
  }
}

void Resolver::work(const std::shared_ptr<Shared>& shared) {
  std::unique_lock lock(shared->mutex);
  while (!shared->closed) {
    if (shared->jobs.empty()) {
      ++shared->idle;
      const bool woken = shared->changed.wait_for(
          lock, kIdle, [&] { return shared->closed || !shared->jobs.empty(); });
      --shared->idle;
      if (!woken) break;
      continue;
    }
    const auto [host, on_done] = std::move(shared->jobs.front());
    shared->jobs.pop_front();
    lock.unlock();
    base::Result<Addresses> result = ask(shared->look_up, host);
    lock.lock();
    if (shared->closed) break;
    lock.unlock();
    tell(on_done, result);
    lock.lock();
  }
  --shared->threads;
}

}  // namespace dure::net
