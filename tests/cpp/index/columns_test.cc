#include "index/columns.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fake_random.h"

namespace dure::index {
namespace {

std::vector<std::uint64_t> all_live(std::size_t rows) {
  std::vector<std::uint64_t> live((rows + 63) / 64, 0);
  for (std::size_t row = 0; row < rows; ++row) live[row >> 6U] |= std::uint64_t{1} << (row & 63U);
  return live;
}

base::Result<Filter> parse(std::string_view where) {
  return where.starts_with('{') ? Filter::parse(where) : Filter::parse_sql(where);
}

// The matcher is the law; nothing if a row clashes.
std::optional<std::vector<bool>> by_rows(const Filter& filter, const std::vector<std::string>& rows,
                                         const std::vector<std::uint64_t>& live) {
  std::vector<bool> passes;
  FilterMatcher matcher(filter);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (!contains(live, static_cast<RowNumber>(row))) {
      passes.push_back(false);
      continue;
    }
    const auto answer = matcher.matches(rows[row]);
    if (!answer) return std::nullopt;
    passes.push_back(*answer);
  }
  return passes;
}

std::vector<bool> as_flags(const Columns::Bits& bits, const std::vector<std::uint64_t>& live,
                           std::size_t rows) {
  std::vector<bool> flags;
  for (std::size_t row = 0; row < rows; ++row) {
    const auto number = static_cast<RowNumber>(row);
    flags.push_back(contains(bits, number) && contains(live, number));
  }
  return flags;
}

TEST(Columns, SayWhatTheMatcherSays) {
  const std::vector<std::string> rows = {
      R"({"n":1,"s":"ko","b":true,"l":["a","b"],"m":[1,2.5],"deep":{"x":3},"d.e":"q"})",
      R"({"n":2.5,"s":"en","b":false,"l":[],"m":[9]})",
      R"({"n":9007199254740993,"s":"두레","l":["b",null],"deep":{"x":null}})",
      R"({"n":-3,"s":null,"l":null,"f":[true,false]})",
      R"({})",
      "",
      R"({"n":1.0,"s":"kor","deep":{"x":4},"m":[]})"};
  const std::vector<std::uint64_t> live = all_live(rows.size());
  Columns columns;
  std::size_t answered = 0;
  for (
      const char* where :
      {"n = 1",
       "n != 1",
       "n > 1 AND n <= 2.5",
       "n > 9007199254740992",
       "NOT (n > 1 OR s = 'ko')",
       "n IN (1, 2.5)",
       "n NOT IN (1, 2.5)",
       "s LIKE 'ko%'",
       "s >= 'en' AND s < 'kp'",
       "s IS NULL OR b = false",
       "b = true",
       "deep.x = 3",
       "\"d.e\" = 'q'",
       "nothing = 1",
       "NOT nothing = 1",
       "l CONTAINS 'b'",
       "l NOT CONTAINS 'b'",
       "m CONTAINS 2.5",
       "f CONTAINS true",
       "n BETWEEN 1 AND 2",
       R"({"n":{"$ne":1}})",
       R"({"s":{"$nin":["ko","en"]}})",
       R"({"l":{"$contains":"a"}})",
       R"({"l":{"$not_contains":"a"}})",
       R"({"$or":[{"n":1},{"s":"en"}]})",
       R"({"must":[{"key":"l","match":{"value":"b"}}]})",
       R"({"must":[{"key":"l","match":{"any":["a","z"]}}],"must_not":[{"key":"n","match":{"value":9}}]})",
       R"({"must":[{"key":"m","range":{"gt":2,"lte":3}}]})",
       R"({"must":[{"key":"m","range":{"gt":2,"lt":9}}]})",
       R"({"must":[{"is_empty":{"key":"l"}}]})",
       R"({"must":[{"is_null":{"key":"l"}}]})",
       R"({"must":[{"key":"s","match":{"text":"o"}}]})",
       R"({"should":[{"key":"f","match":{"value":true}},{"key":"n","range":{"lt":0}}]})"}) {
    const auto filter = parse(where);
    ASSERT_TRUE(filter) << where << ": " << filter.error().message();
    const auto wanted = by_rows(*filter, rows, live);
    ASSERT_TRUE(wanted) << where;
    const auto bits = columns.passing(*filter, rows, live);
    ASSERT_TRUE(bits) << where;
    ASSERT_TRUE(*bits) << where << " is not answered";
    EXPECT_EQ(as_flags(**bits, live, rows.size()), *wanted) << where;
    ++answered;
  }
  EXPECT_EQ(answered, 33U);
}

TEST(Columns, LeaveClashesAndRareFormsToTheRows) {
  const std::vector<std::string> rows = {R"({"n":1,"l":["a"],"o":{}})", R"({"n":"one","l":[1]})"};
  Columns columns;
  for (const char* where : {"n = 1", "n LIKE 'a'", "l CONTAINS 'a'", "l = 'a'", "o = 1",
                            R"({"must":[{"key":"l","match":{"except":["a"]}}]})"}) {
    const auto filter = parse(where);
    ASSERT_TRUE(filter);
    const auto bits = columns.passing(*filter, rows, all_live(2));
    ASSERT_TRUE(bits);
    EXPECT_FALSE(*bits) << where;
  }
  // A row that is gone clashes with nothing.
  const auto one = parse("n = 1");
  const auto bits = columns.passing(*one, rows, {1});
  ASSERT_TRUE(bits && *bits);
  EXPECT_EQ((**bits)[0] & 1U, 1U);
  const auto damaged = Columns().passing(*one, {"[]"}, all_live(1));
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code(), base::Code::kCorrupt);
}

// Rows come, rows go, fields are asked again and again: always what the matcher says.
TEST(Columns, GrowWithTheRows) {
  testing::FakeRandom random(7);
  const auto below = [&random](std::uint64_t limit) { return random.next() % limit; };
  std::vector<std::string> rows;
  std::vector<std::uint64_t> live;
  Columns columns;
  for (int round = 0; round < 60; ++round) {
    for (std::uint64_t more = below(300); more > 0; --more) {
      std::string row = "{\"x\":" + std::to_string(below(50));
      if (below(3) != 0) row += ",\"r\":" + std::to_string(below(90)) + ".5";
      if (below(3) != 0) row += ",\"w\":\"w" + std::to_string(below(20)) + "\"";
      if (below(3) != 0) {
        row += ",\"t\":[" + std::to_string(below(9)) + "," + std::to_string(below(9)) + "]";
      }
      rows.push_back(row + "}");
    }
    live.resize((rows.size() + 63) / 64, ~std::uint64_t{0});
    for (int gone = 0; gone < 5 && !rows.empty(); ++gone) {
      const std::uint64_t row = below(rows.size());
      live[row >> 6U] &= ~(std::uint64_t{1} << (row & 63U));
    }
    const std::string n = std::to_string(below(50));
    const std::string m = std::to_string(below(9));
    for (const std::string& where :
         {"x = " + n + " OR r > " + n, "NOT (x < " + n + " AND w = 'w" + m + "')",
          R"({"must":[{"key":"t","range":{"gte":)" + m + R"(,"lt":7}}],"must_not":[{"key":"x",)" +
              R"("match":{"any":[1,2,)" + n + "]}}]}",
          R"({"w":{"$in":["w1","w)" + m + R"("]},"r":{"$lt":)" + n + ".5}}"}) {
      const auto filter = parse(where);
      ASSERT_TRUE(filter) << where << filter.error().message();
      const auto bits = columns.passing(*filter, rows, live);
      ASSERT_TRUE(bits && *bits) << where;
      ASSERT_EQ(as_flags(**bits, live, rows.size()), *by_rows(*filter, rows, live)) << where;
    }
  }
  EXPECT_GT(rows.size(), 5000U);
}

}  // namespace
}  // namespace dure::index
