// dure/flow/shared_rates.h - one rate for all processes of a host: GCRA in a mapped file.
//
//   auto rates = SharedRates::open(files, folder + "/rates", clock).value();
//   rates->set("org:acme rpm", {.per_minute = 60, .burst = 10});
//   const Taken taken = rates->take(asks);      // all of them, or none
//   if (taken.wait.count() > 0) come back then;
//   rates->give_back("org:acme tpm", reserved - used);
//
// A bucket is one theoretical arrival time, moved by compare and swap: no lock, no server, and a
// process that dies holds nothing. Limits stand in the file too, so a change counts everywhere at
// once. After a restart of the machine the file begins anew: its clock did.
//
// Thread-safe and safe among processes. Never blocks; `open` reads the disk.
#ifndef DURE_FLOW_SHARED_RATES_H_
#define DURE_FLOW_SHARED_RATES_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "dure/base/clock.h"
#include "dure/base/files.h"
#include "dure/base/result.h"

namespace dure::flow {

struct SharedRate {
  double per_minute = 0;  // > 0; zero: no limit
  double burst = 0;       // >= 1: the most that can be taken at once; zero: per_minute
};

class SharedRates {
 public:
  static constexpr std::size_t kBuckets = 4096;

  // Maps the file, begun if it is new or from before the machine's last start. Fails with kIo, or
  // kCorrupt (detail "path") if it is none of ours. `clock` outlives this.
  [[nodiscard]] static base::Result<std::unique_ptr<SharedRates>> open(base::Files& files,
                                                                       const std::string& path,
                                                                       const base::Clock& clock);
  ~SharedRates();
  SharedRates(const SharedRates&) = delete;
  SharedRates& operator=(const SharedRates&) = delete;

  // Fails with kInvalidArgument (a number out of range), kQueueFull (no bucket is left).
  base::Status set(std::string_view name, SharedRate rate);
  // Zero if there is none.
  [[nodiscard]] SharedRate read(std::string_view name) const;

  struct Ask {
    std::string_view name;
    double n = 1;
  };
  struct Taken {
    base::Duration wait{0};  // zero: all was taken
    std::string_view over;   // what has to be waited for, or is larger than its burst
    bool never = false;      // it is larger than its burst: no wait helps
  };
  // What take would say; takes nothing. What has no rate is passed over.
  [[nodiscard]] Taken look(std::span<const Ask> asks) const;
  [[nodiscard]] Taken take(std::span<const Ask> asks);
  // Below zero: takes more, also beyond the burst (the truth is larger than the estimate).
  void give_back(std::string_view name, double n);
  // What could be taken now; -1: it has no rate.
  [[nodiscard]] double left(std::string_view name) const;
  // A rate was ever set in this file: without one nothing is looked for.
  [[nodiscard]] bool any() const noexcept;

 private:
  struct Header;
  struct Bucket;
  SharedRates(std::unique_ptr<base::SharedMemory> memory, const base::Clock& clock);
  [[nodiscard]] Header& header() const noexcept;
  [[nodiscard]] Bucket* find(std::string_view name, bool make) const noexcept;

  const std::unique_ptr<base::SharedMemory> memory_;
  const base::Clock& clock_;
};

}  // namespace dure::flow

#endif  // DURE_FLOW_SHARED_RATES_H_
