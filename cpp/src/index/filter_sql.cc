// The SQL-like form: what stands after WHERE, without functions, arithmetic or subqueries.
//
//   or        = and {OR and}            and  = not {AND not}          not = NOT not | primary
//   primary   = "(" or ")" | field test
//   test      = ("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") literal
//             | [NOT] IN "(" literal {"," literal} ")" | [NOT] BETWEEN literal AND literal
//             | [NOT] LIKE string | [NOT] CONTAINS literal | IS [NOT] NULL
//   field     = name | "quoted name" | `quoted name`
//   literal   = number | 'string' ('' inside: one quote) | TRUE | FALSE
#include <algorithm>
#include <charconv>
#include <utility>

#include "dure/text/unicode_class.h"
#include "dure/text/utf8.h"
#include "index/filter_parse.h"

namespace dure::index {
namespace {

enum class Kind : std::uint8_t { kEnd, kName, kQuotedName, kString, kNumber, kSign };

struct Token {
  Kind kind = Kind::kEnd;
  std::string text;           // of names and strings without quotes
  std::int64_t position = 0;  // in characters
};

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  base::Result<std::vector<Token>> tokens() {
    std::vector<Token> out;
    do {
      while (at_ < text_.size() && text::is_space(point().value)) advance(point().length);
      auto token = next();
      if (!token) return base::fail(std::move(token).error());
      out.push_back(*std::move(token));
    } while (out.back().kind != Kind::kEnd);
    return out;
  }

 private:
  [[nodiscard]] text::CodePoint point() const { return text::decode_at(text_, at_); }
  // Within one character, or over characters of one byte.
  void advance(std::size_t bytes) {
    for (; bytes > 0; --bytes, ++at_) position_ += text::is_continuation(text_[at_]) ? 0 : 1;
  }
  [[nodiscard]] static bool in_name(char32_t c) {
    const text::CharClass kind = text::class_of(c);
    return c == U'_' || text::is_letter(kind) || kind == text::CharClass::kNumber ||
           kind == text::CharClass::kMark;
  }

  base::Result<Token> next() {
    Token token{Kind::kEnd, {}, position_};
    if (at_ == text_.size()) return token;
    const char first = text_[at_];
    const std::size_t begin = at_;
    if (first == '\'' || first == '"' || first == '`') return quoted(first, std::move(token));
    const char second = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (is_digit(first) || ((first == '-' || first == '+' || first == '.') &&
                            (is_digit(second) || (first != '.' && second == '.')))) {
      token.kind = Kind::kNumber;
      advance(1);
      while (at_ < text_.size() && in_number(text_[at_ - 1], text_[at_])) advance(1);
    } else if (in_name(point().value)) {
      token.kind = Kind::kName;
      while (at_ < text_.size() && (text_[at_] == '.' || in_name(point().value))) {
        advance(point().length);
      }
    } else {
      token.kind = Kind::kSign;
      const std::string_view pair = text_.substr(at_, 2);
      const bool two = pair == "<=" || pair == ">=" || pair == "!=" || pair == "<>" || pair == "==";
      if (!two && std::string_view("()=<>,").find(first) == std::string_view::npos) {
        return base::fail(filter_error(position_, "unexpected character"));
      }
      advance(two ? 2 : 1);
    }
    token.text = text_.substr(begin, at_ - begin);
    return token;
  }

  [[nodiscard]] static bool in_number(char before, char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    const bool signs_exponent = (c == '-' || c == '+') && (before == 'e' || before == 'E');
    return is_digit(c) || c == '.' || letter || signs_exponent;
  }

  base::Result<Token> quoted(char quote, Token token) {
    token.kind = quote == '\'' ? Kind::kString : Kind::kQuotedName;
    advance(1);
    while (at_ < text_.size()) {
      if (text_[at_] != quote) {
        token.text.push_back(text_[at_]);
        advance(1);
        continue;
      }
      advance(1);
      if (at_ == text_.size() || text_[at_] != quote) return token;
      token.text.push_back(quote);
      advance(1);
    }
    return base::fail(filter_error(token.position, "a quote that is not closed"));
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::int64_t position_ = 0;
};

class SqlReader {
 public:
  explicit SqlReader(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Node read() {
    if (peek().kind == Kind::kEnd) {
      return fail("an empty filter; leave `where` out to mean every row");
    }
    Node node = either(0);
    if (node && peek().kind != Kind::kEnd) return fail("expected AND, OR or the end");
    return node;
  }

 private:
  [[nodiscard]] const Token& peek() const { return tokens_[at_]; }
  Token take() { return at_ + 1 < tokens_.size() ? std::move(tokens_[at_++]) : tokens_[at_]; }
  [[nodiscard]] tl::unexpected<base::Status> fail(std::string reason) const {
    return base::fail(filter_error(peek().position, std::move(reason)));
  }
  [[nodiscard]] bool is_word(std::string_view upper) const {
    const Token& token = peek();
    return token.kind == Kind::kName &&
           std::equal(token.text.begin(), token.text.end(), upper.begin(), upper.end(),
                      [](char a, char b) { return (a >= 'a' && a <= 'z' ? a - 32 : a) == b; });
  }
  bool accept_word(std::string_view upper) {
    if (!is_word(upper)) return false;
    ++at_;
    return true;
  }
  bool accept_sign(std::string_view sign) {
    if (peek().kind != Kind::kSign || peek().text != sign) return false;
    ++at_;
    return true;
  }

  Node either(std::size_t depth) {
    return several(FilterOp::kOr, "OR",
                   [&] { return several(FilterOp::kAnd, "AND", [&] { return denied(depth); }); });
  }

  template <typename Part>
  Node several(FilterOp op, std::string_view word, Part part) {
    std::vector<FilterNode> children;
    do {
      Node node = part();
      if (!node) return node;
      children.push_back(*std::move(node));
    } while (accept_word(word));
    return group(op, std::move(children));
  }

  Node denied(std::size_t depth) {
    if (depth > Filter::kMaxDepth) return fail("nested too deep");
    if (accept_word("NOT")) {
      Node node = denied(depth + 1);
      return node ? negation(*std::move(node)) : node;
    }
    if (!accept_sign("(")) return test();
    Node node = either(depth + 1);
    if (node && !accept_sign(")")) return fail("expected )");
    return node;
  }

  Node test() {
    if (++tests_ > Filter::kMaxNodes) return fail("too many conditions");
    const bool reserved = is_word("AND") || is_word("OR") || is_word("IN") || is_word("LIKE") ||
                          is_word("IS") || is_word("BETWEEN") || is_word("NULL") ||
                          is_word("TRUE") || is_word("FALSE");
    const bool name = peek().kind == Kind::kName && !reserved;
    if ((!name && peek().kind != Kind::kQuotedName) || peek().text.empty()) {
      return fail("expected the name of a field");
    }
    if (peek().text == kDocumentField) return fail(kReservedField);
    field_ = take();
    if (accept_word("IS")) {
      const bool denied = accept_word("NOT");
      if (!accept_word("NULL")) return fail("expected NULL");
      return finish(leaf(FilterOp::kIsNull, field_.position, field_.text), denied);
    }
    const bool denied = accept_word("NOT");
    if (accept_word("IN")) return in_list(denied);
    if (accept_word("BETWEEN")) return between(denied);
    if (accept_word("LIKE")) return compared(FilterOp::kLike, denied);
    if (accept_word("CONTAINS")) return compared(FilterOp::kHasElement, denied);
    if (denied) return fail("expected IN, BETWEEN, LIKE or CONTAINS");
    for (const auto& [sign, op] :
         {std::pair("=", FilterOp::kEqual), std::pair("==", FilterOp::kEqual),
          std::pair("<", FilterOp::kLess), std::pair("<=", FilterOp::kLessEqual),
          std::pair(">", FilterOp::kGreater), std::pair(">=", FilterOp::kGreaterEqual)}) {
      if (accept_sign(sign)) return compared(op, false);
    }
    if (accept_sign("!=") || accept_sign("<>")) return compared(FilterOp::kEqual, true);
    return fail("expected an operator: = != < <= > >= IN BETWEEN LIKE CONTAINS IS");
  }

  static Node finish(FilterNode node, bool denied) {
    return denied ? negation(std::move(node)) : std::move(node);
  }

  Node compared(FilterOp op, bool denied) {
    const std::int64_t position = peek().position;
    auto value = literal();
    if (!value) return base::fail(std::move(value).error());
    return checked(op, {*std::move(value)}, position, denied);
  }

  Node checked(FilterOp op, std::vector<FilterValue> values, std::int64_t position, bool denied) {
    if (std::string fault = fault_of(op, values); !fault.empty()) {
      return base::fail(filter_error(position, std::move(fault)));
    }
    return finish(leaf(op, field_.position, field_.text, std::move(values)), denied);
  }

  Node in_list(bool denied) {
    if (!accept_sign("(")) return fail("expected (");
    const std::int64_t position = peek().position;
    std::vector<FilterValue> values;
    do {
      auto value = literal();
      if (!value) return base::fail(std::move(value).error());
      values.push_back(*std::move(value));
    } while (accept_sign(","));
    if (!accept_sign(")")) return fail("expected , or )");
    return checked(FilterOp::kIn, std::move(values), position, denied);
  }

  Node between(bool denied) {
    Node low = compared(FilterOp::kGreaterEqual, false);
    if (!low) return low;
    if (!accept_word("AND")) return fail("expected AND");
    const std::int64_t position = peek().position;
    Node high = compared(FilterOp::kLessEqual, false);
    if (!high) return high;
    if (kind_of(low->values[0]) != kind_of(high->values[0])) {
      return base::fail(filter_error(position, "both ends of BETWEEN must be of one kind"));
    }
    std::vector<FilterNode> ends;
    ends.push_back(*std::move(low));
    ends.push_back(*std::move(high));
    return finish(group(FilterOp::kAnd, std::move(ends)), denied);
  }

  base::Result<FilterValue> literal() {
    if (accept_word("TRUE")) return FilterValue(true);
    if (accept_word("FALSE")) return FilterValue(false);
    if (is_word("NULL")) return fail("nothing equals NULL; use IS NULL or IS NOT NULL");
    if (peek().kind == Kind::kString) return FilterValue(take().text);
    if (peek().kind == Kind::kNumber) return number();
    if (peek().kind == Kind::kQuotedName) {
      return fail("a string stands in single quotes; double quotes name a field");
    }
    return fail("expected a number, a 'string', TRUE or FALSE");
  }

  base::Result<FilterValue> number() {
    const std::string& text = peek().text;
    const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
    const char* const end = text.data() + text.size();
    std::int64_t whole = 0;
    if (const auto [to, error] = std::from_chars(begin, end, whole);
        error == std::errc() && to == end) {
      ++at_;
      return FilterValue(whole);
    }
    double real = 0;
    if (const auto [to, error] = std::from_chars(begin, end, real);
        error != std::errc() || to != end) {
      return fail("not a number: " + text);
    }
    ++at_;
    return FilterValue(real);
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::size_t tests_ = 0;
  Token field_;
};

}  // namespace

Node read_sql(std::string_view text) {
  if (text.size() > kMaxBytes) return base::fail(filter_error(0, "longer than 1 MiB"));
  if (const std::size_t valid = text::valid_prefix(text); valid != text.size()) {
    const std::size_t position = text::count_code_points(text.substr(0, valid));
    return base::fail(filter_error(static_cast<std::int64_t>(position), "not UTF-8"));
  }
  auto tokens = Lexer(text).tokens();
  if (!tokens) return base::fail(std::move(tokens).error());
  return SqlReader(*std::move(tokens)).read();
}

}  // namespace dure::index
