#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.h"
#include "dure/index/chunk_id.h"
#include "dure/index/filter.h"
#include "dure/index/hash_embedder.h"
#include "dure/index/kernels.h"
#include "dure/index/store.h"
#include "dure/index/words.h"
#include "gil.h"
#include "interruptible.h"
#include "status.h"

namespace dure::bindings {
namespace {

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

// The UTF-8 of each str; borrowed from the objects, which `texts` keeps.
std::vector<std::string_view> views_of(const py::sequence& texts) {
  std::vector<std::string_view> views;
  views.reserve(texts.size());
  for (const py::handle text : texts) {
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (data == nullptr) throw py::error_already_set();
    views.emplace_back(data, static_cast<std::size_t>(size));
  }
  return views;
}

py::array_t<float> embed_all(const index::HashEmbedder& embedder, const py::sequence& texts) {
  if (py::isinstance<py::str>(texts)) {
    throw StatusException(
        base::invalid_argument("texts", "texts is a list of str; embed_query takes one str"));
  }
  const py::list kept(texts);  // nobody else can drop an item meanwhile
  const std::vector<std::string_view> views = views_of(kept);
  py::array_t<float> out({views.size(), embedder.dim()});
  float* rows = out.mutable_data();
  interruptible([&] {
    base::CancelTick<64> tick;
    for (std::size_t i = 0; i < views.size(); ++i) {
      tick();
      embedder.embed(views[i], rows + i * embedder.dim());
    }
  });
  return out;
}

py::array_t<float> embed_one(const index::HashEmbedder& embedder, std::string_view text) {
  py::array_t<float> out(static_cast<py::ssize_t>(embedder.dim()));
  float* row = out.mutable_data();
  without_gil([&] { embedder.embed(text, row); });
  return out;
}

index::ContentHash content_of(const py::bytes& bytes) {
  const auto view = std::string_view(bytes);
  index::ContentHash hash{};
  if (view.size() != hash.size()) {
    throw StatusException(base::invalid_argument(
        "content", "a content hash has 32 bytes: make it by dure.retrieval.content_hash"));
  }
  std::copy(view.begin(), view.end(), hash.begin());
  return hash;
}

using Where = std::optional<std::string>;
using Model = std::pair<std::string, std::string>;

std::vector<float> floats_of(const Floats& array) {
  return {array.data(), array.data() + array.size()};
}

py::object vector_of(const std::vector<float>& vector, bool wanted) {
  if (!wanted) return py::none();
  return py::array_t<float>(static_cast<py::ssize_t>(vector.size()), vector.data());
}

py::tuple row_of(const index::Row& row, bool with_vector) {
  return py::make_tuple(row.id,
                        row.document.empty() ? py::none() : py::object(py::str(row.document)),
                        row.text, row.metadata, vector_of(row.vector, with_vector));
}

py::list hits_of(const std::vector<index::Hit>& hits, bool with_vector) {
  py::list out;
  for (const index::Hit& hit : hits) {
    const index::Row& row = hit.row;
    out.append(py::make_tuple(row.id, hit.score,
                              row.document.empty() ? py::none() : py::object(py::str(row.document)),
                              row.text, row.metadata, vector_of(row.vector, with_vector)));
  }
  return out;
}

py::dict plan_of(const index::Plan& plan) {
  py::dict out;
  out["vector"] = plan.vector;
  out["reason"] = plan.reason;
  out["words"] = plan.words;
  out["ef"] = plan.ef;
  out["distances"] = plan.distances;
  out["segments"] = plan.segments;
  out["flat_rows"] = plan.flat_rows;
  out["passing"] = plan.passing;
  out["seq"] = plan.seq;
  out["simd"] = index::kernels().name;
  return out;
}

const char* name_of_op(index::FilterOp op) {
  using Op = index::FilterOp;
  switch (op) {
    case Op::kAnd:
      return "and";
    case Op::kOr:
      return "or";
    case Op::kAtLeast:
      return "at_least";
    case Op::kNot:
      return "not";
    case Op::kEqual:
      return "=";
    case Op::kLess:
      return "<";
    case Op::kLessEqual:
      return "<=";
    case Op::kGreater:
      return ">";
    case Op::kGreaterEqual:
      return ">=";
    case Op::kIn:
      return "in";
    case Op::kNotIn:
      return "not_in";
    case Op::kLike:
      return "like";
    case Op::kHasText:
      return "has_text";
    case Op::kHasElement:
      return "has_element";
    case Op::kIsNull:
      return "is_null";
    case Op::kHoldsNull:
      return "holds_null";
    case Op::kIsEmpty:
      return "is_empty";
  }
  return "";
}

py::tuple tree_of(const index::FilterNode& node) {
  py::list values;
  for (const index::FilterValue& value : node.values) {
    values.append(std::visit([](const auto& one) { return py::object(py::cast(one)); }, value));
  }
  py::list children;
  for (const index::FilterNode& child : node.children) children.append(tree_of(child));
  return py::make_tuple(name_of_op(node.op), node.field, values, children, node.count,
                        node.any_element);
}

py::tuple document_of(const index::DocumentOut& one) {
  const index::DocumentIn& document = one.document;
  return py::make_tuple(document.id, document.source, document.size,
                        py::bytes(document.content_hash), document.metadata, one.chunks);
}

py::dict info_of(const index::CollectionInfo& info) {
  py::dict out;
  out["name"] = info.name;
  out["tenant"] = info.tenant;
  out["dim"] = info.dim;
  out["metric"] = std::string(index::name_of(info.metric));
  out["model"] = info.model;
  out["fingerprint"] = info.fingerprint;
  out["tokenizer"] = info.tokenizer;
  out["next"] = info.next;
  return out;
}

index::SealPolicy policy_of(const std::map<std::string, std::int64_t>& given) {
  index::SealPolicy policy;
  const auto take = [&given](const char* name, auto& field) {
    const auto at = given.find(name);
    if (at != given.end())
      field = static_cast<std::remove_reference_t<decltype(field)>>(at->second);
  };
  take("part_rows", policy.part_rows);
  take("seal_rows", policy.seal_rows);
  take("most_unsealed", policy.most_unsealed);
  take("brute_rows", policy.brute_rows);
  take("background", policy.background);
  take("builders", policy.builders);
  take("smallest", policy.smallest);
  take("segment_memory", policy.segment_memory);
  take("m", policy.graph.m);
  take("ef_construction", policy.graph.ef_construction);
  return policy;
}

index::Store open_store(const std::string& folder, const std::string& durability, bool read_only,
                        const std::optional<std::map<std::string, std::int64_t>>& seal) {
  index::StoreOptions options;
  options.durability =
      durability == "normal" ? index::Durability::kNormal : index::Durability::kFull;
  options.read_only = read_only;
  if (seal) options.seal = policy_of(*seal);
  return value_or_throw(without_gil([&] { return index::Store::open(folder, options); }));
}

index::Collection collection_of_store(const index::Store& store, const std::string& name,
                                      const std::string& tenant, std::size_t dim,
                                      const std::string& metric,
                                      const std::optional<std::string>& tokenizer) {
  const auto known = index::metric_of(metric);
  if (!known) {
    throw StatusException(
        base::invalid_argument("metric", "metric is cosine, ip or l2, not " + metric));
  }
  return value_or_throw(
      without_gil([&] { return store.collection({name, tenant, dim, *known, tokenizer}); }));
}

using Optionals = std::vector<std::optional<std::string>>;
using DocumentArgument = std::tuple<std::string, std::optional<std::string>,
                                    std::optional<std::int64_t>, py::bytes, std::string>;

std::vector<std::string> upsert(
    const index::Collection& col, const std::optional<std::vector<std::string>>& ids,
    const std::optional<std::vector<std::string>>& documents, const std::optional<Optionals>& texts,
    std::vector<std::string> metadata, const std::vector<std::optional<py::bytes>>& contents,
    const std::vector<std::int64_t>& vector_rows, const std::optional<Floats>& vectors,
    const Model& model, const std::optional<DocumentArgument>& document,
    const std::optional<Optionals>& embed_texts, const std::optional<Optionals>& words) {
  index::UpsertIn in;
  in.rows.resize(vector_rows.size());
  if ((ids && ids->size() != in.rows.size()) || (texts && texts->size() != in.rows.size()) ||
      (documents && documents->size() != in.rows.size()) ||
      (embed_texts && embed_texts->size() != in.rows.size()) ||
      (words && words->size() != in.rows.size()) || metadata.size() != in.rows.size() ||
      contents.size() != in.rows.size()) {
    throw StatusException(base::invalid_argument("ids", "the columns differ in length"));
  }
  for (std::size_t i = 0; i < in.rows.size(); ++i) {
    index::RowIn& row = in.rows[i];
    if (ids) row.id = (*ids)[i];
    if (documents) row.document = (*documents)[i];
    if (texts) row.text = (*texts)[i];
    if (embed_texts) row.embed = (*embed_texts)[i];
    if (words) row.words = (*words)[i];
    row.metadata = std::move(metadata[i]);
    if (contents[i]) row.content = content_of(*contents[i]);
    row.vector = vector_rows[i];
  }
  if (vectors) {
    in.vectors = floats_of(*vectors);
    in.dim = vectors->ndim() == 2 ? static_cast<std::size_t>(vectors->shape(1)) : 0;
  }
  in.model = {model.first, model.second};
  if (document) {
    const auto& [id, source, size, hash, meta] = *document;
    in.document = index::DocumentIn{id, source, size, std::string(hash), meta};
  }
  return value_or_throw(without_gil([&] { return col.upsert(std::move(in)); }));
}

py::tuple query(const index::Collection& col, const std::optional<Floats>& vector,
                const std::optional<std::string>& text, const std::string& mode, std::int64_t top_k,
                const Where& where, std::int64_t ef, std::optional<double> min_score,
                const std::string& group_by, bool with_vectors, const Model& model,
                bool fuse_by_score, std::pair<double, double> weights, std::optional<double> mmr,
                bool with_content, const std::optional<std::string>& words) {
  index::QueryIn in;
  if (vector) in.vector = floats_of(*vector);
  in.text = text;
  in.mode = mode == "vector" ? index::SearchMode::kVector
            : mode == "bm25" ? index::SearchMode::kBm25
                             : index::SearchMode::kHybrid;
  in.top_k = top_k;
  in.where = where;
  in.ef = ef;
  in.min_score = min_score;
  in.group_by = group_by;
  in.fuse_by_score = fuse_by_score;
  in.vector_weight = weights.first;
  in.words_weight = weights.second;
  in.mmr = mmr;
  in.with_content = with_content;
  in.words = words;
  in.with_vectors = with_vectors;
  in.model = {model.first, model.second};
  const index::QueryOut out = value_or_throw(without_gil([&] { return col.query(in); }));
  return py::make_tuple(hits_of(out.hits, with_vectors), plan_of(out.plan));
}

py::list query_batch(const index::Collection& col, const Floats& vectors, std::int64_t top_k,
                     const Where& where, std::int64_t ef) {
  index::QueryIn in;
  in.top_k = top_k;
  in.where = where;
  in.ef = ef;
  const std::vector<float> values = floats_of(vectors);
  const auto dim = static_cast<std::size_t>(vectors.shape(1));
  const auto all = value_or_throw(interruptible([&] { return col.query_batch(values, dim, in); }));
  py::list out;
  for (const index::QueryOut& one : all) out.append(hits_of(one.hits, false));
  return out;
}

// (rows, rows that are ready, rows without a text, the first of them)
py::tuple reembed_state(const index::Collection& col) {
  const auto state = value_or_throw(without_gil([&] { return col.reembed_state(); }));
  return py::make_tuple(state.rows, state.ready, state.textless, state.first_textless);
}

// ([(chunk, text, content, known)], next)
py::tuple reembed_page(const index::Collection& col, std::int64_t after, std::int64_t limit,
                       bool anew) {
  const auto page =
      value_or_throw(without_gil([&] { return col.reembed_page(after, limit, anew); }));
  py::list rows;
  for (const index::ReembedRow& row : page.rows) {
    rows.append(py::make_tuple(
        row.chunk, row.text,
        py::bytes(reinterpret_cast<const char*>(row.content.data()), row.content.size()),
        row.known));
  }
  return py::make_tuple(rows, page.next);
}

void put_reembedded(const index::Collection& col, const Model& model,
                    const std::vector<std::int64_t>& chunks, const std::vector<py::bytes>& contents,
                    const std::vector<std::int64_t>& vector_rows,
                    const std::optional<Floats>& vectors) {
  if (contents.size() != chunks.size() || vector_rows.size() != chunks.size()) {
    throw StatusException(base::invalid_argument("chunks", "the columns differ in length"));
  }
  std::vector<index::Reembedded> rows;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    rows.push_back({chunks[i], content_of(contents[i]), vector_rows[i]});
  }
  std::vector<float> values;
  std::size_t dim = 0;
  if (vectors && vectors->ndim() == 2) {
    values = floats_of(*vectors);
    dim = static_cast<std::size_t>(vectors->shape(1));
  }
  ok_or_throw(without_gil(
      [&] { return col.put_reembedded({model.first, model.second}, rows, values, dim); }));
}

void bind_reembedding(
    py::class_<index::Collection, std::unique_ptr<index::Collection, NoGilDelete>>& collection) {
  using Col = index::Collection;
  collection.def("reembed_state", &reembed_state)
      .def(
          "begin_reembed",
          [](const Col& col, const Model& model, std::size_t dim) {
            ok_or_throw(
                without_gil([&] { return col.begin_reembed({model.first, model.second}, dim); }));
          },
          py::arg("model"), py::arg("dim"))
      .def("cancel_reembed",
           [](const Col& col) { ok_or_throw(without_gil([&] { return col.cancel_reembed(); })); })
      .def("reembed_page", &reembed_page, py::arg("after"), py::arg("limit"), py::arg("anew"))
      .def("put_reembedded", &put_reembedded, py::arg("model"), py::arg("chunks"),
           py::arg("contents"), py::arg("vector_rows"), py::arg("vectors"))
      .def(
          "finish_reembed",
          [](const Col& col, const Model& model) {
            return value_or_throw(
                interruptible([&] { return col.finish_reembed({model.first, model.second}); }));
          },
          py::arg("model"));
}

void bind_collection(py::module_& room) {
  using Col = index::Collection;
  const auto rows_of = [](const std::vector<index::Row>& rows, bool with_vectors) {
    py::list out;
    for (const index::Row& row : rows) out.append(row_of(row, with_vectors));
    return out;
  };
  py::class_<Col, std::unique_ptr<Col, NoGilDelete>> collection(room, "Collection",
                                                                "Rows of one name and tenant.");
  bind_reembedding(collection);
  collection.def_property_readonly("name", &Col::name)
      .def_property_readonly("tenant", &Col::tenant)
      .def("info",
           [](const Col& col) {
             return info_of(value_or_throw(without_gil([&] { return col.info(); })));
           })
      .def("upsert", &upsert, py::arg("ids"), py::arg("documents"), py::arg("texts"),
           py::arg("metadata"), py::arg("contents"), py::arg("vector_rows"), py::arg("vectors"),
           py::arg("model"), py::arg("document"), py::arg("embed_texts") = py::none(),
           py::arg("words") = py::none())
      .def(
          "has_vectors",
          [](const Col& col, const std::vector<py::bytes>& contents) {
            std::vector<index::ContentHash> hashes;
            for (const py::bytes& one : contents) hashes.push_back(content_of(one));
            return value_or_throw(without_gil([&] { return col.has_vectors(hashes); }));
          },
          py::arg("contents"))
      .def("query", &query, py::arg("vector"), py::arg("text"), py::arg("mode"), py::arg("top_k"),
           py::arg("where"), py::arg("ef"), py::arg("min_score"), py::arg("group_by"),
           py::arg("with_vectors"), py::arg("model"), py::arg("fuse_by_score"), py::arg("weights"),
           py::arg("mmr"), py::arg("with_content"), py::arg("words") = py::none())
      .def("query_batch", &query_batch, py::arg("vectors"), py::arg("top_k"), py::arg("where"),
           py::arg("ef"))
      .def(
          "get",
          [rows_of](const Col& col, const std::vector<std::string>& ids, bool with_vectors) {
            return rows_of(value_or_throw(without_gil([&] { return col.get(ids, with_vectors); })),
                           with_vectors);
          },
          py::arg("ids"), py::arg("with_vectors"))
      .def(
          "update",
          [](const Col& col, std::vector<std::string> ids, std::vector<std::string> metadata) {
            return value_or_throw(
                without_gil([&] { return col.update(std::move(ids), std::move(metadata)); }));
          },
          py::arg("ids"), py::arg("metadata"))
      .def(
          "delete",
          [](const Col& col, std::vector<std::string> ids) {
            return value_or_throw(without_gil([&] { return col.remove(std::move(ids)); }));
          },
          py::arg("ids"))
      .def(
          "delete_where",
          [](const Col& col, std::string where) {
            return value_or_throw(without_gil([&] { return col.remove_where(std::move(where)); }));
          },
          py::arg("where"))
      .def(
          "count",
          [](const Col& col, const Where& where) {
            return value_or_throw(without_gil([&] { return col.count(where); }));
          },
          py::arg("where"))
      .def(
          "scroll",
          [rows_of](const Col& col, const std::optional<std::string>& after, std::int64_t limit,
                    const Where& where, bool with_vectors) {
            const index::Page page = value_or_throw(
                without_gil([&] { return col.scroll(after, limit, where, with_vectors); }));
            return py::make_tuple(rows_of(page.rows, with_vectors), page.next);
          },
          py::arg("after"), py::arg("limit"), py::arg("where"), py::arg("with_vectors"))
      .def(
          "changes",
          [rows_of](const Col& col, std::uint64_t since, std::int64_t after, std::int64_t limit) {
            const index::ChangePage page =
                value_or_throw(without_gil([&] { return col.changes(since, after, limit); }));
            return py::make_tuple(rows_of(page.rows, true), page.removed, page.next, page.seq);
          },
          py::arg("since"), py::arg("after"), py::arg("limit"))
      .def("optimize",
           [](const Col& col) { ok_or_throw(interruptible([&] { return col.optimize(); })); })
      .def("documents",
           [](const Col& col) {
             const auto all = value_or_throw(without_gil([&] { return col.documents(); }));
             py::list out;
             for (const auto& one : all) out.append(document_of(one));
             return out;
           })
      .def(
          "document",
          [](const Col& col, const std::string& id) -> py::object {
            const auto one = value_or_throw(without_gil([&] { return col.document(id); }));
            return one ? py::object(document_of(*one)) : py::none();
          },
          py::arg("id"))
      .def(
          "delete_documents",
          [](const Col& col, std::vector<std::string> ids) {
            return value_or_throw(
                without_gil([&] { return col.remove_documents(std::move(ids)); }));
          },
          py::arg("ids"));
}

void bind_store(py::module_& room) {
  using Store = index::Store;
  py::class_<Store, std::unique_ptr<Store, NoGilDelete>>(room, "Store", "A folder of collections.")
      .def_static("open", &open_store, py::arg("folder"), py::arg("durability"),
                  py::arg("read_only"), py::arg("seal") = py::none())
      .def_property_readonly("folder", &Store::folder)
      .def("collection", &collection_of_store, py::arg("name"), py::arg("tenant"), py::arg("dim"),
           py::arg("metric"), py::arg("tokenizer") = py::none())
      .def(
          "collections",
          [](const Store& store, const std::optional<std::string>& tenant) {
            py::list out;
            for (const auto& info :
                 value_or_throw(without_gil([&] { return store.collections(tenant); }))) {
              out.append(info_of(info));
            }
            return out;
          },
          py::arg("tenant"))
      .def(
          "drop",
          [](const Store& store, const std::string& name, const std::string& tenant) {
            ok_or_throw(without_gil([&] { return store.drop(name, tenant); }));
          },
          py::arg("name"), py::arg("tenant"))
      .def(
          "backup",
          [](const Store& store, const std::string& path) {
            ok_or_throw(without_gil([&] { return store.backup(path); }));
          },
          py::arg("path"))
      .def("verify",
           [](const Store& store) {
             const auto found = value_or_throw(without_gil([&] { return store.verify(); }));
             py::list damaged;
             for (const index::Damage& one : found.damaged) {
               damaged.append(
                   py::make_tuple(one.tenant, one.collection, one.row, one.document, one.what));
             }
             return py::make_tuple(found.rows, damaged);
           })
      .def("close", [](const Store& store) { without_gil([&] { store.close(); }); });
}

void bind_embedder(py::module_& room) {
  using Embedder = index::HashEmbedder;
  const auto none = [](const Embedder&) { return py::none(); };
  const auto empty = [](const Embedder&) { return ""; };
  py::class_<Embedder>(room, "HashEmbedder",
                       "Vectors for texts without any model: signed feature hashing of words.")
      .def(py::init([](std::int64_t dim, std::uint64_t seed) {
             return value_or_throw(Embedder::create(dim, seed));
           }),
           py::arg("dim") = 384, py::arg("seed") = 0)
      .def_property_readonly("dim", &Embedder::dim)
      .def_property_readonly("seed", &Embedder::seed)
      .def_property_readonly("model_id", [](const Embedder&) { return "dure-hash"; })
      .def_property_readonly(
          "revision",
          [](const Embedder& embedder) { return "1:seed=" + std::to_string(embedder.seed()); })
      .def_property_readonly("normalized", [](const Embedder&) { return true; })
      .def_property_readonly("query_prefix", empty)
      .def_property_readonly("document_prefix", empty)
      .def_property_readonly("max_input_tokens", none)
      .def_property_readonly("max_batch_inputs", none)
      .def_property_readonly("max_batch_tokens", none)
      .def("embed_documents", &embed_all, py::arg("texts"), "float32 [n, dim], each of length one.")
      .def("encode", &embed_all, py::arg("texts"), "The same as embed_documents.")
      .def("embed_query", &embed_one, py::arg("text"), "float32 [dim] of length one.")
      .def("__repr__", [](const Embedder& embedder) {
        return "HashEmbedder(dim=" + std::to_string(embedder.dim()) +
               ", seed=" + std::to_string(embedder.seed()) + ")";
      });
}

}  // namespace

void bind_index(py::module_& core) {
  py::module_ room = core.def_submodule("index", "Search by meaning and by words.");
  bind_embedder(room);
  bind_collection(room);
  bind_store(room);
  room.def("words", &index::words, py::arg("text"), "The words of a text as search sees them.");
  room.def(
      "simd", [] { return index::kernels().name; },
      "The instructions in use: scalar, avx2, avx512 or vnni.");
  room.def(
      "chunk_id",
      [](std::string_view document, const py::bytes& content, std::uint64_t occurrence) {
        return index::chunk_id(document, content_of(content), occurrence);
      },
      py::arg("document"), py::arg("content"), py::arg("occurrence"),
      "The id of the chunk with that content in that document.");
  room.def(
      "filter_tree",
      [](std::string_view where) {
        const index::Filter filter = value_or_throw(index::Filter::parse(where));
        return py::make_tuple(tree_of(filter.root()), filter.missing_is_unknown());
      },
      py::arg("where"),
      "A filter (as JSON) as (op, field, values, children, count, any_element), and whether a "
      "missing field is unknown.");
  room.def("document_id", &index::document_id, py::arg("text"),
           "The id of a document that nobody named.");
}

}  // namespace dure::bindings
