#include "dure/index/store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <thread>

#include "dure/base/files.h"
#include "fake_random.h"

namespace dure::index {
namespace {

constexpr std::size_t kDim = 24;

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() : folder_(::testing::TempDir() + "dure_store_test/" + name()) {
    for (const std::string& old : files(folder_)) {
      (void)base::system_files().remove(folder_ + "/" + old);
    }
    options_.seal.part_rows = 256;
    options_.seal.seal_rows = 1024;
    options_.seal.graph = {16, 80};
    options_.seal.background = false;
  }
  static std::vector<std::string> files(const std::string& folder) {
    return base::system_files().list(folder).value_or(std::vector<std::string>());
  }
  static std::string name() {
    return ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  [[nodiscard]] std::vector<std::string> segment_files() const {
    std::vector<std::string> found = files(folder_);
    std::erase_if(found, [](const std::string& file) { return !file.ends_with(".dure"); });
    return found;
  }
  Store open() { return Store::open(folder_, options_).value(); }
  static Collection docs(const Store& store, Metric metric = Metric::kCosine) {
    return store.collection({.name = "docs", .tenant = "", .dim = kDim, .metric = metric}).value();
  }
  std::vector<float> vector() {
    std::vector<float> made(kDim);
    for (float& v : made) v = static_cast<float>(random_.uniform() - 0.5);
    return made;
  }
  UpsertIn rows(std::size_t begin, std::size_t end) {
    UpsertIn in;
    in.dim = kDim;
    for (std::size_t i = begin; i < end; ++i) {
      RowIn row;
      row.id = "r" + std::to_string(i);
      row.text = "word" + std::to_string(i % 7) + " text";
      row.metadata = "{\"n\":" + std::to_string(i) + "}";
      row.vector = static_cast<std::int64_t>(in.rows.size());
      in.rows.push_back(row);
      const auto made = vector();
      in.vectors.insert(in.vectors.end(), made.begin(), made.end());
    }
    return in;
  }
  static QueryIn near(std::vector<float> vector, std::int64_t top_k = 10) {
    QueryIn query;
    query.vector = std::move(vector);
    query.top_k = top_k;
    return query;
  }

  std::string folder_;
  StoreOptions options_;
  testing::FakeRandom random_{11};
};

TEST_F(StoreTest, KeepsWhatWasAcknowledged) {
  {
    const Store store = open();
    EXPECT_EQ(docs(store).upsert(rows(0, 3)).value(), (std::vector<std::string>{"r0", "r1", "r2"}));
    store.close();
    EXPECT_EQ(docs(open()).count({}).value(), 3U);
  }
  const Store store = open();
  const Collection col = docs(store);
  const Row row = col.get({"r1"}, true).value().front();
  EXPECT_EQ(row.text, "word1 text");
  EXPECT_EQ(row.metadata, "{\"n\":1}");
  EXPECT_EQ(row.vector.size(), kDim);
}

// Exact answers by hand, for each metric, over flat parts and over a graph with every row in ef.
TEST_F(StoreTest, EqualsBruteForceForEachMetric) {
  for (const Metric metric : {Metric::kCosine, Metric::kInnerProduct, Metric::kL2}) {
    folder_ = ::testing::TempDir() + "dure_store_test/" + name() + std::string(name_of(metric));
    for (const std::string& old : files(folder_)) {
      (void)base::system_files().remove(folder_ + "/" + old);
    }
    const Store store = open();
    const Collection col = docs(store, metric);
    const UpsertIn in = rows(0, 1500);
    ASSERT_TRUE(col.upsert(in).has_value());
    for (const bool sealed : {false, true}) {
      if (sealed) {
        ASSERT_TRUE(col.optimize().ok());
      }
      for (int round = 0; round < 20; ++round) {
        const auto question = vector();
        std::vector<std::pair<double, std::string>> truth;
        double own = 0;
        for (const float q : question) own += static_cast<double>(q) * q;
        for (std::size_t i = 0; i < in.rows.size(); ++i) {
          double product = 0;
          double squares = 0;
          for (std::size_t j = 0; j < kDim; ++j) {
            const double v = in.vectors[i * kDim + j];
            product += v * question[j];
            squares += v * v;
          }
          const double score = metric == Metric::kCosine ? product / std::sqrt(squares * own)
                               : metric == Metric::kInnerProduct ? product
                                                                 : 2 * product - squares - own;
          truth.emplace_back(-score, in.rows[i].id);
        }
        std::sort(truth.begin(), truth.end());
        QueryIn query = near(question);
        query.ef = 1500;
        const QueryOut out = col.query(query).value();
        ASSERT_EQ(out.hits.size(), 10U);
        EXPECT_EQ(out.plan.segments, sealed ? 1U : 0U);
        for (std::size_t k = 0; k < 10; ++k) {
          EXPECT_NEAR(out.hits[k].score, -truth[k].first, 1e-4);
          if (truth[k + 1].first - truth[k].first > 1e-4 &&
              (k == 0 || truth[k].first - truth[k - 1].first > 1e-4)) {
            EXPECT_EQ(out.hits[k].row.id, truth[k].second) << sealed;
          }
        }
      }
    }
  }
}

TEST_F(StoreTest, GraphIsUsedAndItsRecallHolds) {
  const Store store = open();
  const Collection col = docs(store);
  ASSERT_TRUE(col.upsert(rows(0, 4000)).has_value());
  std::vector<std::vector<float>> questions;
  std::vector<QueryOut> exact;
  for (int i = 0; i < 50; ++i) {
    questions.push_back(vector());
    exact.push_back(col.query(near(questions.back())).value());
    EXPECT_EQ(exact.back().plan.vector, "flat");
  }
  ASSERT_TRUE(col.optimize().ok());
  std::size_t found = 0;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    QueryIn query = near(questions[i]);
    query.ef = 200;
    const QueryOut out = col.query(query).value();
    EXPECT_EQ(out.plan.vector, "graph");
    EXPECT_LT(out.plan.distances, 4000U);
    for (const Hit& hit : out.hits) {
      found += static_cast<std::size_t>(
          std::any_of(exact[i].hits.begin(), exact[i].hits.end(),
                      [&hit](const Hit& other) { return other.row.id == hit.row.id; }));
    }
  }
  EXPECT_GE(found, 475U);  // 95 % of 500
}

TEST_F(StoreTest, DamagedSegmentIsServedFlatAndBuiltAgain) {
  std::vector<float> question = vector();
  std::vector<std::string> before;
  {
    const Store store = open();
    ASSERT_TRUE(docs(store).upsert(rows(0, 1500)).has_value());
    ASSERT_TRUE(docs(store).optimize().ok());
    const QueryOut out = docs(store).query(near(question)).value();
    for (const Hit& hit : out.hits) before.push_back(hit.row.id);
    store.close();
  }
  std::string segment;
  for (const std::string& file : files(folder_)) {
    if (file.ends_with(".dure")) segment = folder_ + "/" + file;
  }
  const std::string sound = base::system_files().read(segment).value();
  std::vector<std::string> damaged{"", sound.substr(0, 100), sound.substr(0, sound.size() - 1)};
  for (int i = 0; i < 40; ++i) {
    std::string flipped = sound;
    const std::size_t at = i < 10 ? static_cast<std::size_t>(i) * 20
                                  : static_cast<std::size_t>(random_.next() % sound.size());
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << (random_.next() % 8)));
    damaged.push_back(std::move(flipped));
  }
  for (const std::string& bytes : damaged) {
    std::ofstream(segment, std::ios::binary | std::ios::trunc) << bytes;
    const Store store = open();
    const QueryOut out = docs(store).query(near(question)).value();
    EXPECT_EQ(out.plan.vector, "flat");
    EXPECT_EQ(docs(store).count({}).value(), 1500U);
    ASSERT_EQ(out.hits.size(), before.size());
    store.close();
  }
  const Store store = open();
  ASSERT_TRUE(docs(store).optimize().ok());
  EXPECT_EQ(docs(store).query(near(question)).value().plan.vector, "graph");
}

// Chunk numbers rise within what is sealed together, whatever is damaged before it.
TEST_F(StoreTest, ADamagedSegmentBeforeOthersIsBuiltAgain) {
  options_.seal.seal_rows = 256;
  options_.seal.builders = 3;
  options_.seal.background = true;
  std::vector<std::string> segments;
  {
    const Store store = open();
    const Collection col = docs(store);
    ASSERT_TRUE(col.upsert(rows(0, 1600)).has_value());
    for (int wait = 0; wait < 3000; ++wait) {
      if (col.query(near(vector())).value().plan.segments >= 2) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    store.close();
  }
  segments = segment_files();
  ASSERT_GE(segments.size(), 2U);
  options_.seal.background = false;
  const auto question = vector();
  for (const std::string& damaged : segments) {
    const std::string path = folder_ + "/" + damaged;
    const std::string sound = base::system_files().read(path).value();
    std::ofstream(path, std::ios::binary | std::ios::trunc) << sound.substr(0, sound.size() / 2);
    {
      const Store store = open();
      EXPECT_EQ(docs(store).count({}).value(), 1600U);
      EXPECT_EQ(docs(store).query(near(question, 1600)).value().hits.size(), 1600U);
      store.close();
    }
    std::ofstream(path, std::ios::binary | std::ios::trunc) << sound;
  }
  const std::string first = folder_ + "/" + segments.front();
  std::ofstream(first, std::ios::binary | std::ios::trunc) << "torn";
  const Store store = open();
  ASSERT_TRUE(docs(store).optimize().ok());
  EXPECT_EQ(segment_files().size(), 1U);
  const QueryOut out = docs(store).query(near(question)).value();
  EXPECT_EQ(out.plan.vector, "graph");
  EXPECT_EQ(out.plan.segments, 1U);
  EXPECT_TRUE(store.verify().value().damaged.empty());
}

// Bulk loads are sealed by several threads, and merged until few segments are left.
TEST_F(StoreTest, SegmentsAreBuiltAtOnceAndStayFew) {
  options_.seal.background = true;
  options_.seal.part_rows = 128;
  options_.seal.seal_rows = 256;
  options_.seal.builders = 4;
  const Store store = open();
  const Collection col = docs(store);
  for (std::size_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(col.upsert(rows(i * 200, i * 200 + 200)).has_value());
  }
  QueryOut out;
  for (int wait = 0; wait < 3000; ++wait) {
    out = col.query(near(vector())).value();
    if (out.plan.flat_rows < 256 && out.plan.segments <= 6) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_LT(out.plan.flat_rows, 256U);
  EXPECT_LE(out.plan.segments, 6U);
  EXPECT_EQ(col.query(near(vector(), 10000)).value().hits.size(), 8000U);
  store.close();
  EXPECT_LE(segment_files().size(), 6U);
}

// Beyond the memory that segments may take, rows are kept as product codes and read anew.
TEST_F(StoreTest, ProductCodesBeyondMemory) {
  for (const Metric metric : {Metric::kCosine, Metric::kL2}) {
    folder_ = ::testing::TempDir() + "dure_store_test/" + name() + std::string(name_of(metric));
    for (const std::string& old : files(folder_)) {
      (void)base::system_files().remove(folder_ + "/" + old);
    }
    options_.seal.segment_memory = 1;
    options_.seal.brute_rows = 1600;
    std::vector<std::vector<float>> questions;
    std::vector<QueryOut> exact;
    {
      const Store store = open();
      const Collection col = docs(store, metric);
      ASSERT_TRUE(col.upsert(rows(0, 6000)).has_value());
      for (int i = 0; i < 20; ++i) {
        questions.push_back(vector());
        exact.push_back(col.query(near(questions.back())).value());
      }
      ASSERT_TRUE(col.optimize().ok());
      store.close();
    }
    const Store store = open();
    const Collection col = docs(store, metric);
    std::size_t found = 0;
    for (std::size_t i = 0; i < questions.size(); ++i) {
      QueryIn query = near(questions[i]);
      query.ef = 400;
      const QueryOut out = col.query(query).value();
      EXPECT_EQ(out.plan.vector, "ivfpq");
      EXPECT_LT(out.plan.distances, 6000U);
      for (const Hit& hit : out.hits) {
        for (const Hit& other : exact[i].hits) {
          if (hit.row.id != other.row.id) continue;
          ++found;
          EXPECT_EQ(hit.score, other.score);  // read in single precision
        }
      }
    }
    EXPECT_GE(found, 180U) << name_of(metric);  // 90 % of 200
    QueryIn few = near(questions[0]);
    few.where = "{\"n\":{\"$lt\":50}}";
    EXPECT_EQ(col.query(few).value().plan.vector, "filter+flat");
    QueryIn half = near(questions[0]);
    half.where = "{\"n\":{\"$lt\":3000}}";
    const QueryOut out = col.query(half).value();
    EXPECT_EQ(out.plan.vector, "filter+ivfpq");
    EXPECT_EQ(out.hits.size(), 10U);
    QueryIn all = near(questions[0], 6000);
    EXPECT_EQ(col.query(all).value().hits.size(), 6000U);
    const std::string segment = folder_ + "/" + segment_files().front();
    const auto bytes = base::system_files().read(segment).value();
    EXPECT_LT(bytes.size(), 6000 * (kDim * 4 + kDim / 4 + 60) + 200'000);
    ASSERT_TRUE(col.upsert(rows(6000, 6500)).has_value());
    ASSERT_TRUE(col.optimize().ok());  // of product codes and flat rows
    EXPECT_EQ(col.query(near(questions[0], 6500)).value().hits.size(), 6500U);
    store.close();
    options_.seal.segment_memory = 0;
    const Store roomy = open();
    ASSERT_TRUE(docs(roomy, metric).upsert(rows(6500, 6501)).has_value());
    ASSERT_TRUE(docs(roomy, metric).optimize().ok());  // codes made anew
    const QueryOut graph = docs(roomy, metric).query(near(questions[1])).value();
    EXPECT_EQ(graph.plan.vector, "graph");
    roomy.close();
    std::string torn = base::system_files().read(folder_ + "/" + segment_files().front()).value();
    torn[torn.size() / 3] = static_cast<char>(torn[torn.size() / 3] ^ 4);
    std::ofstream(folder_ + "/" + segment_files().front(), std::ios::binary | std::ios::trunc)
        << torn;
    const Store last = open();
    EXPECT_EQ(docs(last, metric).count({}).value(), 6501U);
    EXPECT_EQ(last.verify().value().damaged.front().what, "segment");
    last.close();
  }
}

TEST_F(StoreTest, RefusesWithoutWritingAnything) {
  const Store store = open();
  const Collection col = docs(store);
  UpsertIn zero = rows(0, 2);
  std::fill(zero.vectors.begin() + kDim, zero.vectors.end(), 0.0F);
  EXPECT_EQ(col.upsert(zero).error().leaf(), "InvalidVectorError");
  EXPECT_EQ(std::get<std::int64_t>(*col.upsert(zero).error().detail("row")), 1);
  UpsertIn nan = rows(0, 1);
  nan.vectors[3] = std::nanf("");
  EXPECT_EQ(col.upsert(nan).error().leaf(), "InvalidVectorError");
  UpsertIn twice = rows(0, 2);
  twice.rows[1].id = "r0";
  EXPECT_EQ(col.upsert(twice).error().code(), base::Code::kInvalidArgument);
  UpsertIn other = rows(0, 1);
  other.dim = kDim / 2;
  EXPECT_EQ(col.upsert(other).error().leaf(), "DimensionMismatchError");
  EXPECT_EQ(col.query(near({1.0F, 2.0F})).error().leaf(), "DimensionMismatchError");
  UpsertIn model = rows(0, 1);
  model.model = {"a", "fa"};
  EXPECT_TRUE(col.upsert(model).has_value());
  model.model = {"b", "fb"};
  EXPECT_EQ(col.upsert(model).error().leaf(), "ModelMismatchError");
  QueryIn wrong = near(vector());
  wrong.where = "{\"n\":{\"$what\":1}}";
  EXPECT_EQ(col.query(wrong).error().leaf(), "FilterError");
  EXPECT_EQ(col.query(near(vector(), 0)).error().code(), base::Code::kInvalidArgument);
  EXPECT_EQ(col.count({}).value(), 1U);
}

TEST_F(StoreTest, DocumentIsReplacedInOneCommit) {
  const Store store = open();
  const Collection col = docs(store);
  const auto write = [&](const std::vector<std::string>& texts) {
    UpsertIn in;
    in.dim = kDim;
    in.document = DocumentIn{.id = "doc", .source = {}, .size = {}, .content_hash = "h"};
    for (const std::string& text : texts) {
      RowIn row;
      row.text = text;
      row.content = base::sha256(text);
      row.vector = static_cast<std::int64_t>(in.rows.size());
      in.rows.push_back(row);
      const auto made = vector();
      in.vectors.insert(in.vectors.end(), made.begin(), made.end());
    }
    return col.upsert(in).value();
  };
  const auto first = write({"one", "two", "two", "three"});
  const auto second = write({"two", "three", "four"});
  EXPECT_EQ(second[0], first[1]);  // the first "two" keeps its id
  EXPECT_EQ(second[1], first[3]);
  EXPECT_EQ(col.count({}).value(), 3U);
  EXPECT_EQ(col.get({first[0]}, false).error().code(), base::Code::kNotFound);
  EXPECT_EQ(col.document("doc").value()->chunks, 3);
  EXPECT_EQ(col.has_vectors({base::sha256("four"), base::sha256("five")}).value(),
            (std::vector<bool>{true, false}));
  EXPECT_EQ(col.remove_documents({"doc", "other"}).value(), 1U);
  EXPECT_EQ(col.count({}).value(), 0U);
}

TEST_F(StoreTest, DeletingAndAddingAgainDoesNotGrow) {
  const auto six_rounds = [&] {
    const Store store = open();
    const Collection col = docs(store);
    for (int round = 0; round < 6; ++round) {
      EXPECT_TRUE(col.upsert(rows(0, 1200)).has_value());
      EXPECT_TRUE(col.optimize().ok());
      EXPECT_EQ(col.count({}).value(), 1200U);
    }
  };
  const auto size = [&] {
    std::ifstream file(folder_ + "/store.db", std::ios::binary | std::ios::ate);
    return static_cast<std::int64_t>(file.tellg());
  };
  six_rounds();
  const std::int64_t early = size();
  six_rounds();
  EXPECT_LE(size(), early * 11 / 10);
  EXPECT_GT(early, 100'000);
  std::size_t segments = 0;
  for (const std::string& file : files(folder_)) {
    segments += file.ends_with(".dure") ? 1 : 0;
  }
  EXPECT_EQ(segments, 1U);
}

TEST_F(StoreTest, ManyThreadsWriteReadAndSeal) {
  options_.seal.background = true;
  const Store store = open();
  const Collection col = docs(store);
  std::vector<UpsertIn> batches;
  for (std::size_t i = 0; i < 40; ++i) batches.push_back(rows(i * 100, i * 100 + 100));
  const auto question = vector();
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      EXPECT_TRUE(col.query(near(question)).has_value());
      QueryIn filtered = near(question);
      filtered.where = "{\"n\":{\"$lt\":500}}";
      EXPECT_TRUE(col.query(filtered).has_value());
    }
  });
  std::vector<std::thread> writers;
  for (std::size_t t = 0; t < 4; ++t) {
    writers.emplace_back([&, t] {
      for (std::size_t i = t; i < batches.size(); i += 4) {
        EXPECT_TRUE(col.upsert(batches[i]).has_value());
        EXPECT_EQ(col.remove({"r" + std::to_string(i * 100)}).value(), 1U);
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  stop = true;
  reader.join();
  EXPECT_EQ(col.count({}).value(), 40U * 99U);
  QueryIn all = near(question, 10000);
  EXPECT_EQ(col.query(all).value().hits.size(), 40U * 99U);
  store.close();
  EXPECT_EQ(docs(open()).count({}).value(), 40U * 99U);
}

TEST_F(StoreTest, AForkedChildOpensItAgain) {
  const Store store = open();
  const Collection col = docs(store);
  ASSERT_TRUE(col.upsert(rows(0, 10)).has_value());
  const pid_t child = ::fork();
  if (child == 0) {
    const bool sees = col.count({}).value_or(0) == 10 && col.upsert(rows(10, 20)).has_value();
    ::_exit(sees ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(col.count({}).value(), 20U);
}

TEST_F(StoreTest, TwoStoresOnOneFolderSeeEachOther) {
  const Store one = open();
  const Store two = open();
  const Collection a = docs(one);
  const Collection b = docs(two);
  for (std::size_t i = 0; i < 20; ++i) {
    ASSERT_TRUE((i % 2 == 0 ? a : b).upsert(rows(i * 5, i * 5 + 5)).has_value());
    EXPECT_EQ(a.count({}).value(), 5 * (i + 1));
    EXPECT_EQ(b.count({}).value(), 5 * (i + 1));
  }
  EXPECT_EQ(a.remove({"r3"}).value(), 1U);
  EXPECT_EQ(b.count({}).value(), 99U);
  ASSERT_TRUE(a.optimize().ok());
  EXPECT_EQ(b.query(near(vector(), 1000)).value().hits.size(), 99U);
  ASSERT_TRUE(one.drop("docs", "").ok());
  EXPECT_EQ(b.count({}).error().code(), base::Code::kNotFound);
}

TEST_F(StoreTest, TenantsNeverSeeEachOther) {
  const Store store = open();
  const auto of = [&](const char* tenant) {
    return store
        .collection({.name = "docs", .tenant = tenant, .dim = kDim, .metric = Metric::kCosine})
        .value();
  };
  ASSERT_TRUE(of("a").upsert(rows(0, 5)).has_value());
  EXPECT_EQ(of("b").count({}).value(), 0U);
  EXPECT_EQ(of("b").get({"r1"}, false).error().code(), base::Code::kNotFound);
  EXPECT_EQ(store.collections("a").value().size(), 1U);
}

TEST_F(StoreTest, ForeignNewerAndDamagedFilesAreTyped) {
  ASSERT_TRUE(base::system_files().create_folder(folder_).ok());
  const std::string path = folder_ + "/store.db";
  std::ofstream(path) << std::string(4096, 'x');
  EXPECT_EQ(Store::open(folder_, options_).error().code(), base::Code::kCorrupt);
  EXPECT_EQ(base::system_files().read(path).value(), std::string(4096, 'x'));
  (void)base::system_files().remove(path);
  {
    open().close();
  }
  std::string bytes = base::system_files().read(path).value();
  bytes[63] = 99;  // user_version, big-endian, of the SQLite header
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  EXPECT_EQ(Store::open(folder_, options_).error().leaf(), "StoreVersionError");
  bytes[63] = 1;
  bytes[68] = 0;  // application_id
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  EXPECT_EQ(Store::open(folder_, options_).error().leaf(), "StoreVersionError");
}

TEST_F(StoreTest, ReadOnlyReadsAndNeverWrites) {
  options_.read_only = true;
  EXPECT_EQ(Store::open(folder_, options_).error().code(), base::Code::kNotFound);
  options_.read_only = false;
  const Store writer = open();
  ASSERT_TRUE(docs(writer).upsert(rows(0, 5)).has_value());
  options_.read_only = true;
  const Store store = open();
  EXPECT_EQ(docs(store).count({}).value(), 5U);
  EXPECT_EQ(docs(store).upsert(rows(5, 6)).error().code(), base::Code::kIo);
  ASSERT_TRUE(docs(writer).upsert(rows(5, 7)).has_value());
  EXPECT_EQ(docs(store).count({}).value(), 7U);
}

TEST_F(StoreTest, BackupIsAStore) {
  const Store store = open();
  ASSERT_TRUE(docs(store).upsert(rows(0, 50)).has_value());
  const std::string copy = folder_ + "_copy";
  ASSERT_TRUE(base::system_files().create_folder(copy).ok());
  for (const auto& old : files(copy)) {
    (void)base::system_files().remove(copy + "/" + old);
  }
  ASSERT_TRUE(store.backup(copy + "/store.db").ok());
  EXPECT_EQ(store.backup(copy + "/store.db").code(), base::Code::kIo);
  const Store other = Store::open(copy, options_).value();
  EXPECT_EQ(docs(other).count({}).value(), 50U);
}

std::vector<std::string> found_by(const Collection& col, const std::string& text) {
  QueryIn query;
  query.text = text;
  query.mode = SearchMode::kBm25;
  query.top_k = 5000;
  std::vector<std::string> ids;
  const QueryOut out = col.query(query).value();
  for (const Hit& hit : out.hits) ids.push_back(hit.row.id);
  return ids;
}

TEST_F(StoreTest, WordsOfASegmentAreKept) {
  std::string words;
  std::vector<std::string> before;
  {
    const Store store = open();
    const Collection col = docs(store);
    ASSERT_TRUE(col.upsert(rows(0, 2000)));
    ASSERT_TRUE(col.optimize().ok());
    for (const std::string& name : files(folder_)) {
      if (name.find(".words") != std::string::npos) words = folder_ + "/" + name;
    }
    ASSERT_FALSE(words.empty());
    ASSERT_TRUE(col.upsert(rows(1990, 2050)));  // some again, some new
    ASSERT_EQ(col.remove({"r3", "r4"}).value(), 2U);
    before = found_by(col, "word3 text");
    ASSERT_EQ(before.size(), 2048U);
  }
  {
    const Store again = open();
    EXPECT_EQ(found_by(docs(again), "word3 text"), before);
  }
  const std::string bytes = base::system_files().read(words).value();
  std::string flipped = bytes;
  flipped[40] = static_cast<char>(flipped[40] ^ 1);
  const std::vector<std::string> all_damaged = {bytes.substr(0, bytes.size() / 2), "?", flipped};
  for (const std::string& damaged : all_damaged) {
    ASSERT_TRUE(base::system_files().replace(words, damaged).ok());
    const Store again = open();
    EXPECT_EQ(found_by(docs(again), "word3 text"), before);
  }
  const Store last = open();
  ASSERT_TRUE(docs(last).optimize().ok());
  std::size_t kept = 0;
  for (const std::string& name : files(folder_))
    kept += name.find(".words") != std::string::npos ? 1U : 0U;
  EXPECT_EQ(kept, 1U) << "of the segment that is there now";
  EXPECT_EQ(found_by(docs(last), "word3 text").size(), before.size());
}

TEST_F(StoreTest, SegmentsOfOthersAreTakenUp) {
  const Store writer = open();
  const Collection col = docs(writer);
  ASSERT_TRUE(col.upsert(rows(0, 2000)));
  StoreOptions reading = options_;
  reading.read_only = true;
  reading.seal.background = true;
  const Store reader = Store::open(folder_, reading).value();
  const Collection seen = docs(reader);
  QueryIn query;
  query.vector = vector();
  query.top_k = 10;
  const QueryOut flat = seen.query(query).value();
  ASSERT_EQ(flat.plan.vector, "flat");
  ASSERT_TRUE(col.optimize().ok());
  QueryOut now;
  for (int wait = 0; wait < 3000; ++wait) {
    now = seen.query(query).value();
    if (now.plan.segments == 1) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(now.plan.vector, "graph");
  std::size_t same = 0;
  for (const Hit& hit : now.hits) {
    same += static_cast<std::size_t>(
        std::count_if(flat.hits.begin(), flat.hits.end(),
                      [&hit](const Hit& one) { return one.row.id == hit.row.id; }));
  }
  EXPECT_GE(same, 8U);
  ASSERT_TRUE(col.upsert(rows(2000, 2010)));
  EXPECT_EQ(seen.count(std::nullopt).value(), 2010U);
}

}  // namespace
}  // namespace dure::index
