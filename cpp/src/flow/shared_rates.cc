#include "dure/flow/shared_rates.h"

#include <algorithm>
#include <atomic>
#include <new>

#include "dure/base/hash.h"
#include "flow/shared_file.h"

namespace dure::flow {
namespace {

constexpr std::uint64_t kMagic = 0x3145'5441'5245'5244ULL;  // names the format
constexpr double kMinute = 60e9;
constexpr double kMostPerMinute = 1e12;

std::uint64_t name_hash(std::string_view name) {
  const std::uint64_t hash = base::hash64(name);
  return hash == 0 ? 1 : hash;
}

// The nearest whole number; far from the ends of the type.
std::int64_t nearest(double value) {
  return static_cast<std::int64_t>(value < 0 ? value - 0.5 : value + 0.5);
}

}  // namespace

// In shared memory: lock-free words only.
struct SharedRates::Header {
  SharedFileHead head;
  std::atomic<std::uint64_t> used;  // a rate was set
  std::uint64_t unused[5];
};

struct SharedRates::Bucket {
  std::atomic<std::uint64_t> name;  // its hash; zero: free
  std::atomic<std::uint64_t>
      interval;                       // bits of a double: nanoseconds for one unit; zero: no limit
  std::atomic<std::uint64_t> room;    // bits of a double: nanoseconds of the burst
  std::atomic<std::int64_t> full_at;  // the theoretical arrival time

  [[nodiscard]] static double real(const std::atomic<std::uint64_t>& bits) {
    const std::uint64_t word = bits.load(std::memory_order_relaxed);
    double out = 0;
    static_assert(sizeof(out) == sizeof(word));
    __builtin_memcpy(&out, &word, sizeof(out));
    return out;
  }
  static void put(std::atomic<std::uint64_t>& bits, double value) {
    std::uint64_t word = 0;
    __builtin_memcpy(&word, &value, sizeof(word));
    bits.store(word, std::memory_order_relaxed);
  }
  [[nodiscard]] base::Duration wait(double n, std::int64_t now) const {
    const auto cost = nearest(n * real(interval));
    const auto most = nearest(real(room));
    const std::int64_t next = std::max(full_at.load(std::memory_order_relaxed), now) + cost;
    return base::Duration(std::max<std::int64_t>(0, next - now - most));
  }
  // Takes `n`, or nothing and says how long to wait.
  [[nodiscard]] base::Duration take(double n, std::int64_t now) {
    const auto cost = nearest(n * real(interval));
    const auto most = nearest(real(room));
    std::int64_t seen = full_at.load(std::memory_order_relaxed);
    while (true) {
      const std::int64_t next = std::max(seen, now) + cost;
      if (next - now > most) return base::Duration(next - now - most);
      if (full_at.compare_exchange_weak(seen, next, std::memory_order_relaxed)) return {};
    }
  }
  void give_back(double n) {
    full_at.fetch_sub(nearest(n * real(interval)), std::memory_order_relaxed);
  }
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

SharedRates::SharedRates(std::unique_ptr<base::SharedMemory> memory, const base::Clock& clock)
    : memory_(std::move(memory)), clock_(clock) {}

SharedRates::~SharedRates() = default;

base::Result<std::unique_ptr<SharedRates>> SharedRates::open(base::Files& files,
                                                             const std::string& path,
                                                             const base::Clock& clock) {
  auto memory =
      open_shared_file(files, path, {kMagic, sizeof(Header) + kBuckets * sizeof(Bucket), "rates"});
  if (!memory) return base::fail(std::move(memory.error()));
  return std::unique_ptr<SharedRates>(new SharedRates(std::move(*memory), clock));
}

SharedRates::Header& SharedRates::header() const noexcept {
  return *std::launder(reinterpret_cast<Header*>(memory_->data()));
}

// Its bucket; null: there is none and none was made.
SharedRates::Bucket* SharedRates::find(std::string_view name, bool make) const noexcept {
  auto* const buckets = std::launder(reinterpret_cast<Bucket*>(memory_->data() + sizeof(Header)));
  const std::uint64_t hash = name_hash(name);
  for (std::size_t probe = 0; probe < kBuckets; ++probe) {
    Bucket& bucket = buckets[(hash + probe) % kBuckets];
    std::uint64_t there = bucket.name.load(std::memory_order_acquire);
    if (there == 0 && make &&
        bucket.name.compare_exchange_strong(there, hash, std::memory_order_acq_rel)) {
      return &bucket;
    }
    if (there == hash) return &bucket;
    if (there == 0) return nullptr;
  }
  return nullptr;
}

base::Status SharedRates::set(std::string_view name, SharedRate rate) {
  const double burst = rate.burst == 0 ? rate.per_minute : rate.burst;
  if (!(rate.per_minute >= 0) || rate.per_minute > kMostPerMinute) {
    return base::invalid_argument("per_minute", "a rate must be 0 (no limit) to 1e12 a minute");
  }
  if (rate.per_minute > 0 && (!(burst >= 1) || burst > kMostPerMinute)) {
    return base::invalid_argument("burst", "burst must be 1 to 1e12");
  }
  Bucket* const bucket = find(name, true);
  if (bucket == nullptr) {
    return base::Status(base::Code::kQueueFull,
                        "4,096 rates are set: no further one can be kept in this data folder");
  }
  const double interval = rate.per_minute > 0 ? kMinute / rate.per_minute : 0;
  Bucket::put(bucket->room, burst * interval);
  Bucket::put(bucket->interval, interval);
  header().used = 1;
  return {};
}

SharedRate SharedRates::read(std::string_view name) const {
  const Bucket* const bucket = find(name, false);
  const double interval = bucket == nullptr ? 0 : Bucket::real(bucket->interval);
  if (interval == 0) return {};
  return {kMinute / interval, Bucket::real(bucket->room) / interval};
}

SharedRates::Taken SharedRates::look(std::span<const Ask> asks) const {
  const std::int64_t now = clock_.now().ns;
  Taken longest;
  for (const Ask& ask : asks) {
    const Bucket* const bucket = find(ask.name, false);
    const double interval = bucket == nullptr ? 0 : Bucket::real(bucket->interval);
    if (interval == 0) continue;
    if (ask.n * interval > Bucket::real(bucket->room) * (1 + 1e-12)) return {{}, ask.name, true};
    const base::Duration wait = bucket->wait(ask.n, now);
    if (wait > longest.wait) longest = {wait, ask.name, false};
  }
  return longest;
}

SharedRates::Taken SharedRates::take(std::span<const Ask> asks) {
  const Taken seen = look(asks);
  if (seen.never || seen.wait.count() > 0) return seen;
  const std::int64_t now = clock_.now().ns;
  for (std::size_t i = 0; i < asks.size(); ++i) {
    Bucket* const bucket = find(asks[i].name, false);
    if (bucket == nullptr || Bucket::real(bucket->interval) == 0) continue;
    const base::Duration wait = bucket->take(asks[i].n, now);
    if (wait.count() == 0) continue;  // else another process was faster
    for (std::size_t taken = 0; taken < i; ++taken) give_back(asks[taken].name, asks[taken].n);
    return {wait, asks[i].name, false};
  }
  return {};
}

void SharedRates::give_back(std::string_view name, double n) {
  if (Bucket* const bucket = find(name, false); bucket != nullptr) bucket->give_back(n);
}

double SharedRates::left(std::string_view name) const {
  const Bucket* const bucket = find(name, false);
  const double interval = bucket == nullptr ? 0 : Bucket::real(bucket->interval);
  if (interval == 0) return -1;
  const std::int64_t now = clock_.now().ns;
  const auto ahead = static_cast<double>(std::max<std::int64_t>(0, bucket->full_at.load() - now));
  return std::max(0.0, (Bucket::real(bucket->room) - ahead) / interval);
}

bool SharedRates::any() const noexcept {
  return header().used.load(std::memory_order_relaxed) != 0;
}

}  // namespace dure::flow
