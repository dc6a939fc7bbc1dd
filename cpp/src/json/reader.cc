#include "json/reader.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "json/wide_numbers.h"

namespace dure::json {

namespace dom = simdjson::dom;

static_assert(sizeof(dom::element) <= sizeof(std::array<std::uintptr_t, 2>));
static_assert(std::is_trivially_copyable_v<dom::element>);

// Turns a Value into simdjson's element and back; the header stays free of simdjson.
struct Access {
  static Value wrap(const dom::element& element) noexcept {
    Value value;
    std::memcpy(value.at_.data(), &element, sizeof element);
    value.present_ = true;
    return value;
  }
  static Value wrap(const simdjson::simdjson_result<dom::element>& result) noexcept {
    dom::element element;
    return result.get(element) == simdjson::SUCCESS ? wrap(element) : Value{};
  }
  static dom::element element(const Value& value) noexcept {
    dom::element element;
    std::memcpy(static_cast<void*>(&element), value.at_.data(), sizeof element);
    return element;
  }
  template <typename T>
  static std::optional<T> get(const Value& value) noexcept {
    T out;
    if (!value.present_ || element(value).get(out) != simdjson::SUCCESS) return std::nullopt;
    return out;
  }
};

Kind Value::kind() const noexcept {
  if (!present_) return Kind::kMissing;
  switch (Access::element(*this).type()) {
    case dom::element_type::ARRAY:
      return Kind::kArray;
    case dom::element_type::OBJECT:
      return Kind::kObject;
    case dom::element_type::INT64:
    case dom::element_type::UINT64:
      return Kind::kInteger;
    case dom::element_type::DOUBLE:
      return Kind::kReal;
    case dom::element_type::STRING:
      return Kind::kString;
    case dom::element_type::BOOL:
      return Kind::kBool;
    case dom::element_type::NULL_VALUE:
      return Kind::kNull;
  }
  return Kind::kMissing;
}

bool Value::absent() const noexcept { return !present_ || kind() == Kind::kNull; }

std::optional<bool> Value::boolean() const noexcept { return Access::get<bool>(*this); }

std::optional<std::int64_t> Value::integer() const noexcept {
  if (const auto whole = Access::get<std::int64_t>(*this)) return whole;
  const auto real = Access::get<double>(*this);
  if (!real || std::trunc(*real) != *real || std::abs(*real) > 0x1.0p62) return std::nullopt;
  return static_cast<std::int64_t>(*real);
}

std::optional<double> Value::number() const noexcept { return Access::get<double>(*this); }

std::optional<std::string_view> Value::string() const noexcept {
  return Access::get<std::string_view>(*this);
}

std::string_view Value::string_or(std::string_view fallback) const noexcept {
  return string().value_or(fallback);
}

Value Value::operator[](std::string_view key) const noexcept {
  const auto object = Access::get<dom::object>(*this);
  return object ? Access::wrap(object->at_key(key)) : Value{};
}

Value Value::operator[](std::size_t index) const noexcept {
  const auto array = Access::get<dom::array>(*this);
  return array ? Access::wrap(array->at(index)) : Value{};
}

std::vector<Value> Value::items() const {
  std::vector<Value> out;
  if (const auto array = Access::get<dom::array>(*this)) {
    out.reserve(array->size());
    for (const dom::element element : *array) out.push_back(Access::wrap(element));
  }
  return out;
}

std::vector<std::pair<std::string_view, Value>> Value::members() const {
  std::vector<std::pair<std::string_view, Value>> out;
  if (const auto object = Access::get<dom::object>(*this)) {
    out.reserve(object->size());
    for (const dom::key_value_pair pair : *object) {
      out.emplace_back(pair.key, Access::wrap(pair.value));
    }
  }
  return out;
}

std::size_t Value::size() const noexcept {
  if (const auto array = Access::get<dom::array>(*this)) return items().size();
  if (const auto object = Access::get<dom::object>(*this)) return members().size();
  return 0;
}

std::string Value::text() const {
  return present_ ? simdjson::minify(Access::element(*this)) : std::string{};
}

struct Parser::Impl {
  dom::parser parser;
  std::size_t max_bytes = 0;  // ours: set_max_capacity of simdjson 3.0.1 takes the smaller of two
  simdjson::error_code read(std::string_view text, dom::element* element) {
    return parser.parse(text.data(), text.size(), true).get(*element);
  }
};

namespace {

constexpr std::size_t kKept = 256U << 10U;  // capacity of a parser that is worth keeping

}  // namespace

// The buffers of the last parser that died in this thread serve the next one: making them costs
// more than reading a short text.
std::unique_ptr<Parser::Impl>& Parser::spare() noexcept {
  thread_local std::unique_ptr<Impl> kept;
  return kept;
}

Parser::Parser(std::size_t max_bytes) : impl_(std::move(spare())) {
  if (impl_ == nullptr) impl_ = std::make_unique<Impl>();
  impl_->max_bytes = max_bytes;
}

Parser::~Parser() {
  if (impl_ != nullptr && impl_->parser.capacity() <= kKept) spare() = std::move(impl_);
}

Parser::Parser(Parser&&) noexcept = default;
Parser& Parser::operator=(Parser&&) noexcept = default;

base::Result<Value> Parser::parse(std::string_view text) {
  dom::parser& parser = impl_->parser;
  if (text.size() > impl_->max_bytes) {
    return base::fail(
        base::Code::kInvalidArgument,
        "not read: the JSON text passes its cap of " + std::to_string(impl_->max_bytes) + " bytes");
  }
  if (parser.capacity() < text.size() || parser.max_depth() != kMaxDepth) {
    const std::size_t capacity = std::max<std::size_t>(text.size(), 4096);
    if (parser.allocate(capacity, kMaxDepth) != simdjson::SUCCESS) {
      return base::fail(base::Code::kOutOfMemory, "out of memory while reading JSON");
    }
  }
  dom::element element;
  const simdjson::error_code error = impl_->read(text, &element);
  if (error == simdjson::NUMBER_ERROR) {  // a number that is wide, or none at all
    if (const auto narrowed = narrow_numbers(text)) {
      const base::Result<Value> again = parse(*narrowed);
      if (again) return again;
    }
  }
  if (error != simdjson::SUCCESS) {
    return base::fail(base::Code::kInvalidArgument,
                      std::string("not valid JSON: ") + simdjson::error_message(error));
  }
  return Access::wrap(element);
}

namespace {

std::optional<std::string_view> repeated_of_many(const dom::object& object) {
  std::vector<std::string_view> keys;
  for (const dom::key_value_pair pair : object) keys.push_back(pair.key);
  std::sort(keys.begin(), keys.end());
  const auto found = std::adjacent_find(keys.begin(), keys.end());
  return found != keys.end() ? std::optional(*found) : std::nullopt;
}

std::optional<std::string_view> repeated_key(const dom::object& object) {
  std::array<std::string_view, 16> keys;  // small objects need no memory
  std::size_t count = 0;
  for (const dom::key_value_pair pair : object) {
    if (count == keys.size()) return repeated_of_many(object);
    const auto end = keys.begin() + static_cast<std::ptrdiff_t>(count);
    if (std::find(keys.begin(), end, pair.key) != end) return pair.key;
    keys.at(count++) = pair.key;
  }
  return std::nullopt;
}

// An object or array, and where it stands in its parent: under `key`, or at `index` without one.
struct Place {
  dom::element element;
  std::size_t parent = 0;  // the root is its own
  std::optional<std::string_view> key = std::nullopt;
  std::size_t index = 0;
};

std::string path_to(const std::vector<Place>& places, std::size_t at, std::string_view last) {
  std::string path(last);
  for (; at != 0; at = places[at].parent) {
    const Place& place = places[at];
    const std::string step =
        place.key ? std::string(*place.key) : "[" + std::to_string(place.index) + "]";
    path = step + (path.starts_with('[') ? "" : ".") + path;
  }
  return path;
}

}  // namespace

std::optional<std::string> find_duplicate(const Value& root) {
  if (!root.is_object() && !root.is_array()) return std::nullopt;
  std::vector<Place> places{{.element = Access::element(root)}};
  const auto add = [&](const dom::element& element, Place place) {
    if (!element.is_object() && !element.is_array()) return;
    place.element = element;
    places.push_back(place);
  };
  for (std::size_t at = 0; at < places.size(); ++at) {
    const dom::element element = places[at].element;
    if (dom::object object; element.get(object) == simdjson::SUCCESS) {
      if (const auto key = repeated_key(object)) return path_to(places, at, *key);
      for (const dom::key_value_pair pair : object) {
        add(pair.value, {.element = {}, .parent = at, .key = pair.key});
      }
    } else if (dom::array array; element.get(array) == simdjson::SUCCESS) {
      std::size_t index = 0;
      for (const dom::element item : array) {
        add(item, {.element = {}, .parent = at, .index = index++});
      }
    }
  }
  return std::nullopt;
}

}  // namespace dure::json
