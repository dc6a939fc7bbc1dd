#include "dure/index/filter.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "fake_random.h"

namespace dure::index {
namespace {

using Parser = base::Result<Filter> (*)(std::string_view);

bool passes(Parser parse, std::string_view where, std::string_view row,
            std::string_view document = {}) {
  const auto filter = parse(where);
  if (!filter) {
    ADD_FAILURE() << where << ": " << filter.error().message();
    return false;
  }
  const auto answer = FilterMatcher(*filter).matches(row, document);
  if (!answer) ADD_FAILURE() << where << " on " << row << ": " << answer.error().message();
  return answer.value_or(false);
}

bool sql(std::string_view where, std::string_view row) {
  return passes(&Filter::parse_sql, where, row);
}
bool dict(std::string_view where, std::string_view row) {
  return passes(&Filter::parse, where, row);
}

void expect_filter_error(const base::Status& status, std::string_view what) {
  EXPECT_EQ(status.code(), base::Code::kInvalidArgument) << what;
  EXPECT_EQ(status.leaf(), "FilterError") << what;
  EXPECT_NE(status.detail("position"), nullptr) << what;
  ASSERT_NE(status.detail("reason"), nullptr) << what;
  EXPECT_FALSE(std::get<std::string>(*status.detail("reason")).empty()) << what;
}

constexpr std::string_view kRow =
    R"({"year":2024,"lang":"ko","price":1.5,"draft":false,"none":null,"tags":["a","b"],)"
    R"("nums":[1,5],"deep":{"x":{"y":3}},"a.b":"dotted","empty":[],"이름":"두레"})";

TEST(Filter, ReadsSql) {
  for (const char* where : {"year = 2024",
                            "year == 2024.0",
                            "year >= 2024 AND lang = 'ko'",
                            "year != 2023",
                            "lang IN ('en', 'ko')",
                            "lang not in ('en')",
                            "price BETWEEN 1 AND 2",
                            "NOT price BETWEEN 2 AND 3",
                            "lang LIKE 'k_'",
                            "lang LIKE '%o'",
                            "lang NOT LIKE 'e%'",
                            "draft = FALSE",
                            "none IS NULL",
                            "missing IS NULL",
                            "year IS NOT NULL",
                            "tags CONTAINS 'a'",
                            "tags NOT CONTAINS 'c'",
                            "deep.x.y = 3",
                            "\"a.b\" = 'dotted'",
                            "`lang` = 'ko'",
                            "이름 = '두레'",
                            "(year = 1 OR year = 2024) AND NOT draft = true",
                            "year = 1 OR year = 2 OR lang = 'ko'",
                            "year > -1e3",
                            "lang < 'z' and lang > 'ka'",
                            "year = 2024 OR year = 1 AND year = 2",
                            "price = +1.5",
                            "price = .15e1"}) {
    EXPECT_TRUE(sql(where, kRow)) << where;
  }
  for (const char* where :
       {"year < 2024", "lang = 'KO'", "lang LIKE 'k'", "lang LIKE '__o'", "NOT year = 2024",
        "missing = 1", "missing != 1", "NOT missing = 1", "none > 0", "missing NOT IN (1)",
        "missing = 1 AND year = 2024", "NOT (missing = 1 AND year = 2024)", "none IS NOT NULL"}) {
    EXPECT_FALSE(sql(where, kRow)) << where;
  }
  EXPECT_TRUE(sql("NOT (missing = 1 AND year = 1)", kRow)) << "false AND unknown is false";
  EXPECT_TRUE(sql("missing = 1 OR year = 2024", kRow));
  EXPECT_TRUE(sql("q = 'it''s'", R"({"q":"it's"})"));
}

TEST(Filter, ReadsChroma) {
  for (const char* where :
       {R"({"year":2024})", R"({"year":{"$eq":2024}})", R"({"year":{"$gte":2024,"$lt":2025}})",
        R"({"lang":{"$ne":"en"}})", R"({"missing":{"$ne":"en"}})", R"({"none":{"$nin":[1,2]}})",
        R"({"lang":{"$in":["en","ko"]}})", R"({"$and":[{"year":2024},{"lang":"ko"}]})",
        R"({"$or":[{"year":1},{"draft":false}]})", R"({"year":2024,"lang":"ko"})",
        R"({"tags":{"$contains":"a"}})", R"({"tags":{"$not_contains":"x"}})",
        R"({"missing":{"$not_contains":"x"}})", R"("year = 2024")"}) {
    EXPECT_TRUE(dict(where, kRow)) << where;
  }
  for (const char* where :
       {R"({"year":2023})", R"({"missing":1})", R"({"none":{"$gt":1}})",
        R"({"lang":{"$nin":["ko"]}})", R"({"$and":[{"year":2024},{"lang":"en"}]})",
        R"({"tags":{"$contains":"ab"}})", R"({"must":{"$eq":1}})", R"({"must":"word"})"}) {
    EXPECT_FALSE(dict(where, kRow)) << where;
  }
}

TEST(Filter, ReadsChromaDocuments) {
  const Parser parse = &Filter::parse_chroma_document;
  EXPECT_TRUE(passes(parse, R"({"$contains":"cat"})", "{}", "a cat sat"));
  EXPECT_FALSE(passes(parse, R"({"$contains":"dog"})", "{}", "a cat sat"));
  EXPECT_TRUE(
      passes(parse, R"({"$and":[{"$contains":"cat"},{"$not_contains":"dog"}]})", "", "a cat sat"));
  EXPECT_TRUE(parse(R"({"$contains":"x"})")->needs_document());
  EXPECT_FALSE(Filter::parse(R"({"x":"y"})")->needs_document());
  for (const char* bad : {R"({"title":"x"})", R"({"$contains":1})", R"({"$contains":""})",
                          R"({"$regex":"x"})", "{}"}) {
    const auto filter = parse(bad);
    ASSERT_FALSE(filter) << bad;
    expect_filter_error(filter.error(), bad);
  }
}

TEST(Filter, ReadsQdrant) {
  for (const char* where :
       {R"({"must":[{"key":"year","match":{"value":2024}}]})",
        R"({"must":{"key":"year","range":{"gte":2024,"lt":null}}})",
        R"({"should":[{"key":"year","match":{"value":1}},{"key":"lang","match":{"value":"ko"}}]})",
        R"({"must_not":[{"key":"lang","match":{"value":"en"}}]})",
        R"({"must_not":[{"key":"missing","match":{"value":"en"}}]})",
        R"({"must":[{"key":"tags","match":{"value":"b"}}]})",
        R"({"must":[{"key":"tags","match":{"any":["x","b"]}}]})",
        R"({"must":[{"key":"tags","match":{"except":["a"]}}]})",
        R"({"must":[{"key":"lang","match":{"text":"k"}}]})",
        R"({"must":[{"is_empty":{"key":"empty"}},{"is_empty":{"key":"missing"}}]})",
        R"({"must":[{"is_null":{"key":"none"}}],"must_not":[{"is_null":{"key":"missing"}}]})",
        R"({"must":[{"key":"deep.x.y","range":{"gt":2}}]})",
        R"({"must":[{"should":[{"key":"year","match":{"value":2024}}]}]})",
        R"({"must":[{"key":"nums","range":{"gt":4,"lt":6}}]})",
        R"({"min_should":{"min_count":2,"conditions":[{"key":"year","match":{"value":2024}},)"
        R"({"key":"year","match":{"value":1}},{"key":"lang","match":{"value":"ko"}}]}})"}) {
    EXPECT_TRUE(dict(where, kRow)) << where;
  }
  for (const char* where :
       {R"({"must":[{"key":"nums","range":{"gt":1,"lt":5}}]})",  // no one element is between
        R"({"must":[{"key":"missing","match":{"except":["a"]}}]})",
        R"({"must_not":[{"key":"tags","match":{"value":"a"}}]})",
        R"({"must":[{"key":"empty","match":{"value":"a"}}]})",
        R"({"must":[{"key":"year","match":{"value":2024}}],)"
        R"("should":[{"key":"lang","match":{"value":"en"}}]})"}) {
    EXPECT_FALSE(dict(where, kRow)) << where;
  }
}

TEST(Filter, RefusesBadSqlWithItsPosition) {
  const std::vector<std::pair<const char*, int>> cases = {
      {"", 0},
      {"   ", 3},
      {"year", 4},
      {"year =", 6},
      {"year = 'a", 7},
      {"year ~ 3", 5},
      {"year = 3 year = 4", 9},
      {"(year = 3", 9},
      {"year = 3)", 8},
      {"= 3", 0},
      {"year IN ()", 9},
      {"year IN (1, 'a')", 9},
      {"year IN 1", 8},
      {"year BETWEEN 1 OR 2", 15},
      {"year BETWEEN 1 AND 'x'", 19},
      {"lang LIKE 3", 10},
      {"lang LIKE ''", 10},
      {"draft > TRUE", 8},
      {"year = NULL", 7},
      {"year != NULL", 8},
      {"year IS 3", 8},
      {"year NOT 3", 9},
      {"year = \"x\"", 7},
      {"year = 1.2.3", 7},
      {"year = 12abc", 7},
      {"year = 1e999", 7},
      {"년 = 1 ; drop", 6},
      {"and = 3", 0},
      {"\"#document\" = 3", 0},
      {"a = 1 AND", 9},
      {"NOT", 3},
      {"year = 3 \xff", 9},
  };
  for (const auto& [where, position] : cases) {
    const auto filter = Filter::parse_sql(where);
    ASSERT_FALSE(filter) << where;
    expect_filter_error(filter.error(), where);
    EXPECT_EQ(std::get<std::int64_t>(*filter.error().detail("position")), position) << where;
  }
}

TEST(Filter, RefusesBadDictsWithTheWayThere) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"{}", "where"},
      {"[]", "where"},
      {"3", "where"},
      {R"({"year":{"$foo":3}})", "year.$foo"},
      {R"({"year":{"$gte":2,"$foo":3}})", "year.$foo"},
      {R"({"$nor":[{"a":1}]})", "$nor"},
      {R"({"year":null})", "year"},
      {R"({"year":[1]})", "year"},
      {R"({"year":{}})", "year"},
      {R"({"year":{"$gt":true}})", "year.$gt"},
      {R"({"year":{"$gt":[1]}})", "year.$gt"},
      {R"({"year":{"$in":[]}})", "year.$in"},
      {R"({"year":{"$in":[1,"a"]}})", "year.$in"},
      {R"({"year":{"$in":[1,null]}})", "year.$in"},
      {R"({"year":{"$in":3}})", "year.$in"},
      {R"({"$and":[]})", "$and"},
      {R"({"$and":{"a":1}})", "$and"},
      {R"({"$or":[{"a":1},{"b":{"$x":1}}]})", "$or[1].b.$x"},
      {R"({"#document":1})", "#document"},
      {R"({"must":[]})", "filter"},
      {R"({"must":[{}]})", "filter.must[0]"},
      {R"({"must":[{"key":"a"}]})", "filter.must[0]"},
      {R"({"must":[{"key":"a","match":{"regex":"x"}}]})", "filter.must[0].match"},
      {R"({"must":[{"key":"a","range":{"gte":"2024-01-01"}}]})", "filter.must[0].range"},
      {R"({"must":[{"key":"a","range":{"above":1}}]})", "filter.must[0].range"},
      {R"({"must":[{"key":"a","geo_radius":{}}]})", "filter.must[0]"},
      {R"({"must":[{"has_id":[1]}]})", "filter.must[0]"},
      {R"({"min_should":{"min_count":3,"conditions":[{"key":"a","match":{"value":1}}]}})",
       "filter.min_should"},
  };
  for (const auto& [where, path] : cases) {
    const auto filter = Filter::parse(where);
    ASSERT_FALSE(filter) << where;
    expect_filter_error(filter.error(), where);
    ASSERT_NE(filter.error().detail("path"), nullptr) << where;
    EXPECT_EQ(std::get<std::string>(*filter.error().detail("path")), path) << where;
  }
  for (const char* bad : {"", "{", "{\"a\":}", "\"year ~ 3\""}) {
    const auto filter = Filter::parse(bad);
    ASSERT_FALSE(filter) << bad;
    expect_filter_error(filter.error(), bad);
  }
}

TEST(Filter, AClashIsAnErrorWhereverItStands) {
  for (const char* where :
       {"year = '2024'", "lang > 3", "draft = 0", "price = TRUE", "tags = 'a'", "deep = 1",
        "year = 1 AND lang = 3", "year = 2024 OR lang = 3", "NOT lang = 3", "lang CONTAINS 'k'",
        "tags CONTAINS 1", "year LIKE '20%'", "year IN ('2024')"}) {
    const auto filter = Filter::parse_sql(where);
    ASSERT_TRUE(filter) << where;
    FilterMatcher matcher(*filter);
    const auto answer = matcher.matches(kRow);
    ASSERT_FALSE(answer) << where;
    expect_filter_error(answer.error(), where);
    EXPECT_TRUE(matcher.matches("{}")) << "usable after a clash, and missing is none";
  }
  const auto listed = Filter::parse(R"({"must":[{"key":"tags","match":{"value":1}}]})");
  EXPECT_FALSE(FilterMatcher(*listed).matches(kRow));
}

TEST(Filter, MetadataThatIsNoObjectIsCorrupt) {
  const auto filter = Filter::parse_sql("a = 1");
  FilterMatcher matcher(*filter);
  for (const char* row : {"[]", "3", "{", "null"}) {
    EXPECT_EQ(matcher.matches(row).error().code(), base::Code::kCorrupt) << row;
  }
  EXPECT_TRUE(matcher.matches(R"({"a":1})").value());
}

TEST(Filter, NumbersCompareByTheirExactValue) {
  EXPECT_FALSE(sql("a = 9007199254740992.0", R"({"a":9007199254740993})"));
  EXPECT_TRUE(sql("a > 9007199254740992.0", R"({"a":9007199254740993})"));
  EXPECT_TRUE(sql("a < 1e300", R"({"a":9223372036854775807})"));
  EXPECT_TRUE(sql("a > -1e300", R"({"a":-9223372036854775808})"));
  EXPECT_FALSE(sql("a >= 9223372036854775808.0", R"({"a":9223372036854775807})"));
  EXPECT_TRUE(sql("a < 2", R"({"a":1.5})"));
  EXPECT_TRUE(sql("a > -2 AND a < -1", R"({"a":-1.5})"));
}

TEST(Filter, LikeKnowsCharacters) {
  const auto like = [](const char* text, const char* pattern) {
    return sql(std::string("t LIKE '") + pattern + "'", std::string(R"({"t":")") + text + "\"}");
  };
  EXPECT_TRUE(like("두레", "__"));
  EXPECT_FALSE(like("두레", "___"));
  EXPECT_TRUE(like("두레 프로젝트", "두레%트"));
  EXPECT_TRUE(like("aXbXc", "%X%c"));
  EXPECT_TRUE(like("", "%"));
  EXPECT_FALSE(like("", "_"));
  EXPECT_TRUE(like("mississippi", "%iss%pi"));
  EXPECT_FALSE(like("mississippi", "%iss%pa"));
  const std::string many(3000, 'a');
  EXPECT_FALSE(like(many.c_str(), "%a%a%a%a%a%a%a%b"));
}

TEST(Filter, DepthAndSizeAreBounded) {
  const std::string deep_sql = std::string(5000, '(') + "a = 1" + std::string(5000, ')');
  EXPECT_FALSE(Filter::parse_sql(deep_sql));
  std::string nots;
  for (int i = 0; i < 5000; ++i) nots += "NOT ";
  EXPECT_FALSE(Filter::parse_sql(nots + "a = 1"));
  std::string nested = R"({"a":1})";
  for (int i = 0; i < 100; ++i) nested = R"({"$and":[)" + nested + "]}";
  EXPECT_FALSE(Filter::parse(nested));
  std::string wide = "a = 1";
  for (int i = 0; i < 9000; ++i) wide += " OR a = 1";
  EXPECT_TRUE(Filter::parse_sql(wide));
  for (int i = 0; i < 2000; ++i) wide += " OR a = 1";
  EXPECT_FALSE(Filter::parse_sql(wide));
  EXPECT_FALSE(Filter::parse_sql(std::string(2U << 20U, ' ')));
}

TEST(Filter, KeysTellFiltersApart) {
  const auto key = [](const char* where) { return Filter::parse_sql(where)->key(); };
  EXPECT_EQ(key("a = 1 AND b = 'x'"), key("  a=1   and b='x'"));
  for (const char* other : {"a = 1.5", "a = '1'", "a != 1", "b = 1", "a > 1", "a IN (1)"}) {
    EXPECT_NE(key("a = 1"), key(other)) << other;
  }
  EXPECT_NE(key("a = 1"), Filter::parse(R"({"a":1})")->key()) << "missing fields differ";
}

TEST(Filter, HostileTextNeverCrashes) {
  testing::FakeRandom random(21);
  const std::vector<std::string> parts = {
      "year", " ", "(", ")", "=", "<>", "'a'",  "'",  "\"x\"", "NOT", " AND ", " OR ",
      "IN",   "1", "-", ".", ",", "1e", "NULL", "IS", "LIKE",  "%",   "두",    "\xed\xa0\x80",
      "`"};
  const std::vector<std::string> json = {
      "{",        "}",        "[",       "]",         ":",         ",",
      "\"$and\"", "\"must\"", "\"key\"", "\"match\"", "\"value\"", "\"$in\"",
      "1",        "\"a\"",    "null",    "true",      "\"range\"", "\"gte\""};
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    const auto& source = round % 2 == 0 ? parts : json;
    std::string text;
    for (std::size_t n = random.next() % 12; n > 0; --n)
      text += source[random.next() % source.size()];
    const auto filter = round % 2 == 0 ? Filter::parse_sql(text) : Filter::parse(text);
    if (!filter) {
      expect_filter_error(filter.error(), text);
      continue;
    }
    ++accepted;
    (void)FilterMatcher(*filter).matches(kRow);
  }
  EXPECT_GT(accepted, 0);
}

// ---- random trees, spelled in all three forms, against a model ----

enum class Truth { kFalse, kUnknown, kTrue };
struct ModelRow {
  std::optional<int> number;
  std::optional<std::string> word;
  [[nodiscard]] std::string json() const {
    std::string out = "{\"other\":0";
    if (number) out += ",\"n\":" + std::to_string(*number);
    if (word) out += ",\"w\":\"" + *word + "\"";
    return out + "}";
  }
};
struct Tree {
  std::string sql, chroma, qdrant;
  std::function<Truth(const ModelRow&, bool three_valued)> holds;
};

Truth negated(Truth truth) {
  return truth == Truth::kTrue ? Truth::kFalse : truth == Truth::kFalse ? Truth::kTrue : truth;
}

Tree random_leaf(base::Random& random) {
  const int n = static_cast<int>(random.next() % 5);
  const std::string number = std::to_string(n);
  const std::string word(1, static_cast<char>('a' + n));
  const auto of_number = [](const ModelRow& row, bool three, auto test) {
    if (!row.number) return three ? Truth::kUnknown : Truth::kFalse;
    return test(*row.number) ? Truth::kTrue : Truth::kFalse;
  };
  const auto of_word = [](const ModelRow& row, bool three, auto test) {
    if (!row.word) return three ? Truth::kUnknown : Truth::kFalse;
    return test(*row.word) ? Truth::kTrue : Truth::kFalse;
  };
  switch (random.next() % 4) {
    case 0:
      return {"n >= " + number, R"({"n":{"$gte":)" + number + "}}",
              R"({"key":"n","range":{"gte":)" + number + "}}",
              [=](const ModelRow& row, bool three) {
                return of_number(row, three, [n](int v) { return v >= n; });
              }};
    case 1:
      return {"n < " + number, R"({"n":{"$lt":)" + number + "}}",
              R"({"key":"n","range":{"lt":)" + number + "}}", [=](const ModelRow& row, bool three) {
                return of_number(row, three, [n](int v) { return v < n; });
              }};
    case 2:
      return {"w = '" + word + "'", R"({"w":")" + word + "\"}",
              R"({"key":"w","match":{"value":")" + word + "\"}}",
              [=](const ModelRow& row, bool three) {
                return of_word(row, three, [&](const std::string& v) { return v == word; });
              }};
    default:
      return {"w IN ('a','" + word + "')", R"({"w":{"$in":["a",")" + word + "\"]}}",
              R"({"key":"w","match":{"any":["a",")" + word + "\"]}}",
              [=](const ModelRow& row, bool three) {
                return of_word(row, three,
                               [&](const std::string& v) { return v == "a" || v == word; });
              }};
  }
}

// `negations`: Chroma cannot spell NOT over a group, so its text is empty then.
Tree random_tree(base::Random& random, int depth) {
  const std::size_t kind = random.next() % 4;
  if (depth == 0 || kind == 0) return random_leaf(random);
  const Tree a = random_tree(random, depth - 1);
  if (kind == 1) {
    return {"NOT (" + a.sql + ")", "", R"({"must_not":[)" + a.qdrant + "]}",
            [a](const ModelRow& row, bool three) { return negated(a.holds(row, three)); }};
  }
  const Tree b = random_tree(random, depth - 1);
  const bool both = kind == 2;
  const bool spelled = !a.chroma.empty() && !b.chroma.empty();
  const std::string chroma =
      std::string(both ? R"({"$and":[)" : R"({"$or":[)") + a.chroma + "," + b.chroma + "]}";
  return {"(" + a.sql + (both ? " AND " : " OR ") + b.sql + ")", spelled ? chroma : "",
          std::string(both ? R"({"must":[)" : R"({"should":[)") + a.qdrant + "," + b.qdrant + "]}",
          [a, b, both](const ModelRow& row, bool three) {
            const Truth x = a.holds(row, three);
            const Truth y = b.holds(row, three);
            return both ? std::min(x, y) : std::max(x, y);
          }};
}

TEST(Filter, AllSpellingsAgreeWithTheModel) {
  testing::FakeRandom random(22);
  int passed = 0;
  for (int round = 0; round < 1500; ++round) {
    const Tree tree = random_tree(random, 4);
    ModelRow row;
    if (random.next() % 4 != 0) row.number = static_cast<int>(random.next() % 5);
    if (random.next() % 4 != 0)
      row.word = std::string(1, static_cast<char>('a' + random.next() % 5));
    const bool three = tree.holds(row, true) == Truth::kTrue;
    const bool two = tree.holds(row, false) == Truth::kTrue;
    ASSERT_EQ(sql(tree.sql, row.json()), three) << tree.sql << " on " << row.json();
    const std::string qdrant =
        tree.qdrant.starts_with("{\"key\"") ? "{\"must\":[" + tree.qdrant + "]}" : tree.qdrant;
    ASSERT_EQ(dict(qdrant, row.json()), two) << qdrant << " on " << row.json();
    if (!tree.chroma.empty()) {
      ASSERT_EQ(dict(tree.chroma, row.json()), two) << tree.chroma << " on " << row.json();
    }
    passed += three ? 1 : 0;
  }
  EXPECT_GT(passed, 200);
  EXPECT_LT(passed, 1300);
}

}  // namespace
}  // namespace dure::index
