// A store whose process dies, or whose disk fails, at each call that changes a file: what was
// acknowledged is there, what was under way is there as a whole or not at all.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>

#include "dure/index/store.h"
#include "failing_disk.h"

namespace dure::index {
namespace {

using dure::testing::Fault;

constexpr std::size_t kDim = 4;
constexpr std::size_t kLongDim = 6;  // of the model that takes over
constexpr std::size_t kSteps = 14;

std::size_t dim_of(bool taken_over) { return taken_over ? kLongDim : kDim; }

std::vector<float> vector_of(const std::string& id, bool taken_over) {
  const base::Sha256Digest digest = base::sha256(id);
  std::vector<float> vector(dim_of(taken_over));
  for (std::size_t i = 0; i < vector.size(); ++i) {
    vector[i] = static_cast<float>(digest[i]) - (taken_over ? 100.5F : 128.5F);
  }
  return vector;
}

// What a store must hold: ids with a version that stands in text and metadata.
struct Truth {
  std::map<std::string, int> rows;
  bool taken_over = false;  // by the second model
  bool operator==(const Truth&) const = default;
};

std::string text_of(const std::string& id, int version) {
  return "text of " + id + " in version " + std::to_string(version);
}

UpsertIn rows_of(const std::vector<std::string>& ids, int version, bool taken_over) {
  UpsertIn in;
  in.dim = dim_of(taken_over);
  in.model = taken_over ? ModelIn{"second", "f2"} : ModelIn{"first", "f1"};
  for (const std::string& id : ids) {
    RowIn row;
    row.id = id;
    row.text = text_of(id, version);
    row.metadata = "{\"v\":" + std::to_string(version) + "}";
    row.vector = static_cast<std::int64_t>(in.rows.size());
    in.rows.push_back(row);
    const auto vector = vector_of(id, taken_over);
    in.vectors.insert(in.vectors.end(), vector.begin(), vector.end());
  }
  return in;
}

std::vector<std::string> names(std::size_t begin, std::size_t end, std::size_t stride = 1) {
  std::vector<std::string> ids;
  for (std::size_t i = begin; i < end; i += stride) ids.push_back("r" + std::to_string(i));
  return ids;
}

// One step of the work: what it does to the store, and to the truth.
struct Step {
  std::function<base::Status(const Collection&)> act;
  std::function<void(Truth&)> then;
};

Step put(std::vector<std::string> ids, int version, bool taken_over = false) {
  return {[=](const Collection& col) {
            auto done = col.upsert(rows_of(ids, version, taken_over));
            return done ? base::Status() : done.error();
          },
          [=](Truth& truth) {
            for (const std::string& id : ids) truth.rows[id] = version;
          }};
}

Step drop(std::vector<std::string> ids) {
  return {[=](const Collection& col) {
            auto done = col.remove(ids);
            return done ? base::Status() : done.error();
          },
          [=](Truth& truth) {
            for (const std::string& id : ids) truth.rows.erase(id);
          }};
}

Step seal() {
  return {[](const Collection& col) { return col.optimize(); }, [](Truth&) {}};
}

base::Status reembed(const Collection& col) {
  const ModelIn model{"second", "f2"};
  if (base::Status status = col.begin_reembed(model, kLongDim); !status.ok()) return status;
  for (std::int64_t after = 0;;) {
    auto page = col.reembed_page(after, 30, false);
    if (!page) return page.error();
    std::vector<Reembedded> rows;
    std::vector<float> vectors;
    for (const ReembedRow& row : page->rows) {
      const std::string id = row.text.substr(8, row.text.find(" in ") - 8);
      rows.push_back({row.chunk, row.content, static_cast<std::int64_t>(rows.size())});
      const auto vector = vector_of(id, true);
      vectors.insert(vectors.end(), vector.begin(), vector.end());
    }
    if (base::Status status = col.put_reembedded(model, rows, vectors, kLongDim); !status.ok()) {
      return status;
    }
    after = page->next;
    if (after == 0) break;
  }
  const auto done = col.finish_reembed(model);
  if (!done) return done.error();
  return *done ? base::Status() : base::Status(base::Code::kInternal, "rows came meanwhile");
}

// Every way in which the store writes: commits, a seal, a compaction with a second seal, a new
// generation of vectors.
std::vector<Step> work() {
  std::vector<Step> steps{put(names(0, 60), 1),
                          put(names(60, 130), 1),
                          drop(names(0, 20, 2)),
                          seal(),
                          put(names(10, 18), 2),
                          put(names(130, 140), 1),
                          drop(names(80, 130)),
                          seal(),
                          put(names(0, 4), 3),
                          {reembed, [](Truth& truth) { truth.taken_over = true; }},
                          put(names(5, 30), 4, true),
                          drop(names(20, 25)),
                          seal(),
                          put(names(200, 205), 1, true)};
  EXPECT_EQ(steps.size(), kSteps);
  return steps;
}

StoreOptions options() {
  StoreOptions made;
  made.seal.part_rows = 64;
  made.seal.smallest = 32;
  made.seal.seal_rows = 64;
  made.seal.graph = {4, 16};
  made.seal.background = false;
  return made;
}

base::Result<Collection> docs(const Store& store) {
  Store::CollectionIn wanted;
  wanted.name = "docs";
  return store.collection(wanted);
}

// In a child. Says by one byte before and one after each step how far it came; ends at a failure.
[[noreturn]] void run_child(const std::string& folder, int report, Fault fault, std::int64_t at,
                            std::uint32_t seed) {
  const auto say = [report](char word) { (void)syscall(SYS_write, report, &word, 1); };
  dure::testing::arm_disk(fault, at, seed);
  auto store = Store::open(folder, options());
  auto col = store ? docs(*store) : base::Result<Collection>(base::fail(store.error()));
  if (!col) ::_exit(col.error().code() == base::Code::kIo ? 0 : 3);
  for (const Step& step : work()) {
    say('b');
    const base::Status status = step.act(*col);
    if (status.ok()) {
      say('a');
      continue;
    }
    // A failed disk: typed, and what is there can still be read.
    const bool typed = status.code() == base::Code::kIo;
    const bool reads = col->count(std::nullopt).has_value() && col->scroll({}, 3, {}, false);
    ::_exit(typed && reads ? 0 : 4);
  }
  const std::int64_t count = dure::testing::disk_calls();
  (void)syscall(SYS_write, report, &count, sizeof(count));
  store->close();
  ::_exit(0);
}

struct Outcome {
  std::size_t begun = 0;
  std::size_t acknowledged = 0;
  std::int64_t calls = 0;  // if it came to the end
  int status = 0;
};

Outcome run(const std::string& folder, Fault fault, std::int64_t at, std::uint32_t seed) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) run_child(folder, ends[1], fault, at, seed);
  ::close(ends[1]);
  std::string said;
  char buffer[256];
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
    said.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  Outcome out;
  EXPECT_EQ(::waitpid(child, &out.status, 0), child);
  for (std::size_t i = 0; i < said.size() && i < 2 * kSteps; ++i) {
    (said[i] == 'b' ? out.begun : out.acknowledged) += 1;
  }
  if (said.size() > 2 * kSteps) {
    std::memcpy(&out.calls, said.data() + 2 * kSteps, sizeof(out.calls));
  }
  return out;
}

Truth truth_after(std::size_t steps) {
  Truth truth;
  const auto all = work();
  for (std::size_t i = 0; i < steps; ++i) all[i].then(truth);
  return truth;
}

// What the store holds; every row is looked at, and a part of them looked for.
Truth read_all(const Store& store) {
  Truth truth;
  const Collection col = docs(store).value();
  const CollectionInfo info = col.info().value();
  truth.taken_over = info.model == "second";
  const Page page = col.scroll({}, 100'000, {}, true).value();
  for (const Row& row : page.rows) {
    int version = 0;
    EXPECT_EQ(std::sscanf(row.metadata.c_str(), "{\"v\":%d}", &version), 1) << row.metadata;
    EXPECT_TRUE(truth.rows.emplace(row.id, version).second) << row.id << " stands twice";
    EXPECT_EQ(row.text, text_of(row.id, version));
    EXPECT_EQ(row.vector, vector_of(row.id, truth.taken_over)) << row.id;
  }
  EXPECT_EQ(col.count({}).value(), page.rows.size());
  for (std::size_t i = 0; i < page.rows.size(); i += page.rows.size() / 7 + 1) {
    QueryIn query;
    query.vector = page.rows[i].vector;
    query.top_k = 3;
    query.ef = 2000;
    const auto hits = col.query(query).value().hits;
    EXPECT_TRUE(std::any_of(hits.begin(), hits.end(), [](const Hit& hit) {
      return hit.score > 0.9999;
    })) << page.rows[i].id;
  }
  const VerifyOut sound = store.verify().value();
  EXPECT_EQ(sound.rows, page.rows.size());
  EXPECT_TRUE(sound.damaged.empty()) << sound.damaged.front().what;
  return truth;
}

std::string fresh_folder(std::uint64_t number) {
  const std::string folder = ::testing::TempDir() + "dure_store_kill/" + std::to_string(number);
  std::filesystem::remove_all(folder);
  return folder;
}

// One fault, perhaps one more in the recovery from it, and what is there then.
void check_fault(Fault fault, std::int64_t at, std::uint32_t seed) {
  SCOPED_TRACE("fault " + std::to_string(static_cast<int>(fault)) + " at call " +
               std::to_string(at) + ", seed " + std::to_string(seed));
  const std::string folder = fresh_folder(seed % 4);
  const Outcome out = run(folder, fault, at, seed);
  EXPECT_TRUE(WIFSIGNALED(out.status) ? WTERMSIG(out.status) == SIGKILL
                                      : WEXITSTATUS(out.status) == 0)
      << out.status;
  if (seed % 3 == 0) {  // a child that opens it and dies on the way
    const pid_t child = ::fork();
    if (child == 0) {
      dure::testing::arm_disk(Fault::kKill, 1 + seed % 9, seed);
      auto again = Store::open(folder, options());
      auto col = again ? docs(*again) : base::Result<Collection>(base::fail(again.error()));
      if (col) (void)col->count({});
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
  }
  auto store = Store::open(folder, options());
  ASSERT_TRUE(store.has_value()) << store.error().message();
  const Truth found = read_all(*store);
  const Truth sure = truth_after(out.acknowledged);
  if (out.begun == out.acknowledged) {
    EXPECT_EQ(found, sure);
  } else {
    const Truth both = truth_after(out.begun);
    EXPECT_TRUE(found == sure || found == both)
        << found.rows.size() << " rows, " << sure.rows.size() << " or " << both.rows.size()
        << " expected after " << out.acknowledged << " steps";
  }
  store->close();
  std::filesystem::remove_all(folder);
}

std::int64_t points(std::int64_t otherwise) {
  const char* wanted = std::getenv("DURE_KILL_POINTS");
  return wanted == nullptr ? otherwise : std::atoll(wanted);
}

TEST(StoreKill, WorkWithoutFaultsEndsAsExpected) {
  const std::string folder = fresh_folder(9);
  const Outcome out = run(folder, Fault::kNone, 0, 0);
  ASSERT_EQ(out.status, 0);
  ASSERT_EQ(out.acknowledged, kSteps);
  EXPECT_GT(out.calls, 100);
  const Store store = Store::open(folder, options()).value();
  EXPECT_EQ(read_all(store), truth_after(kSteps));
  store.close();
  std::filesystem::remove_all(folder);
}

// Points spread over all calls, each in turn with the four ways to die; more than there are calls:
// from the start again, with other seeds.
TEST(StoreKill, AtEveryCall) {
  const std::string folder = fresh_folder(9);
  const std::int64_t calls = run(folder, Fault::kNone, 0, 0).calls;
  std::filesystem::remove_all(folder);
  ASSERT_GT(calls, 0);
  const std::int64_t wanted = points(200);
  constexpr Fault kWays[] = {Fault::kKill, Fault::kTear, Fault::kPowerLoss};
  for (std::int64_t i = 0; i < wanted && !HasFailure(); ++i) {
    const std::int64_t at = wanted <= calls ? 1 + i * calls / wanted : 1 + i % calls;
    check_fault(kWays[(i + i / calls) % 3], at, static_cast<std::uint32_t>(i));
  }
}

TEST(StoreKill, DiskFullOrBrokenIsTyped) {
  const std::string folder = fresh_folder(9);
  const std::int64_t calls = run(folder, Fault::kNone, 0, 0).calls;
  std::filesystem::remove_all(folder);
  const std::int64_t wanted = points(200) / 5;
  for (std::int64_t i = 0; i < wanted && !HasFailure(); ++i) {
    const std::int64_t at = wanted <= calls ? 1 + i * calls / wanted : 1 + i % calls;
    check_fault(i % 2 == 0 ? Fault::kNoSpace : Fault::kBadDisk, at, static_cast<std::uint32_t>(i));
  }
}

}  // namespace
}  // namespace dure::index
