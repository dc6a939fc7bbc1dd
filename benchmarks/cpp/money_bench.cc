// Speed of the account: reserve + sent + settle, with the ledger in memory, mapped, written and
// synced; the same with 8 scopes, with threads and with other processes on the folder; appends and
// replay in records a second. Prints one line of JSON a measurement.
//
//   dure_money_bench FOLDER [CALLS [mapped|mapped8|written|memory|threads]]
//
// FOLDER: an empty folder on the disk to be measured. The last argument runs one case alone, for a
// profiler, or to take turns with another build.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "dure/base/files.h"
#include "dure/money/account.h"
#include "dure/money/cost.h"
#include "dure/money/ledger.h"
#include "money/ledger_writer.h"
#include "no_disk.h"

namespace dure {
namespace {

using Clock = std::chrono::steady_clock;
using bench::Forward;
using bench::NoDisk;

std::vector<std::string> scopes_of(int count) {
  const std::vector<std::string> all{"user:7",    "team:red",    "org:acme", "key:main",
                                     "service:a", "execution:9", "tag:x",    "conversation:3"};
  return {all.begin(), all.begin() + count};
}

void limit(money::Account& account, const std::vector<std::string>& scopes) {
  for (const std::string& scope : scopes) {
    money::BudgetSpec spec;
    spec.scope = scope;
    spec.limit = std::int64_t{1} << 60;
    if (!account.set_budget(spec).ok()) std::abort();
  }
}

// One call from admission to settlement with its price; nanoseconds of each call.
std::vector<double> calls(money::Account& account, const std::vector<std::string>& scopes,
                          int count) {
  const auto& book = *catalog::PriceBook::builtin();
  const base::WallTime at = base::system_clock().wall();
  money::BoundQuery query;
  query.price = {.model = "gpt-4o-mini", .at = at};
  query.deadline = {at.us + 600'000'000};
  query.input_tokens = 1000;
  query.max_output_tokens = 500;
  money::ReserveRequest request;
  request.scopes = scopes;
  request.bound = money::upper_bound(book, query).value();
  request.call = {
      .model = "gpt-4o-mini", .service = "chat", .call_id = "0123456789abcdef", .key_id = "key-1"};
  const money::Usage usage = money::count_units({.input = 1000, .output = 300});
  std::vector<double> times;
  times.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    const auto begin = Clock::now();
    const auto held = account.reserve(request);
    if (!held) {
      std::fprintf(stderr, "%s\n", held.error().message().c_str());
      std::abort();
    }
    if (!account.sent(held->id).ok()) std::abort();
    const auto cost = money::cost(book, usage, {.model = "gpt-4o-mini", .at = at});
    if (!account.settle(held->id, usage, *cost).ok()) std::abort();
    times.push_back(std::chrono::duration<double, std::nano>(Clock::now() - begin).count());
  }
  return times;
}

void report(const char* what, std::vector<double> times, bool exact) {
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) {
    return times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))] / 1000;
  };
  std::printf("{\"what\": \"%s\", \"p50_us\": %.3f, \"p99_us\": %.3f, \"exact\": %s}\n", what,
              at(0.5), at(0.99), exact ? "true" : "false");
  std::fflush(stdout);
}

bool exact(const std::string& folder, std::int64_t calls) {
  const auto proof = money::verify_ledger(base::system_files(), folder);
  const auto each = money::cost(*catalog::PriceBook::builtin(),
                                money::count_units({.input = 1000, .output = 300}),
                                {.model = "gpt-4o-mini", .at = base::system_clock().wall()});
  return proof && proof->ok && proof->held == 0 && proof->spent == each->pico * calls;
}

std::shared_ptr<money::Account> open(const std::string& folder, money::AccountOptions options) {
  auto account = money::Account::open(folder, options);
  if (!account) {
    std::fprintf(stderr, "%s\n", account.error().message().c_str());
    std::abort();
  }
  return *account;
}

void on_disk(const char* what, const std::string& folder, money::AccountOptions options, int scopes,
             int count) {
  std::vector<double> times;
  {
    const auto account = open(folder, options);
    limit(*account, scopes_of(scopes));
    times = calls(*account, scopes_of(scopes), count);
  }
  report(what, std::move(times), exact(folder, count));
}

void in_memory(const char* what, int scopes, int count) {
  NoDisk disk;
  const auto account = open("/data", {.files = &disk});
  limit(*account, scopes_of(scopes));
  report(what, calls(*account, scopes_of(scopes), count), account->totals().held == 0);
}

std::vector<double> by_threads(money::Account& account, int threads, int count) {
  std::vector<std::vector<double>> times(static_cast<std::size_t>(threads));
  limit(account, scopes_of(1));
  std::vector<std::thread> workers;
  for (auto& mine : times) {
    workers.emplace_back([&] { mine = calls(account, scopes_of(1), count / threads); });
  }
  for (std::thread& worker : workers) worker.join();
  std::vector<double> all;
  for (const auto& mine : times) all.insert(all.end(), mine.begin(), mine.end());
  return all;
}

void threads_in_memory(const char* what, int threads, int count) {
  NoDisk disk;
  const auto account = open("/data", {.files = &disk});
  report(what, by_threads(*account, threads, count), account->totals().held == 0);
}

void with_threads(const char* what, const std::string& folder, int threads, int count) {
  std::vector<double> all = by_threads(*open(folder, {}), threads, count);
  const auto made = static_cast<std::int64_t>(all.size());
  report(what, std::move(all), exact(folder, made));
}

// `busy`: the others make calls too; else they only hold the folder open.
void with_processes(const char* what, const std::string& folder, int processes, bool busy,
                    int count) {
  {
    limit(*open(folder, {}), scopes_of(1));
  }
  std::vector<pid_t> others;
  int ready[2];
  if (::pipe(ready) != 0) std::abort();
  for (int i = 1; i < processes; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto account = open(folder, {});
      if (::write(ready[1], "x", 1) != 1) std::abort();
      if (busy) {
        (void)calls(*account, scopes_of(1), count);
      } else {
        ::sleep(60);
      }
      ::_exit(0);
    }
    others.push_back(child);
  }
  char byte = 0;
  for (std::size_t i = 0; i < others.size(); ++i) {
    if (::read(ready[0], &byte, 1) != 1) std::abort();
  }
  std::vector<double> times;
  {
    const auto account = open(folder, {});
    times = calls(*account, scopes_of(1), count);
  }
  for (const pid_t other : others) {
    if (!busy) ::kill(other, SIGKILL);
    ::waitpid(other, nullptr, 0);
  }
  {
    const auto last = open(folder, {});
  }
  report(what, std::move(times), exact(folder, busy ? std::int64_t{count} * processes : count));
}

template <typename Work>
void rate(const char* what, std::int64_t records, Work work) {
  const auto begin = Clock::now();
  const bool good = work();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  std::printf("{\"what\": \"%s\", \"records_per_s\": %.0f, \"exact\": %s}\n", what,
              static_cast<double>(records) / seconds, good ? "true" : "false");
  std::fflush(stdout);
}

// Records of a call that goes on, 72 bytes each, encoded, numbered and summed.
void append(const char* what, const std::string& folder, base::Files& files, int count) {
  if (!files.create_folder(folder).ok()) std::abort();
  auto writer = money::LedgerWriter::begin(files, folder, 1, base::system_clock().wall(),
                                           money::Durability::kProcess);
  if (!writer) std::abort();
  money::Record record;
  record.type = money::RecordType::kProgress;
  record.id = {1, 1};
  rate(what, count, [&] {
    for (int i = 0; i < count; ++i) {
      record.tokens = i;
      if (!(*writer)->append(record).ok()) return false;
    }
    return true;
  });
}

void replay(const std::string& folder, std::int64_t calls) {
  money::LedgerReport found = money::verify_ledger(base::system_files(), folder).value();
  rate("verify", found.records, [&] { return exact(folder, calls); });
  rate("replay into an account", found.records, [&] {
    const auto account = open(folder, {});
    return account->budgets("user:7").value().at(0).used == static_cast<std::int64_t>(found.spent);
  });
}

void run_one(const std::string& folder, int count, const std::string& only) {
  Forward written(base::system_files());
  if (only == "mapped") on_disk("mapped ledger, 1 scope", folder + "/mapped", {}, 1, count);
  if (only == "mapped8") on_disk("mapped ledger, 8 scopes", folder + "/mapped8", {}, 8, count);
  if (only == "written") {
    on_disk("written ledger, 1 scope", folder + "/written", {.files = &written}, 1, count);
  }
  if (only == "memory") in_memory("no ledger, 1 scope", 1, count);
  if (only == "threads") threads_in_memory("no ledger, 8 threads", 8, count);
}

int run(const std::string& folder, int count, const std::string& only) {
  if (!only.empty()) {
    run_one(folder, count, only);
    return 0;
  }
  in_memory("no ledger, 1 scope", 1, count);
  in_memory("no ledger, 8 scopes", 8, count);
  on_disk("mapped ledger, 1 scope", folder + "/mapped", {}, 1, count);
  replay(folder + "/mapped", count);
  Forward written(base::system_files());
  on_disk("written ledger, 1 scope", folder + "/written", {.files = &written}, 1, count);
  on_disk("mapped ledger, 8 scopes", folder + "/mapped8", {}, 8, count);
  on_disk("synced ledger, 1 scope", folder + "/synced", {.durability = money::Durability::kPower},
          1, count / 1000 + 10);
  threads_in_memory("no ledger, 8 threads", 8, count);
  append("one write a record", folder + "/append", written, count);
  append("mapped records", folder + "/append_mapped", base::system_files(), count);
  with_threads("mapped ledger, 8 threads", folder + "/threads", 8, count);
  with_processes("4 processes, 3 idle", folder + "/idle", 4, false, count);
  with_processes("4 processes, 4 busy", folder + "/busy", 4, true, count / 4);
  return 0;
}

}  // namespace
}  // namespace dure

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: dure_money_bench FOLDER [CALLS]\n");
    return 2;
  }
  return dure::run(argv[1], argc > 2 ? std::atoi(argv[2]) : 200'000, argc > 3 ? argv[3] : "");
}
