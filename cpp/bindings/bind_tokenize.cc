#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "bindings.h"
#include "compute_pool.h"
#include "dure/text/utf8.h"
#include "dure/tokenize/counter.h"
#include "dure/tokenize/encoding.h"
#include "dure/tokenize/model_map.h"
#include "dure/tokenize/prompt_count.h"
#include "dure/tokenize/units.h"
#include "dure/tokenize/unstable.h"
#include "gil.h"
#include "interruptible.h"
#include "loop_bridge.h"
#include "py_ids.h"
#include "py_text.h"
#include "status.h"

namespace dure::bindings {
namespace {

using text::CodeUnits;
using tokenize::Encoding;
using tokenize::Rank;
using tokenize::SpecialFilter;

constexpr std::size_t kKeepGil = 4096;  // shorter texts cost less than giving up the lock

constexpr std::size_t kInterruptible = 262'144;  // shorter texts are done before a signal is seen

template <typename Work>
decltype(auto) off_gil(std::size_t size, Work&& work) {
  if (size <= kKeepGil) return work();
  if (size <= kInterruptible) return without_gil(std::forward<Work>(work));
  return interruptible(std::forward<Work>(work));
}

// Appends a long text part by part and looks at signals between them. If a handler raises, the
// counter keeps the parts that it has.
std::size_t append_in_parts(tokenize::Counter& counter, std::string_view utf8) {
  while (utf8.size() > kInterruptible) {
    std::size_t part = kInterruptible;
    while (part > 0 && text::is_continuation(utf8[part])) --part;
    counter.append(utf8.substr(0, part));
    utf8.remove_prefix(part);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  return counter.append(utf8);
}

// An encoding of the library's, or one that the caller made.
struct Handle {
  std::unique_ptr<Encoding> owned;
  const Encoding* encoding;
  const Encoding& operator*() const noexcept { return *encoding; }
};

std::unique_ptr<Handle> known(const std::string& name) {
  const Encoding* encoding = without_gil([&] { return value_or_throw(Encoding::get(name)); });
  return std::make_unique<Handle>(Handle{nullptr, encoding});
}

std::unique_ptr<Handle> custom(std::string name, const std::string& pattern, const py::dict& ranks,
                               const py::dict& specials) {
  const auto grammar = tokenize::grammar_of(pattern);
  if (!grammar) {
    throw StatusException(base::invalid_argument("pat_str", "unknown pattern: " + pattern));
  }
  std::vector<std::pair<std::string, Rank>> tokens;
  tokens.reserve(ranks.size());
  for (const auto& [token, rank] : ranks)
    tokens.emplace_back(py::cast<py::bytes>(token), to_id(rank));
  tokenize::EncodingSpec spec{std::move(name), *grammar, nullptr, {}};
  for (const auto& [token, id] : specials) {
    spec.special_tokens.emplace_back(py::cast<std::string>(token), to_id(id));
  }
  return without_gil([&] {
    spec.vocab = value_or_throw(tokenize::Vocab::create(std::move(tokens)));
    auto owned = value_or_throw(Encoding::create(std::move(spec)));
    const Encoding* encoding = owned.get();
    return std::make_unique<Handle>(Handle{std::move(owned), encoding});
  });
}

// Which special tokens are ids: None: none of them; True: all; else a set of their texts.
class Allowed {
 public:
  explicit Allowed(py::handle value) : all_(value.ptr() == Py_True) {
    if (all_ || value.is_none()) return;
    for (const py::handle name : value) names_.insert(py::cast<std::string>(name));
  }
  [[nodiscard]] bool nothing() const noexcept { return !all_ && names_.empty(); }
  [[nodiscard]] bool has(std::string_view special) const {
    return all_ || names_.contains(std::string(special));
  }

 private:
  bool all_;
  std::unordered_set<std::string> names_;
};

// tiktoken's words.
[[noreturn]] void raise_disallowed(std::string_view text, const tokenize::SpecialMatch& match) {
  const std::string token(match.text);
  const std::string name = py::cast<std::string>(py::repr(py::str(token)));
  const std::size_t position = text::count_code_points(text.substr(0, match.position));
  throw StatusException(
      base::invalid_argument(
          "text", "Encountered text corresponding to disallowed special token " + name +
                      ".\nIf you want this text to be encoded as a special token, pass it to "
                      "`allowed_special`, e.g. `allowed_special={" +
                      name +
                      ", ...}`.\nIf you want this text to be encoded as normal text, disable the "
                      "check for this token by passing `disallowed_special=(enc.special_tokens_set "
                      "- {" +
                      name +
                      "})`.\nTo disable this check for all special tokens, pass "
                      "`disallowed_special=()`.\n")
          .as("DisallowedSpecialTokenError")
          .with("token", token)
          .with("position", static_cast<std::int64_t>(position)));
}

// The ids of a text that is known to be well-formed. `check`: a special token that is not allowed
// raises.
std::vector<Rank> encode_utf8(const Encoding& encoding, std::string_view text,
                              const Allowed& allowed, bool check) {
  if (check) {
    const auto refused = off_gil(text.size(), [&] {
      return encoding.find_special(text, 0, [&](std::string_view s) { return !allowed.has(s); });
    });
    if (refused) raise_disallowed(text, *refused);
  }
  std::vector<Rank> ids;
  off_gil(text.size(), [&] {
    if (allowed.nothing()) {
      encoding.encode_ordinary(text, ids);
    } else {
      encoding.encode(text, [&](std::string_view s) { return allowed.has(s); }, ids);
    }
  });
  return ids;
}

enum class Surrogates : bool { kReplace, kRaise };

// Calls work(std::string_view) with the str's UTF-8.
template <typename Work>
auto with_utf8(py::handle value, Surrogates surrogates, Work work) {
  const CodeUnits units = code_units(value, "text");
  const auto utf8 = off_gil(units.size, [&] { return std::make_unique<Utf8Text>(units); });
  if (utf8->ok()) return work(utf8->view());
  if (surrogates == Surrogates::kRaise) raise_surrogate(value);
  const py::str mended = without_surrogates(value);
  return work(Utf8Text(code_units(mended, "text")).view());
}

std::vector<Rank> encode_ordinary(const Handle& handle, py::handle value) {
  const CodeUnits units = code_units(value, "text");
  std::vector<Rank> ids;
  if (off_gil(units.size, [&] { return tokenize::encode_units(*handle, units, ids); })) return ids;
  ids.clear();
  const py::str mended = without_surrogates(value);
  (*handle).encode_ordinary(Utf8Text(code_units(mended, "text")).view(), ids);
  return ids;
}

std::size_t count(const Handle& handle, py::handle value) {
  const CodeUnits units = code_units(value, "text");
  const auto tokens = off_gil(units.size, [&] { return tokenize::count_units(*handle, units); });
  if (tokens) return *tokens;
  const py::str mended = without_surrogates(value);
  return (*handle).count(Utf8Text(code_units(mended, "text")).view());
}

// NativeEncoding.count as pybind11 binds it; kept for ever.
PyObject* general_count = nullptr;

// The same without the layers of a general call, which take longer than a short text: `self` is
// what the method's descriptor has checked. Whatever is not plain goes to the general one.
PyObject* count_directly(PyObject* self, PyObject* text) noexcept {
  const auto* instance = reinterpret_cast<py::detail::instance*>(self);
  const void* handle = instance->simple_layout ? instance->simple_value_holder[0] : nullptr;
  if (handle != nullptr && PyUnicode_Check(text) && PyUnicode_IS_COMPACT_ASCII(text)) {
    const auto size = static_cast<std::size_t>(PyUnicode_GET_LENGTH(text));
    if (size <= kKeepGil) {
      try {
        const std::string_view ascii(static_cast<const char*>(PyUnicode_DATA(text)), size);
        return PyLong_FromSize_t((**static_cast<const Handle*>(handle)).count(ascii));
      } catch (...) {  // no memory: the general one says so
      }
    }
  }
  return PyObject_CallFunctionObjArgs(general_count, self, text, nullptr);
}

void count_quickly(py::class_<Handle>& encoding) {
  static PyMethodDef method{"count", &count_directly, METH_O, "The number of ids of a text."};
  general_count = py::object(encoding.attr("count")).release().ptr();
  auto* const type = reinterpret_cast<PyTypeObject*>(encoding.ptr());
  encoding.attr("count") = py::reinterpret_steal<py::object>(PyDescr_NewMethod(type, &method));
}

constexpr std::size_t kLookEvery = 65'536;  // objects made or read between looks at signals

// The strs of a list, held so that another thread may change the list meanwhile.
struct Batch {
  explicit Batch(const py::sequence& texts) {
    if (PyUnicode_Check(texts.ptr())) {
      throw py::type_error("texts must be a list of str, not str");
    }
    const py::list items(texts);  // a sequence may make its items as it is asked for them
    for (const py::handle item : items) {
      if (held.size() % kLookEvery == kLookEvery - 1) check_signals();
      py::object text = py::reinterpret_borrow<py::object>(item);
      CodeUnits units = code_units(text, "texts");
      if (!units.ascii && has_surrogate(units)) {
        text = without_surrogates(text);
        units = code_units(text, "texts");
      }
      size += units.size;
      held.push_back(std::move(text));
      all.push_back(units);
    }
  }
  static bool has_surrogate(const CodeUnits& units) noexcept {
    const auto any = [&](const auto* at) {  // no early end: so it is done by vectors
      unsigned found = 0;
      for (std::size_t i = 0; i < units.size; ++i) found |= (at[i] & 0xFFFFF800U) == 0xD800U;
      return found != 0;
    };
    if (units.width == 2) return any(static_cast<const std::uint16_t*>(units.data));
    return units.width == 4 && any(static_cast<const std::uint32_t*>(units.data));
  }

  std::vector<py::object> held;
  std::vector<CodeUnits> all;
  std::size_t size = 0;
};

constexpr std::size_t kAloneBelow = 65'536;  // code points; starting threads would cost more

// None: as many as the machine has; small batches run on the caller's.
std::size_t threads_of(py::handle threads, std::size_t size) {
  std::size_t wanted = std::max(1U, std::thread::hardware_concurrency());
  if (!threads.is_none()) {
    const auto given = py::cast<std::int64_t>(threads);
    if (given < 1)
      throw StatusException(base::invalid_argument("threads", "threads must be at least 1"));
    wanted = std::min(static_cast<std::size_t>(given), 4 * wanted);
  }
  return size < kAloneBelow ? 1 : wanted;
}

py::array count_batch(const Handle& handle, const py::sequence& texts, py::handle threads) {
  const Batch batch(texts);
  std::vector<std::int64_t> counts(batch.all.size());
  const std::size_t workers = threads_of(threads, batch.size);
  ComputePool& pool = ComputePool::get();
  off_gil(batch.size + batch.all.size(), [&] {
    pool.for_each(counts.size(), workers, [&](std::size_t i) {
      counts[i] = static_cast<std::int64_t>(tokenize::count_units(*handle, batch.all[i]).value());
    });
  });
  return owned_array(std::move(counts));
}

std::vector<std::vector<Rank>> encode_all(const Handle& handle, const Batch& batch,
                                          py::handle threads) {
  std::vector<std::vector<Rank>> ids(batch.all.size());
  const std::size_t workers = threads_of(threads, batch.size);
  ComputePool& pool = ComputePool::get();
  off_gil(batch.size + batch.all.size(), [&] {
    pool.for_each(ids.size(), workers, [&](std::size_t i) {
      (void)tokenize::encode_units(*handle, batch.all[i], ids[i]);
    });
  });
  return ids;
}

py::list encode_ordinary_batch(const Handle& handle, const py::sequence& texts,
                               py::handle threads) {
  const Batch batch(texts);
  const std::vector<std::vector<Rank>> ids = encode_all(handle, batch, threads);
  py::list lists(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) lists[i] = id_list(ids[i]);
  return lists;
}

py::tuple encode_to_numpy_batch(const Handle& handle, const py::sequence& texts,
                                py::handle threads) {
  const Batch batch(texts);
  std::vector<std::vector<Rank>> ids = encode_all(handle, batch, threads);
  std::vector<std::int64_t> offsets{0};
  for (const std::vector<Rank>& one : ids) {
    offsets.push_back(offsets.back() + static_cast<std::int64_t>(one.size()));
  }
  const auto size = static_cast<std::size_t>(offsets.back());
  auto flat = std::make_unique_for_overwrite<Rank[]>(size);
  const std::size_t workers = threads_of(threads, batch.size);
  ComputePool& pool = ComputePool::get();
  without_gil([&] {  // in parallel too: most of the time goes to the first touch of each page
    pool.for_each(ids.size(), workers, [&](std::size_t i) {
      std::copy(ids[i].begin(), ids[i].end(), flat.get() + offsets[i]);
      ids[i] = {};
    });
  });
  return py::make_tuple(id_array(std::move(flat), size), owned_array(std::move(offsets)));
}

py::list encode_batch(const Handle& handle, const py::sequence& texts, py::handle allowed_special,
                      bool check, py::handle threads) {
  const Batch batch(texts);
  const Allowed allowed(allowed_special);
  std::vector<std::vector<Rank>> ids(batch.all.size());
  const auto refuse = [&](std::string_view special) { return !allowed.has(special); };
  const auto accept = [&](std::string_view special) { return allowed.has(special); };
  std::atomic<std::size_t> refused{batch.all.size()};  // the first text with a token not allowed
  const std::size_t workers = threads_of(threads, batch.size);
  ComputePool& pool = ComputePool::get();
  off_gil(batch.size + batch.all.size(), [&] {
    pool.for_each(ids.size(), workers, [&](std::size_t i) {
      if (i > refused.load()) return;
      const Utf8Text utf8(batch.all[i]);
      if (check && (*handle).find_special(utf8.view(), 0, refuse)) {
        for (std::size_t old = refused.load(); i < old && !refused.compare_exchange_weak(old, i);) {
        }
      } else {
        (*handle).encode(utf8.view(), accept, ids[i]);
      }
    });
  });
  if (refused < ids.size()) {
    const Utf8Text utf8(batch.all[refused]);
    raise_disallowed(utf8.view(), *(*handle).find_special(utf8.view(), 0, refuse));
  }
  py::list lists(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) lists[i] = id_list(ids[i]);
  return lists;
}

// What a counting job reads, and what counts it.
struct TextJob {
  py::object encoding;
  py::object text;
  const Encoding* core;
  CodeUnits units;
};
struct BatchJob {
  py::object encoding;
  const Encoding* core;
  Batch batch;
  ComputePool* pool;
  std::size_t workers;
};

class TextCounted final : public PyCompletion {
 public:
  TextCounted(std::shared_ptr<TextJob> job, std::optional<std::size_t> tokens)
      : job_(std::move(job)), tokens_(tokens) {}
  py::object make_result() override {
    const std::shared_ptr<TextJob> job = std::move(job_);
    if (tokens_) return py::int_(*tokens_);
    return py::int_(count(py::cast<const Handle&>(job->encoding), job->text));  // surrogates
  }

 private:
  std::shared_ptr<TextJob> job_;
  std::optional<std::size_t> tokens_;
};

class BatchCounted final : public PyCompletion {
 public:
  BatchCounted(std::shared_ptr<BatchJob> job, std::vector<std::int64_t> counts)
      : job_(std::move(job)), counts_(std::move(counts)) {}
  py::object make_result() override {
    job_ = nullptr;
    return owned_array(std::move(counts_));
  }

 private:
  std::shared_ptr<BatchJob> job_;
  std::vector<std::int64_t> counts_;
};

// Runs work(job), which makes a PyCompletion, on the pool; the future of the running loop gets it.
template <typename Job, typename Work>
py::object on_pool(std::unique_ptr<Job> own, Work work) {
  ComputePool& pool = ComputePool::get();
  auto [future, waiter] = LoopBridge::current().make_future();
  pool.run([job = kept_for_job(std::move(own)), waiter, work]() mutable {
    std::unique_ptr<PyCompletion> done;
    try {
      done = work(std::move(job));
    } catch (...) {
      done = std::make_unique<FailedDone>(
          base::Status(base::Code::kOutOfMemory, "no memory for counting"));
    }
    waiter.complete(std::move(done));
  });
  return future;
}

py::object acount(const py::object& self, const py::object& text) {
  const CodeUnits units = code_units(text, "text");
  auto own =
      std::make_unique<TextJob>(TextJob{self, text, py::cast<const Handle&>(self).encoding, units});
  return on_pool(std::move(own), [](std::shared_ptr<TextJob> job) -> std::unique_ptr<PyCompletion> {
    const auto tokens = tokenize::count_units(*job->core, job->units);
    return std::make_unique<TextCounted>(std::move(job), tokens);
  });
}

py::object acount_batch(const py::object& self, const py::sequence& texts, py::handle threads) {
  Batch batch(texts);
  const std::size_t workers = threads_of(threads, batch.size);
  auto own = std::make_unique<BatchJob>(BatchJob{self, py::cast<const Handle&>(self).encoding,
                                                 std::move(batch), &ComputePool::get(), workers});
  return on_pool(std::move(own),
                 [](std::shared_ptr<BatchJob> job) -> std::unique_ptr<PyCompletion> {
                   std::vector<std::int64_t> counts(job->batch.all.size());
                   job->pool->for_each(counts.size(), job->workers, [&](std::size_t i) {
                     counts[i] = static_cast<std::int64_t>(
                         tokenize::count_units(*job->core, job->batch.all[i]).value());
                   });
                   return std::make_unique<BatchCounted>(std::move(job), std::move(counts));
                 });
}

[[noreturn]] void raise_key(const std::string& text) { throw py::key_error(text); }

py::bytes decode_bytes(const Handle& handle, py::handle tokens) {
  const base::Result<std::string> bytes = (*handle).decode(to_ids(tokens));
  if (!bytes) raise_key(bytes.error().message());
  return *bytes;
}

py::object decode(const Handle& handle, py::handle tokens, const std::string& errors) {
  const base::Result<std::string> bytes = (*handle).decode(to_ids(tokens));
  if (!bytes) raise_key(bytes.error().message());
  PyObject* text =
      PyUnicode_DecodeUTF8(bytes->data(), static_cast<Py_ssize_t>(bytes->size()), errors.c_str());
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(text);
}

py::bytes token_bytes(const Handle& handle, py::handle token) {
  const Rank id = to_id(token);
  const auto bytes = (*handle).token_bytes(id);
  if (!bytes) raise_key(std::to_string(id));
  return py::bytes(bytes->data(), bytes->size());
}

Rank single_token(const Handle& handle, const py::bytes& bytes) {
  const auto id = (*handle).single_token(std::string_view(bytes));
  if (!id) {  // the argument of tiktoken's KeyError is the bytes
    PyErr_SetObject(PyExc_KeyError, bytes.ptr());
    throw py::error_already_set();
  }
  return *id;
}

py::dict mergeable_ranks(const Handle& handle) {
  py::dict ranks;
  const tokenize::Vocab& vocab = (*handle).vocab();
  for (Rank rank = 0; rank < vocab.size(); ++rank) {
    const std::string_view token = vocab.token(rank);
    if (!token.empty()) ranks[py::bytes(token.data(), token.size())] = rank;
  }
  return ranks;
}

std::size_t limit_of(std::int64_t limit, const char* argument) {
  if (limit < 0) {
    throw StatusException(
        base::invalid_argument(argument, std::string(argument) + " must not be negative"));
  }
  return static_cast<std::size_t>(limit);
}

py::object count_up_to(const Handle& handle, py::handle value, std::int64_t max_tokens) {
  const std::size_t limit = limit_of(max_tokens, "max_tokens");
  const auto found = with_utf8(value, Surrogates::kReplace, [&](std::string_view text) {
    return off_gil(text.size(), [&] { return (*handle).count_up_to(text, limit); });
  });
  return found ? py::object(py::int_(*found)) : py::object(py::none());
}

py::str truncate(const Handle& handle, py::handle value, std::int64_t max_tokens) {
  const std::size_t limit = limit_of(max_tokens, "max_tokens");
  return with_utf8(value, Surrogates::kReplace, [&](std::string_view text) {
    const std::size_t end = off_gil(text.size(), [&] { return (*handle).truncate(text, limit); });
    return py::str(text.data(), end);
  });
}

py::list split_at(const Handle& handle, py::handle value, std::int64_t max_tokens,
                  std::int64_t overlap) {
  const std::size_t limit = limit_of(max_tokens, "max_tokens");
  const std::size_t shared = limit_of(overlap, "overlap");
  return with_utf8(value, Surrogates::kReplace, [&](std::string_view text) {
    const auto spans = off_gil(text.size(), [&] {
      return value_or_throw(tokenize::split_at(*handle, text, limit, shared));
    });
    py::list parts;
    for (const auto& [start, end] : spans) parts.append(py::str(text.data() + start, end - start));
    return parts;
  });
}

py::tuple encode_with_unstable(const Handle& handle, py::handle value, py::handle allowed_special) {
  const Allowed allowed(allowed_special);
  return with_utf8(value, Surrogates::kRaise, [&](std::string_view text) {
    const tokenize::Unstable found = off_gil(text.size(), [&] {
      return tokenize::encode_with_unstable(*handle, text,
                                            [&](std::string_view s) { return allowed.has(s); });
    });
    py::list completions;
    for (const std::vector<Rank>& one : found.completions) completions.append(id_list(one));
    return py::make_tuple(id_list(found.stable), completions);
  });
}

py::list sorted_tokens(const Handle& handle) {
  py::list tokens;
  for (const Rank rank : (*handle).sorted_tokens()) {
    const std::string_view token = (*handle).vocab().token(rank);
    tokens.append(py::bytes(token.data(), token.size()));
  }
  return tokens;
}

// A PrefixCounts with the text it borrows.
class OwnedPrefixCounts {
 public:
  OwnedPrefixCounts(const Handle& handle, py::handle value)
      : text_(with_utf8(value, Surrogates::kReplace,
                        [](std::string_view t) { return std::string(t); })),
        offsets_(off_gil(text_.size(), [&] { return text::CharOffsets(text_); })),
        counts_(off_gil(text_.size(), [&] { return tokenize::PrefixCounts(*handle, text_); })) {}
  [[nodiscard]] std::size_t count(std::int64_t start, std::int64_t end) const {
    check(start, end, offsets_.size());
    return counts_.count(offsets_.to_byte(static_cast<std::size_t>(start)),
                         offsets_.to_byte(static_cast<std::size_t>(end)));
  }
  [[nodiscard]] std::size_t count_bytes(std::int64_t start, std::int64_t end) const {
    check(start, end, text_.size());
    return counts_.count(static_cast<std::size_t>(start), static_cast<std::size_t>(end));
  }
  [[nodiscard]] std::size_t total() const noexcept { return counts_.total(); }

 private:
  static void check(std::int64_t start, std::int64_t end, std::size_t size) {
    if (start < 0 || end < start || static_cast<std::size_t>(end) > size) {
      throw StatusException(
          base::invalid_argument(start < 0 ? "start" : "end",
                                 "a span must have 0 <= start <= end <= " + std::to_string(size)));
    }
  }
  std::string text_;
  text::CharOffsets offsets_;
  tokenize::PrefixCounts counts_;
};

py::str feed(tokenize::StreamDecoder& decoder, py::handle tokens) {
  const base::Result<std::string> text = decoder.feed(to_ids(tokens));
  if (!text) raise_key(text.error().message());
  return py::str(*text);
}

void bind_encoding(py::module_& room) {
  py::class_<Handle> encoding(room, "NativeEncoding", "One encoding: text to ids and back.");
  encoding.def(py::init(&known), py::arg("name"))
      .def(py::init(&custom), py::arg("name"), py::arg("pat_str"), py::arg("mergeable_ranks"),
           py::arg("special_tokens"))
      .def_property_readonly("max_token_value",
                             [](const Handle& h) { return (*h).max_token_value(); })
      .def_property_readonly(
          "pat_str",
          [](const Handle& h) { return std::string(tokenize::pattern_of((*h).grammar())); })
      .def("mergeable_ranks", &mergeable_ranks)
      .def("special_tokens",
           [](const Handle& h) {
             py::dict specials;
             for (const auto& [token, id] : (*h).special_tokens()) specials[py::str(token)] = id;
             return specials;
           })
      .def("count", &count, py::arg("text"))
      .def("count_batch", &count_batch, py::arg("texts"), py::arg("threads"))
      .def("acount", &acount, py::arg("text"))
      .def("acount_batch", &acount_batch, py::arg("texts"), py::arg("threads"))
      .def("count_up_to", &count_up_to, py::arg("text"), py::arg("max_tokens"))
      .def("truncate", &truncate, py::arg("text"), py::arg("max_tokens"))
      .def("split_at", &split_at, py::arg("text"), py::arg("max_tokens"), py::arg("overlap"))
      .def(
          "encode_ordinary",
          [](const Handle& h, py::handle text) { return id_list(encode_ordinary(h, text)); },
          py::arg("text"))
      .def(
          "encode",
          [](const Handle& h, py::handle text, py::handle allowed, bool check) {
            const Allowed filter(allowed);
            return id_list(with_utf8(text, Surrogates::kReplace, [&](std::string_view utf8) {
              return encode_utf8(*h, utf8, filter, check);
            }));
          },
          py::arg("text"), py::arg("allowed"), py::arg("check"))
      .def(
          "encode_to_numpy",
          [](const Handle& h, py::handle text, py::handle allowed, bool check) {
            const Allowed filter(allowed);
            return id_array(with_utf8(text, Surrogates::kRaise, [&](std::string_view utf8) {
              return encode_utf8(*h, utf8, filter, check);
            }));
          },
          py::arg("text"), py::arg("allowed"), py::arg("check"))
      .def("encode_ordinary_batch", &encode_ordinary_batch, py::arg("texts"), py::arg("threads"))
      .def("encode_to_numpy_batch", &encode_to_numpy_batch, py::arg("texts"), py::arg("threads"))
      .def("encode_batch", &encode_batch, py::arg("texts"), py::arg("allowed"), py::arg("check"),
           py::arg("threads"))
      .def("encode_with_unstable", &encode_with_unstable, py::arg("text"), py::arg("allowed"))
      .def(
          "encode_bytes",
          [](const Handle& h, const py::bytes& bytes) {
            return id_list(tokenize::encode_bytes(*h, std::string_view(bytes)));
          },
          py::arg("data"))
      .def(
          "encode_single_piece",
          [](const Handle& h, const py::bytes& piece) {
            std::vector<Rank> ids;
            (*h).encode_piece(std::string_view(piece), ids);
            return id_list(ids);
          },
          py::arg("piece"))
      .def("encode_single_token", &single_token, py::arg("data"))
      .def("decode_bytes", &decode_bytes, py::arg("tokens"))
      .def("decode", &decode, py::arg("tokens"), py::arg("errors"))
      .def("decode_single_token_bytes", &token_bytes, py::arg("token"))
      .def("token_byte_values", &sorted_tokens);
  count_quickly(encoding);
}

}  // namespace

void bind_tokenize(py::module_& core) {
  py::module_ room = core.def_submodule("tokenize", "Exact token ids and counts.");
  bind_encoding(room);
  py::class_<tokenize::Counter>(room, "Counter", "Exact count of a text that grows.")
      .def(py::init([](const Handle& h) { return tokenize::Counter(*h); }), py::arg("encoding"),
           py::keep_alive<1, 2>())
      .def(
          "append",
          [](tokenize::Counter& counter, py::handle text) {
            return with_utf8(text, Surrogates::kReplace,
                             [&](std::string_view utf8) { return append_in_parts(counter, utf8); });
          },
          py::arg("text"))
      .def_property_readonly("count", &tokenize::Counter::count)
      .def(
          "fits",
          [](const tokenize::Counter& counter, std::int64_t max_tokens) {
            return counter.fits(limit_of(max_tokens, "max_tokens"));
          },
          py::arg("max_tokens"))
      .def("reset", &tokenize::Counter::reset);
  py::class_<OwnedPrefixCounts>(room, "PrefixCounts", "Exact counts of the spans of one text.")
      .def(py::init<const Handle&, py::handle>(), py::arg("encoding"), py::arg("text"),
           py::keep_alive<1, 2>())
      .def("count", &OwnedPrefixCounts::count, py::arg("start"), py::arg("end"))
      .def("count_bytes", &OwnedPrefixCounts::count_bytes, py::arg("start"), py::arg("end"))
      .def_property_readonly("total", &OwnedPrefixCounts::total);
  py::class_<tokenize::StreamDecoder>(room, "StreamDecoder", "Ids to text as they come.")
      .def(py::init([](const Handle& h) { return tokenize::StreamDecoder(*h); }),
           py::arg("encoding"), py::keep_alive<1, 2>())
      .def("feed", &feed, py::arg("tokens"))
      .def("finish", &tokenize::StreamDecoder::finish);
  room.def(
      "knows_pattern",
      [](const std::string& pattern) { return tokenize::grammar_of(pattern).has_value(); },
      py::arg("pattern"));
  room.def("forget_merges", &Encoding::forget_merges,
           "For measurements: every thread forgets which words it has merged.");
  room.def("encoding_names", [] {
    py::list names;
    for (const std::string_view name : Encoding::names()) names.append(py::str(std::string(name)));
    return names;
  });
  const auto rows = [](std::span<const tokenize::ModelName> names) {
    py::dict table;
    for (const auto& [model, encoding] : names) {
      table[py::str(std::string(model))] = py::str(std::string(encoding));
    }
    return table;
  };
  room.def("models", [rows] { return rows(tokenize::models()); });
  room.def("model_prefixes", [rows] { return rows(tokenize::model_prefixes()); });
  room.def(
      "choose_encoding",
      [](const std::string& model) {
        const tokenize::EncodingChoice choice = tokenize::choose_encoding(model);
        return py::make_tuple(std::string(choice.encoding), choice.exact,
                              std::string(choice.source));
      },
      py::arg("model"), "(encoding, exact, source)");
  room.def(
      "message_formula",
      [](const std::string& model) {
        const tokenize::MessageFormula f = tokenize::message_formula(model);
        return py::make_tuple(f.per_message, f.per_name, f.per_reply, f.exact,
                              std::string(f.source));
      },
      py::arg("model"), "(per message, per name, per reply, exact, source)");
  room.def(
      "tool_formula",
      [](const std::string& model) {
        const tokenize::ToolFormula f = tokenize::tool_formula(model);
        return py::make_tuple(f.function_start, f.properties_start, f.property, f.enum_start,
                              f.enum_item, f.function_end, std::string(f.source));
      },
      py::arg("model"));
  room.def(
      "count_image",
      [](const std::string& model, std::int64_t width, std::int64_t height,
         const std::string& detail) {
        const auto found = value_or_throw(tokenize::count_image(model, width, height, detail));
        return py::make_tuple(found.tokens, std::string(found.source));
      },
      py::arg("model"), py::arg("width"), py::arg("height"), py::arg("detail"), "(tokens, source)");
}

}  // namespace dure::bindings
