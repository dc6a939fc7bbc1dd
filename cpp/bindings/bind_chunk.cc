#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "bindings.h"
#include "compute_pool.h"
#include "dure/base/hash.h"
#include "dure/chunk/chunker.h"
#include "dure/chunk/chunks.h"
#include "dure/chunk/dedup.h"
#include "dure/chunk/stream.h"
#include "dure/chunk/verify.h"
#include "dure/text/sentences.h"
#include "dure/text/transcode.h"
#include "dure/text/utf8.h"
#include "dure/tokenize/encoding.h"
#include "gil.h"
#include "interruptible.h"
#include "py_text.h"
#include "status.h"

namespace dure::bindings {
namespace {

using chunk::Chunks;

// A str as UTF-8, or the bytes of any buffer (bytes, mmap); made and dropped with the GIL, read
// without it. One thread at a time. REQUIRES: the str outlives it.
class Text {
 public:
  explicit Text(const py::handle& text) {
    if (PyUnicode_Check(text.ptr()) != 0) {
      units_ = code_units(text, "text");
    } else if (PyObject_GetBuffer(text.ptr(), &buffer_, PyBUF_SIMPLE) == 0) {
      view_ = {static_cast<const char*>(buffer_.buf), static_cast<std::size_t>(buffer_.len)};
    } else {
      PyErr_Clear();
      throw StatusException(base::invalid_argument(
          "text", "text has to be str or UTF-8 bytes, not " +
                      std::string(py::str(py::type::of(text).attr("__name__")))));
    }
  }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
  ~Text() {
    if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
  }

  // A str beyond ASCII is copied at the first call. Fails for one that has no UTF-8 form.
  [[nodiscard]] base::Result<std::string_view> utf8() {
    if (!units_) return view_;
    if (!copy_) copy_ = std::make_unique<Utf8Text>(*units_);
    if (copy_->ok()) return copy_->view();
    return base::fail(
        base::invalid_argument("text", "the text holds a lone surrogate at offset " +
                                           std::to_string(text::count_code_points(copy_->view())) +
                                           ", which has no UTF-8 form"));
  }
  [[nodiscard]] std::string_view view() { return value_or_throw(utf8()); }
  // Until the next call the copy takes no memory.
  void drop_copy() noexcept { copy_ = nullptr; }

 private:
  Py_buffer buffer_{};
  std::string_view view_;
  std::optional<text::CodeUnits> units_;
  std::unique_ptr<Utf8Text> copy_;
};

// A caller's tokenizer: text -> number of tokens. Runs with the GIL.
chunk::CountFunction count_by(py::function count) {
  return [count = std::move(count)](std::string_view text) -> base::Result<std::size_t> {
    const py::object units = count(py::str(text.data(), text.size()));
    const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(units.ptr()));
    const std::int64_t value = index ? PyLong_AsLongLong(index.ptr()) : -1;
    if (PyErr_Occurred() != nullptr || value < 0) {
      PyErr_Clear();
      return base::fail(base::invalid_argument(
          "tokenizer", "it counted " + std::string(py::repr(units)).substr(0, 60) +
                           ": a number of tokens is an int from 0"));
    }
    return static_cast<std::size_t>(value);
  };
}

using Tokenizer = std::variant<std::string, py::function>;

chunk::CountFunction counter_of(const Tokenizer& tokenizer) {
  if (const auto* count = std::get_if<py::function>(&tokenizer)) return count_by(*count);
  const tokenize::Encoding* encoding =
      value_or_throw(tokenize::Encoding::get(std::get<std::string>(tokenizer)));
  return [encoding](std::string_view text) {
    return base::Result<std::size_t>(encoding->count(text));
  };
}

template <typename T>
py::array column(const py::object& owner, const std::vector<T>& values) {
  py::array out(py::dtype::of<T>(), {values.size()}, values.data(), owner);
  py::detail::array_proxy(out.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return out;
}

template <auto Member>
auto column_getter() {
  return [](const py::object& self) { return column(self, self.cast<Chunks&>().*Member); };
}

// Work that may call back into Python keeps the GIL.
template <typename Work>
decltype(auto) run(const chunk::Chunker& chunker, Work&& work) {
  if (chunker.options().count) return work();
  return interruptible(std::forward<Work>(work));
}

// Those of `cuts` that a text can have.
std::vector<chunk::Cut> cuts_of(std::string_view text,
                                const std::vector<std::pair<std::size_t, int>>& cuts) {
  std::vector<chunk::Cut> out;
  for (const auto& [at, level] : cuts) {
    const bool ascends = at > (out.empty() ? 0 : out.back().at);
    if (ascends && at < text.size() && !text::is_continuation(text[at]))
      out.push_back({at, static_cast<std::uint8_t>(std::clamp(level, 7, 9))});
  }
  return out;
}

Chunks chunk_one(const chunk::Chunker& chunker, const py::object& text,
                 const std::vector<std::size_t>& pages,
                 const std::vector<std::pair<std::size_t, int>>& cuts) {
  Text held(text);
  return value_or_throw(run(chunker, [&] {
    const std::string_view view = held.view();
    std::vector<std::size_t> starts = pages;
    if (!pages.empty() && text::is_valid(view)) {
      const text::CharOffsets offsets(view);
      for (std::size_t& start : starts) start = offsets.to_byte(std::min(start, offsets.size()));
    }
    return chunker.chunk(view, starts, cuts_of(view, cuts));
  }));
}

std::vector<Chunks> chunk_many(const chunk::Chunker& chunker, const py::sequence& texts,
                               std::size_t threads) {
  const py::tuple kept(texts);  // what is held borrows from these
  std::deque<Text> held;
  for (const py::handle text : kept) held.emplace_back(text);
  const auto cut = [&](std::size_t i) -> base::Result<Chunks> {
    const auto view = held[i].utf8();
    if (!view) return base::fail(view.error());
    auto chunks = chunker.chunk(*view);
    held[i].drop_copy();
    return chunks;
  };
  std::vector<Chunks> out;
  if (chunker.options().count) {  // whatever a caller's tokenizer raises comes through
    for (std::size_t i = 0; i < held.size(); ++i) out.push_back(value_or_throw(cut(i)));
    return out;
  }
  // The pool's threads know the words that they have merged: fresh ones would begin cold.
  ComputePool& pool = ComputePool::get();
  if (threads == 0) threads = std::max(1U, std::thread::hardware_concurrency());
  std::vector<base::Result<Chunks>> results(held.size());
  interruptible([&] {
    pool.for_each(held.size(), threads, [&](std::size_t i) {
      try {
        results[i] = cut(i);
      } catch (const std::bad_alloc&) {
        results[i] = base::fail(base::Code::kOutOfMemory, "not enough memory: pass fewer texts");
      }
    });
  });
  for (auto& result : results) out.push_back(value_or_throw(std::move(result)));
  return out;
}

// Cuts a long text, of which `read` gives a stretch at a time, and hands out batches.
class Reader {
 public:
  Reader(const chunk::Chunker& chunker, py::function read, std::size_t size, std::size_t batch,
         std::size_t window)
      : chunker_(chunker),
        read_(std::move(read)),
        batch_(batch),
        stream_(chunker, mode_of(size), size, window) {}

  // The next `batch` rows, fewer at the end. Offsets are those of the whole text.
  Chunks next() {
    while (stream_.ready() < batch_ && !stream_.done()) {
      const auto [begin, size] = stream_.wants();
      const py::bytes held = stretch(begin, size);
      const std::string_view bytes = held;
      base::Status status;
      run(chunker_, [&] { status = stream_.feed(bytes); });
      ok_or_throw(std::move(status));
    }
    return stream_.take(batch_);
  }

 private:
  chunk::Mode mode_of(std::size_t size) {
    if (chunker_.options().mode) return *chunker_.options().mode;
    return chunk::detect_mode(std::string_view(stretch(0, std::min<std::size_t>(size, 1U << 16U))));
  }

  py::bytes stretch(std::size_t begin, std::size_t size) {
    py::bytes bytes = read_(begin, size);
    if (std::string_view(bytes).size() == size) return bytes;
    throw StatusException(base::invalid_argument("text", "fewer bytes came than were asked for"));
  }

  const chunk::Chunker& chunker_;
  const py::function read_;
  const std::size_t batch_;
  chunk::Stream stream_;
};

// The store's ids (api: chunk ids) of all rows.
std::vector<std::string> ids(const Chunks& chunks, const py::object& text,
                             const std::string& document) {
  Text held(text);
  const auto u64 = [](std::uint64_t value) {
    std::string bytes;
    for (int shift = 0; shift < 64; shift += 8)
      bytes.push_back(static_cast<char>(value >> shift & 0xFF));
    return bytes;
  };
  return interruptible([&] {
    const std::string_view source = held.view();
    std::unordered_map<std::string, std::uint64_t> seen;
    std::vector<std::string> out;
    base::CancelTick<64> tick;
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      tick();
      const base::Sha256Digest digest = base::sha256(chunks.embedded(source, i));
      const std::string content(reinterpret_cast<const char*>(digest.data()), digest.size());
      const std::string key = u64(document.size()) + document + content + u64(seen[content]++);
      out.push_back(base::hex(base::sha256(key), 16));
    }
    return out;
  });
}

py::array_t<std::int64_t> sentences(const py::object& text, bool korean) {
  Text held(text);
  std::vector<std::int64_t> spans;
  interruptible([&] {
    const std::string_view view = held.view();
    const std::size_t valid = text::valid_prefix(view);
    if (valid != view.size())
      throw StatusException(base::invalid_argument(
          "text", "the bytes are not UTF-8 at offset " + std::to_string(valid)));
    const auto rules = korean ? text::SentenceRules::kKorean : text::SentenceRules::kUax29;
    std::size_t start = 0;
    std::int64_t character = 0;
    for (const std::size_t end : text::sentence_ends(view, rules)) {
      spans.push_back(character);
      character +=
          static_cast<std::int64_t>(text::count_code_points(view.substr(start, end - start)));
      spans.push_back(character);
      start = end;
    }
  });
  py::array_t<std::int64_t> out({spans.size() / 2, std::size_t{2}});
  std::copy(spans.begin(), spans.end(), out.mutable_data());
  return out;
}

chunk::Options options_of(const std::string& unit, std::size_t max, std::size_t overlap,
                          const std::optional<std::string>& mode, bool korean, bool heading_path,
                          std::vector<std::string> separators, std::vector<std::string> delimiters,
                          bool keep_tables, bool keep_fences, bool stable, bool trim,
                          const std::optional<Tokenizer>& tokenizer) {
  chunk::Options options;
  options.unit = unit == "tokens"  ? chunk::Unit::kTokens
                 : unit == "chars" ? chunk::Unit::kChars
                                   : chunk::Unit::kBytes;
  options.max = max;
  options.overlap = overlap;
  if (mode) options.mode = value_or_throw(chunk::mode_of(*mode));
  options.sentences = korean ? text::SentenceRules::kKorean : text::SentenceRules::kUax29;
  options.heading_path = heading_path;
  options.separators = std::move(separators);
  options.delimiters = std::move(delimiters);
  options.keep_tables = keep_tables;
  options.keep_fences = keep_fences;
  options.stable = stable;
  options.trim = trim;
  if (tokenizer && options.unit == chunk::Unit::kTokens) {
    if (const auto* count = std::get_if<py::function>(&*tokenizer)) {
      options.count = count_by(*count);
    } else {
      options.encoding = value_or_throw(tokenize::Encoding::get(std::get<std::string>(*tokenizer)));
    }
  }
  return options;
}

void bind_columns(py::module_& room) {
  py::class_<Chunks>(room, "Columns", "The pieces of one text; holds no text.")
      .def("__len__", &Chunks::size)
      .def_property_readonly("byte_start", column_getter<&Chunks::byte_start>())
      .def_property_readonly("byte_end", column_getter<&Chunks::byte_end>())
      .def_property_readonly("char_start", column_getter<&Chunks::char_start>())
      .def_property_readonly("char_end", column_getter<&Chunks::char_end>())
      .def_property_readonly("body_start", column_getter<&Chunks::body_start>())
      .def_property_readonly("token_count", column_getter<&Chunks::token_count>())
      .def_property_readonly("page", column_getter<&Chunks::page>())
      .def_property_readonly("hash64", column_getter<&Chunks::hash64>())
      .def(
          "prefix",
          [](const Chunks& self, std::size_t i) {
            return self.prefixes.at(self.prefix.at(i)).text;
          },
          py::arg("i"), "What is embedded before span i.")
      .def(
          "heading_path",
          [](const Chunks& self, std::size_t i) {
            return py::tuple(py::cast(self.prefixes.at(self.prefix.at(i)).heading_path));
          },
          py::arg("i"))
      .def(
          "shortened",
          [](const Chunks& self, std::size_t i) {
            return self.prefixes.at(self.prefix.at(i)).shortened;
          },
          py::arg("i"), "Whether headings were left out at the top of the path.")
      .def(
          "count_tokens",
          [](Chunks& self, const py::object& text, const Tokenizer& tokenizer) {
            const chunk::CountFunction count = counter_of(tokenizer);
            Text held(text);
            const auto work = [&] { return chunk::count_tokens(self, held.view(), count); };
            auto counts = value_or_throw(
                std::holds_alternative<std::string>(tokenizer) ? interruptible(work) : work());
            // Arrays borrow the column: who was later, of two threads, keeps that of the first.
            if (self.token_count.size() != self.size()) self.token_count = std::move(counts);
          },
          py::arg("text"), py::arg("tokenizer"), "Fills token_count.")
      .def_property_readonly(
          "origin", [](const Chunks& self) { return self.origin; },
          "Byte of the text with which what is passed as `text` begins.")
      .def("rows", &chunk::rows, py::arg("first"), py::arg("last"))
      .def(
          "count_by_parts",
          [](Chunks& self, const std::vector<Chunks*>& parts) {
            std::vector<std::int64_t> counts;
            for (const Chunks* part : parts)
              counts.insert(counts.end(), part->token_count.begin(), part->token_count.end());
            if (counts.size() == self.size() && self.token_count.size() != self.size())
              self.token_count = std::move(counts);
          },
          py::arg("parts"), "Takes token_count from what rows() gave.")
      .def("ids", &ids, py::arg("text"), py::arg("document"), "The store's ids.")
      .def(
          "unique",
          [](const Chunks& self, const py::object& text, std::optional<double> jaccard) {
            Text held(text);
            return interruptible([&] {
              return chunk::select(self, chunk::unique_chunks(self, held.view(), jaccard));
            });
          },
          py::arg("text"), py::arg("jaccard"), "Without duplicates.");
}

}  // namespace

void bind_chunk(py::module_& core) {
  py::module_ room = core.def_submodule("chunk", "Exact pieces of documents, and sentences.");
  bind_columns(room);
  py::class_<chunk::Chunker>(room, "Chunker", "Cuts texts under a cap. Immutable.")
      .def(py::init([](const std::string& unit, std::size_t max, std::size_t overlap,
                       const std::optional<std::string>& mode, bool korean, bool heading_path,
                       std::vector<std::string> separators, std::vector<std::string> delimiters,
                       bool keep_tables, bool keep_fences, bool stable, bool trim,
                       const std::optional<Tokenizer>& tokenizer) {
             return value_or_throw(chunk::Chunker::create(options_of(
                 unit, max, overlap, mode, korean, heading_path, std::move(separators),
                 std::move(delimiters), keep_tables, keep_fences, stable, trim, tokenizer)));
           }),
           py::kw_only(), py::arg("unit"), py::arg("max"), py::arg("overlap"), py::arg("mode"),
           py::arg("korean"), py::arg("heading_path"), py::arg("separators"), py::arg("delimiters"),
           py::arg("keep_tables"), py::arg("keep_fences"), py::arg("stable"), py::arg("trim"),
           py::arg("tokenizer"))
      .def("chunk", &chunk_one, py::arg("text"), py::arg("pages"),
           py::arg("cuts") = std::vector<std::pair<std::size_t, int>>{},
           "Offsets of pages in code points; (byte, level) of cuts in code.")
      .def("chunk_many", &chunk_many, py::arg("texts"), py::arg("threads"))
      .def(
          "verify",
          [](const chunk::Chunker& self, const Chunks& chunks, const py::object& text) {
            Text held(text);
            return value_or_throw(
                run(self, [&] { return chunk::verify(chunks, held.view(), self.options()); }));
          },
          py::arg("chunks"), py::arg("text"), "Broken rules; empty: sound.");
  py::class_<Reader>(room, "Reader", "Cuts a long text in batches of `batch` rows.")
      .def(py::init<const chunk::Chunker&, py::function, std::size_t, std::size_t, std::size_t>(),
           py::arg("chunker"), py::arg("read"), py::arg("size"), py::arg("batch"),
           py::arg("window") = 0, py::keep_alive<1, 2>(),
           "`read(begin, size)` returns so many bytes of the text from `begin` on.")
      .def("next", &Reader::next, "The next rows; none at the end.");
  room.def("encoding_names", [] {
    std::vector<std::string> names;
    for (const std::string_view name : tokenize::Encoding::names()) names.emplace_back(name);
    return names;
  });
  room.def("sentences", &sentences, py::arg("text"), py::arg("korean"),
           "Spans of sentences in code points, int64 [n, 2].");
}

}  // namespace dure::bindings
