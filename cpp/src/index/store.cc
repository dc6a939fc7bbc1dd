#include "dure/index/store.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "dure/base/cancel.h"
#include "dure/index/fusion.h"
#include "dure/index/words.h"
#include "json/reader.h"
#include "store_core.h"

namespace dure::index {
namespace {

constexpr std::size_t kMaxDim = 65536;
constexpr std::size_t kMaxName = 512;
constexpr std::int64_t kMaxTopK = 1'000'000;
constexpr std::size_t kMaxMetadata = std::size_t{1} << 20U;
constexpr int kFetchTries = 3;  // a compaction may drop rows between search and fetch

base::Status bad_vector(std::size_t row, const std::string& why) {
  return base::invalid_argument("embeddings", "vector " + std::to_string(row) + " " + why)
      .as("InvalidVectorError")
      .with("row", static_cast<std::int64_t>(row));
}

base::Status check_vector(const float* vector, std::size_t dim, Metric metric, std::size_t row) {
  if (!is_finite(vector, dim)) return bad_vector(row, "holds NaN or infinity");
  float squares = 0;
  for (std::size_t i = 0; i < dim; ++i) squares += vector[i] * vector[i];
  if (!std::isfinite(squares)) return bad_vector(row, "is too long for single precision");
  if (metric == Metric::kCosine && !(squares > 0)) {
    return bad_vector(row, "has no direction: under cosine a vector must not be zero");
  }
  return {};
}

base::Status wrong_dim(const CollectionInfo& info, std::size_t given, std::string_view argument) {
  return base::invalid_argument(argument, "collection '" + info.name + "' holds vectors of " +
                                              std::to_string(info.dim) + " floats, not " +
                                              std::to_string(given) +
                                              ": use another collection, or re-embed this one")
      .as("DimensionMismatchError")
      .with("collection", info.name)
      .with("stored", static_cast<std::int64_t>(info.dim))
      .with("given", static_cast<std::int64_t>(given));
}

base::Status wrong_model(const CollectionInfo& info, const ModelIn& given) {
  return base::invalid_argument("embedder", "collection '" + info.name + "' holds vectors of " +
                                                info.model + ", not of " + given.id +
                                                ": ask with the model that filled it, or re-embed")
      .as("ModelMismatchError")
      .with("collection", info.name)
      .with("stored", info.model)
      .with("given", given.id);
}

base::Status dropped(const std::string& name) {
  return {base::Code::kNotFound, "collection '" + name + "' was dropped"};
}

// Ids that are not given follow from document and content.
std::vector<std::string> ids_of(const UpsertIn& in) {
  std::unordered_map<std::string, std::uint64_t> seen;
  std::vector<std::string> ids;
  ids.reserve(in.rows.size());
  for (const RowIn& row : in.rows) {
    if (!row.id.empty() || !row.content) {
      ids.push_back(row.id);
      continue;
    }
    const std::string document = in.document             ? in.document->id
                                 : !row.document.empty() ? row.document
                                                         : base::hex(*row.content, 16);
    const std::uint64_t n = seen[document + base::hex(*row.content)]++;
    ids.push_back(chunk_id(document, *row.content, n));
  }
  return ids;
}

base::Status check_ids(const std::vector<std::string>& ids) {
  std::unordered_set<std::string_view> seen;
  std::string twice;
  for (const std::string& id : ids) {
    if (id.empty()) return base::invalid_argument("ids", "a row has neither an id nor a content");
    if (id.size() > kMaxName)
      return base::invalid_argument("ids", "an id is longer than 512 bytes");
    if (!seen.insert(id).second) twice += (twice.empty() ? "" : ", ") + id;
  }
  if (twice.empty()) return {};
  return base::invalid_argument("ids", "ids stand twice in one upsert: " + twice);
}

// The value of a metadata field as text; a dotted name goes into objects.
std::string group_of(const std::string& metadata, const std::string& field) {
  json::Parser parser;
  const auto parsed = parser.parse(metadata);
  if (!parsed) return {};
  json::Value at = (*parsed)[field];
  if (at.missing()) {
    at = *parsed;
    for (std::size_t begin = 0; begin <= field.size();) {
      const std::size_t dot = std::min(field.find('.', begin), field.size());
      at = at[std::string_view(field).substr(begin, dot - begin)];
      begin = dot + 1;
    }
  }
  return at.absent() ? std::string() : at.text();
}

// Words of a question or a row are cut by whoever cut those of the collection.
base::Status check_words(const CollectionInfo& info, const std::optional<std::string>& text,
                         const std::optional<std::string>& words) {
  if (!text || words.has_value() == !info.tokenizer.empty()) return {};
  return base::invalid_argument(
      "tokenizer",
      info.tokenizer.empty()
          ? "collection '" + info.name + "' cuts words by itself: leave the tokenizer out"
          : "the words of collection '" + info.name + "' are cut by tokenizer '" + info.tokenizer +
                "': open it with that tokenizer");
}

struct Prepared {
  std::optional<QueryVector> vector;
  std::vector<std::uint64_t> words;
};

base::Result<Prepared> prepare(const CollectionInfo& info, const QueryIn& query) {
  Prepared made;
  if (query.top_k < 1 || query.top_k > kMaxTopK) {
    return base::fail(base::invalid_argument("top_k", "top_k must be between 1 and 1,000,000"));
  }
  const auto is_weight = [](double weight) { return std::isfinite(weight) && weight >= 0; };
  if (!is_weight(query.vector_weight) || !is_weight(query.words_weight)) {
    return base::fail(base::invalid_argument("weights", "weights are finite and not negative"));
  }
  if (query.mmr && !(*query.mmr >= 0 && *query.mmr <= 1)) {
    return base::fail(base::invalid_argument("mmr", "mmr is between 0 (unlike) and 1 (relevant)"));
  }
  if (query.ef < 0) return base::fail(base::invalid_argument("ef", "ef must not be negative"));
  const bool by_vector = query.mode != SearchMode::kBm25;
  const bool by_words = query.mode != SearchMode::kVector;
  if (by_words && !query.text) {
    return base::fail(base::invalid_argument("text", "this mode searches words: give a text"));
  }
  if (by_vector && !query.vector) {
    return base::fail(base::invalid_argument("vector", "this mode needs a vector"));
  }
  if (by_vector) {
    if (info.dim != 0 && info.dim != query.vector->size()) {
      return base::fail(wrong_dim(info, query.vector->size(), "vector"));
    }
    if (!query.model.fingerprint.empty() && !info.fingerprint.empty() &&
        query.model.fingerprint != info.fingerprint) {
      return base::fail(wrong_model(info, query.model));
    }
    std::vector<float> vector = *query.vector;
    DURE_RETURN_IF_ERROR(check_vector(vector.data(), vector.size(), info.metric, 0));
    if (info.metric == Metric::kCosine) (void)normalize(vector.data(), vector.size());
    made.vector.emplace(vector.data(), vector.size(), info.metric);
  }
  if (by_words) {
    DURE_RETURN_IF_ERROR(check_words(info, query.text, query.words));
    if (query.words) {
      append_given_hashes(*query.words, made.words);
    } else {
      append_word_hashes(*query.text, made.words);
    }
  }
  return made;
}

// Hits of one search; nothing if a row went away between search and fetch.
base::Result<std::optional<QueryOut>> search_once(StoreCore& core, const StoreCore::Loaded& loaded,
                                                  const Prepared& prepared, const QueryIn& query,
                                                  std::size_t top_k) {
  QueryOut out;
  out.plan.seq = loaded.applied;
  SearchSpec spec;
  spec.vector = prepared.vector ? &*prepared.vector : nullptr;
  spec.words = query.mode != SearchMode::kVector ? &prepared.words : nullptr;
  spec.top_k = top_k;
  spec.ef = static_cast<std::size_t>(query.ef);
  spec.where = query.where ? &*query.where : nullptr;
  spec.fuse_by_score = query.fuse_by_score;
  spec.vector_weight = query.vector_weight;
  spec.words_weight = query.words_weight;
  const bool bare = !query.with_content && !query.with_vectors && !query.mmr.has_value() &&
                    query.group_by.empty();
  spec.with_ids = bare;
  auto found = loaded.index->search(spec, out.plan);
  if (!found) return base::fail(std::move(found.error()));
  if (bare) {
    for (ScoredChunk& one : *found) {
      if (query.min_score && one.score < *query.min_score) break;
      Row row;
      row.id = std::move(one.id);
      out.hits.push_back({std::move(row), one.score});
    }
    return std::optional<QueryOut>(std::move(out));
  }
  auto whole = core.read([&](StoreDb& db) {
    bool all = true;
    db.begin_read();
    for (const ScoredChunk& one : *found) {
      if (query.min_score && one.score < *query.min_score) break;
      auto row = db.fetch(one.chunk, query.with_vectors || query.mmr.has_value());
      all = all && row.has_value();
      if (row) out.hits.push_back({std::move(*row), one.score});
    }
    db.end_read();
    return all;
  });
  if (!whole) return base::fail(std::move(whole.error()));
  if (!*whole) return std::optional<QueryOut>();
  return std::optional<QueryOut>(std::move(out));
}

// At most one hit for each value of the field; a row without it is a group of its own.
void keep_best_of_groups(std::vector<Hit>& hits, const std::string& field) {
  std::unordered_set<std::string> groups;
  std::erase_if(hits, [&](const Hit& hit) {
    const std::string group = group_of(hit.row.metadata, field);
    return !group.empty() && !groups.insert(group).second;
  });
}

// Keeps `wanted` of the hits, in the order of diversify().
void keep_unlike(std::vector<Hit>& hits, const QueryIn& query, std::size_t wanted) {
  std::vector<double> scores;
  std::vector<float> vectors;
  for (const Hit& hit : hits) {
    scores.push_back(hit.score);
    vectors.insert(vectors.end(), hit.row.vector.begin(), hit.row.vector.end());
  }
  const std::size_t dim = hits.empty() ? 0 : hits.front().row.vector.size();
  std::vector<Hit> chosen;
  for (const std::size_t at : diversify(scores, vectors, dim, wanted, *query.mmr)) {
    chosen.push_back(std::move(hits[at]));
    if (!query.with_vectors) chosen.back().row.vector.clear();
  }
  hits = std::move(chosen);
}

base::Result<QueryOut> search(StoreCore& core, const std::string& tenant, const std::string& name,
                              const QueryIn& query) {
  for (int attempt = 0; attempt < kFetchTries; ++attempt) {
    auto loaded = core.current(tenant, name);
    if (!loaded) return base::fail(std::move(loaded.error()));
    const auto prepared = prepare(loaded->row.info, query);
    if (!prepared) return base::fail(prepared.error());
    if (!loaded->index) {
      if (query.where) {
        if (auto parsed = Filter::parse(*query.where); !parsed) {
          return base::fail(std::move(parsed.error()));
        }
      }
      return QueryOut{};  // nothing was ever written
    }
    const auto wanted = static_cast<std::size_t>(query.top_k);
    const bool plain = query.group_by.empty() && !query.mmr;
    std::size_t depth = plain ? wanted : 4 * wanted + 16;
    for (;;) {
      auto out = search_once(core, *loaded, *prepared, query, depth);
      if (!out) return base::fail(std::move(out.error()));
      if (!*out) break;
      std::vector<Hit>& hits = (*out)->hits;
      const bool exhausted = hits.size() < depth;
      if (!query.group_by.empty()) keep_best_of_groups(hits, query.group_by);
      if (hits.size() >= wanted || exhausted) {
        if (query.mmr) keep_unlike(hits, query, wanted);
        if (hits.size() > wanted) hits.resize(wanted);
        return std::move(**out);
      }
      depth *= 4;
    }
  }
  return base::fail(base::Code::kInternal, "rows vanished while they were read: call again");
}

}  // namespace

// --- Collection
// -----------------------------------------------------------------------------------

base::Result<CollectionInfo> Collection::info() const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  auto row = (*core)->read([this](StoreDb& db) { return db.find_collection(tenant_, name_); });
  if (!row) return base::fail(std::move(row.error()));
  if (!*row) {
    return base::fail(base::Code::kNotFound,
                      "there is no collection '" + name_ + "': it was dropped or never made");
  }
  return (*row)->info;
}

base::Result<std::vector<std::string>> Collection::upsert(UpsertIn rows) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  auto loaded = (*core)->current(tenant_, name_);
  if (!loaded) return base::fail(std::move(loaded.error()));
  const CollectionInfo& info = loaded->row.info;
  UpsertJob job;
  job.in = std::move(rows);
  const UpsertIn& in = job.in;
  const std::size_t vectors = in.dim == 0 ? 0 : in.vectors.size() / in.dim;
  if (in.dim > kMaxDim) {
    return base::fail(base::invalid_argument("embeddings", "vectors have at most 65,536 floats"));
  }
  if (!in.vectors.empty() && info.dim != 0 && info.dim != in.dim) {
    return base::fail(wrong_dim(info, in.dim, "embeddings"));
  }
  for (std::size_t i = 0; i < in.rows.size(); ++i) {
    const RowIn& row = in.rows[i];
    if (row.vector >= static_cast<std::int64_t>(vectors) || (row.vector < 0 && !row.content)) {
      return base::fail(base::invalid_argument(
          "embeddings", "row " + std::to_string(i) + " has neither a vector nor a content"));
    }
    if (row.vector >= 0) {
      const float* vector = in.vectors.data() + static_cast<std::size_t>(row.vector) * in.dim;
      DURE_RETURN_IF_ERROR(check_vector(vector, in.dim, info.metric, i));
    }
    if (row.metadata.size() > kMaxMetadata) {
      return base::fail(
          base::invalid_argument(
              "metadata", "the metadata of row " + std::to_string(i) + " is larger than 1 MiB")
              .with("row", static_cast<std::int64_t>(i)));
    }
  }
  job.ids = ids_of(in);
  DURE_RETURN_IF_ERROR(check_ids(job.ids));
  job.words.resize(in.rows.size());
  for (std::size_t i = 0; i < in.rows.size(); ++i) {
    const RowIn& row = in.rows[i];
    DURE_RETURN_IF_ERROR(check_words(info, row.text, row.words));
    if (!row.text) continue;
    if (row.words) {
      append_given_hashes(*row.words, job.words[i]);
    } else {
      append_word_hashes(*row.text, job.words[i]);
    }
  }
  if (in.rows.empty() && !in.document) return job.ids;
  if (loaded->index) (*core)->hold_back(*loaded->index);
  DURE_RETURN_IF_ERROR((*core)->write(
      [this, &job](StoreDb& db, std::uint64_t seq, StoreCore::Changed& changed) -> base::Status {
        auto row = db.find_collection(tenant_, name_);
        if (!row) return dropped(name_);
        return db.upsert(*row, job, seq, changed[row->id]);
      }));
  return std::move(job.ids);
}

base::Result<std::vector<bool>> Collection::has_vectors(
    const std::vector<ContentHash>& contents) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  return (*core)->read([&](StoreDb& db) {
    const auto row = db.find_collection(tenant_, name_);
    return row ? db.has_vectors(*row, contents) : std::vector<bool>(contents.size(), false);
  });
}

base::Result<QueryOut> Collection::query(const QueryIn& query) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  return search(**core, tenant_, name_, query);
}

base::Result<std::vector<QueryOut>> Collection::query_batch(const std::vector<float>& vectors,
                                                            std::size_t dim,
                                                            const QueryIn& common) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  std::vector<QueryOut> all;
  const std::size_t count = dim == 0 ? 0 : vectors.size() / dim;
  QueryIn one = common;
  for (std::size_t i = 0; i < count; ++i) {
    base::check_cancel();
    const auto begin = vectors.begin() + static_cast<std::ptrdiff_t>(i * dim);
    one.vector.emplace(begin, begin + static_cast<std::ptrdiff_t>(dim));
    auto out = search(**core, tenant_, name_, one);
    if (!out) return base::fail(std::move(out.error()));
    all.push_back(std::move(*out));
  }
  return all;
}

base::Result<std::vector<Row>> Collection::get(const std::vector<std::string>& ids,
                                               bool with_vectors) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  const std::string* missing = nullptr;
  auto rows = (*core)->read([&](StoreDb& db) {
    std::vector<Row> found;
    const auto collection = db.find_collection(tenant_, name_);
    for (const std::string& id : ids) {
      auto row = collection ? db.find(collection->id, id, with_vectors) : std::nullopt;
      if (!row) {
        missing = &id;
        break;
      }
      found.push_back(std::move(*row));
    }
    return found;
  });
  if (rows && missing != nullptr) {
    return base::fail(base::Code::kNotFound,
                      "there is no row '" + *missing + "' in collection '" + name_ + "'");
  }
  return rows;
}

base::Result<std::size_t> Collection::update(std::vector<std::string> ids,
                                             std::vector<std::string> metadata) const {
  if (ids.size() != metadata.size()) {
    return base::fail(base::invalid_argument("metadata", "give one metadata per id"));
  }
  DURE_RETURN_IF_ERROR(check_ids(ids));
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  DURE_RETURN_IF_ERROR((*core)->write(
      [&](StoreDb& db, std::uint64_t seq, StoreCore::Changed& changed) -> base::Status {
        const auto row = db.find_collection(tenant_, name_);
        if (!row) return dropped(name_);
        return db.update(row->id, row->info.metric, ids, metadata, seq, changed[row->id]);
      }));
  return ids.size();
}

base::Result<std::size_t> Collection::remove(std::vector<std::string> ids) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  std::size_t removed = 0;
  DURE_RETURN_IF_ERROR((*core)->write(
      [&](StoreDb& db, std::uint64_t seq, StoreCore::Changed& changed) -> base::Status {
        const auto row = db.find_collection(tenant_, name_);
        if (!row) return dropped(name_);
        removed = db.remove(row->id, ids, seq, changed[row->id]);
        return db.take_status();
      }));
  return removed;
}

base::Result<std::size_t> Collection::remove_where(std::string where) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  auto loaded = (*core)->current(tenant_, name_);
  if (!loaded) return base::fail(std::move(loaded.error()));
  if (!loaded->index) {
    auto parsed = Filter::parse(where);
    if (!parsed) return base::fail(std::move(parsed.error()));
    return 0;
  }
  std::size_t removed = 0;
  const auto& index = loaded->index;
  DURE_RETURN_IF_ERROR((*core)->write(
      [&](StoreDb& db, std::uint64_t seq, StoreCore::Changed& changed) -> base::Status {
        auto chunks = index->passing(where);  // exact: this commit is alone
        if (!chunks) return std::move(chunks.error());
        removed = db.remove_chunks(*chunks, seq, changed[loaded->row.id]);
        return db.take_status();
      },
      true));
  return removed;
}

base::Result<std::size_t> Collection::count(const std::optional<std::string>& where) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  auto loaded = (*core)->current(tenant_, name_);
  if (!loaded) return base::fail(std::move(loaded.error()));
  if (loaded->index) return loaded->index->count(where ? &*where : nullptr);
  if (where) {
    auto parsed = Filter::parse(*where);
    if (!parsed) return base::fail(std::move(parsed.error()));
  }
  return 0;
}

base::Result<Page> Collection::scroll(const std::optional<std::string>& after, std::int64_t limit,
                                      const std::optional<std::string>& where,
                                      bool with_vectors) const {
  if (limit < 1) return base::fail(base::invalid_argument("limit", "limit must be at least 1"));
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  auto loaded = (*core)->current(tenant_, name_);
  if (!loaded) return base::fail(std::move(loaded.error()));
  std::optional<std::vector<std::int64_t>> only;
  if (where) {
    if (!loaded->index) {
      auto parsed = Filter::parse(*where);
      if (!parsed) return base::fail(std::move(parsed.error()));
      return Page{};
    }
    auto passing = loaded->index->passing(*where);
    if (!passing) return base::fail(std::move(passing.error()));
    only = std::move(*passing);
  }
  return (*core)->read([&](StoreDb& db) {
    return db.scroll(loaded->row.id, after, static_cast<std::size_t>(limit),
                     only ? &*only : nullptr, with_vectors);
  });
}

base::Result<ChangePage> Collection::changes(std::uint64_t since, std::int64_t after,
                                             std::int64_t limit) const {
  if (limit < 1) return base::fail(base::invalid_argument("limit", "limit must be at least 1"));
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  std::uint64_t purged = 0;
  auto page = (*core)->read([&](StoreDb& db) {
    const auto row = db.find_collection(tenant_, name_);
    if (!row) return ChangePage{};
    purged = row->purged;
    return db.changed(row->id, since, after, static_cast<std::size_t>(limit));
  });
  if (page && since != 0 && since < purged) {
    return base::fail(base::invalid_argument(
        "since", "rows that were removed after commit " + std::to_string(since) +
                     " are forgotten since commit " + std::to_string(purged) +
                     ": export everything once, then from there"));
  }
  return page;
}

base::Status Collection::optimize() const {
  auto core = store_->core();
  if (!core) return core.error();
  auto loaded = (*core)->current(tenant_, name_);
  if (!loaded) return loaded.error();
  return (*core)->optimize(loaded->row.id);
}

base::Status Collection::begin_reembed(const ModelIn& model, std::size_t dim) const {
  auto core = store_->core();
  if (!core) return core.error();
  return (*core)->write(
      [&](StoreDb& db, std::uint64_t /*seq*/, StoreCore::Changed& /*changed*/) -> base::Status {
        const auto row = db.find_collection(tenant_, name_);
        if (!row) return dropped(name_);
        db.begin_next(*row, {model, dim});
        return db.take_status();
      });
}

base::Result<ReembedState> Collection::reembed_state() const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  return (*core)->read([this](StoreDb& db) {
    const auto row = db.find_collection(tenant_, name_);
    return row ? db.reembed_state(row->id) : ReembedState();
  });
}

base::Status Collection::cancel_reembed() const {
  auto core = store_->core();
  if (!core) return core.error();
  return (*core)->write(
      [&](StoreDb& db, std::uint64_t /*seq*/, StoreCore::Changed& /*changed*/) -> base::Status {
        const auto row = db.find_collection(tenant_, name_);
        if (!row) return dropped(name_);
        db.cancel_next(*row);
        return db.take_status();
      });
}

base::Result<ReembedPage> Collection::reembed_page(std::int64_t after, std::int64_t limit,
                                                   bool anew) const {
  if (limit < 1) return base::fail(base::invalid_argument("limit", "limit must be at least 1"));
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  return (*core)->read([&](StoreDb& db) {
    const auto row = db.find_collection(tenant_, name_);
    return row ? db.reembed_page(*row, after, static_cast<std::size_t>(limit), anew)
               : ReembedPage();
  });
}

base::Status Collection::put_reembedded(const ModelIn& model, const std::vector<Reembedded>& rows,
                                        const std::vector<float>& vectors, std::size_t dim) const {
  auto core = store_->core();
  if (!core) return core.error();
  const std::size_t count = dim == 0 ? 0 : vectors.size() / dim;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].vector < static_cast<std::int64_t>(count)) continue;
    return base::invalid_argument("embeddings", "row " + std::to_string(i) + " names no vector");
  }
  return (*core)->write(
      [&](StoreDb& db, std::uint64_t /*seq*/, StoreCore::Changed& /*changed*/) -> base::Status {
        const auto row = db.find_collection(tenant_, name_);
        if (!row) return dropped(name_);
        const auto next = db.next_generation(row->id);
        if (!next || next->model.fingerprint != model.fingerprint) {
          return base::invalid_argument("embedder", "collection '" + name_ +
                                                        "' is not being re-embedded with " +
                                                        model.id + " any more: begin again");
        }
        if (count > 0 && next->dim != dim) return wrong_dim(row->info, dim, "embedder");
        for (std::size_t i = 0; i < count; ++i) {
          base::Status status = check_vector(vectors.data() + i * dim, dim, row->info.metric, i);
          if (!status.ok()) return status;
        }
        db.put_next(*row, rows, vectors, dim);
        return db.take_status();
      });
}

base::Result<bool> Collection::finish_reembed(const ModelIn& model) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  CollectionInfo info;
  info.name = name_;
  info.tenant = tenant_;
  return (*core)->finish_reembed(info, model);
}

base::Result<std::vector<DocumentOut>> Collection::documents() const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  return (*core)->read([this](StoreDb& db) {
    const auto row = db.find_collection(tenant_, name_);
    return row ? db.documents(row->id) : std::vector<DocumentOut>();
  });
}

base::Result<std::optional<DocumentOut>> Collection::document(const std::string& id) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  return (*core)->read([&](StoreDb& db) {
    const auto row = db.find_collection(tenant_, name_);
    return row ? db.document(row->id, id) : std::nullopt;
  });
}

base::Result<std::size_t> Collection::remove_documents(std::vector<std::string> ids) const {
  auto core = store_->core();
  if (!core) return base::fail(std::move(core.error()));
  std::size_t removed = 0;
  DURE_RETURN_IF_ERROR((*core)->write(
      [&](StoreDb& db, std::uint64_t seq, StoreCore::Changed& changed) -> base::Status {
        const auto row = db.find_collection(tenant_, name_);
        if (!row) return dropped(name_);
        removed = db.remove_documents(row->id, ids, seq, changed[row->id]);
        return db.take_status();
      }));
  return removed;
}

// --- Store
// ----------------------------------------------------------------------------------------

base::Result<Store> Store::open(const std::string& folder, const StoreOptions& options) {
  auto core = StoreCore::open(folder, options);
  if (!core) return base::fail(std::move(core.error()));
  return Store(std::make_shared<StoreHandle>(folder, options, std::move(*core)), folder);
}

base::Result<Collection> Store::collection(const CollectionIn& wanted) const {
  if (wanted.name.empty() || wanted.name.size() > kMaxName || wanted.tenant.size() > kMaxName) {
    return base::fail(base::invalid_argument(
        "name", "a collection's name has 1 to 512 bytes, its tenant at most 512"));
  }
  if (wanted.dim > kMaxDim) {
    return base::fail(base::invalid_argument("dim", "vectors have at most 65,536 floats"));
  }
  auto core = handle_->core();
  if (!core) return base::fail(std::move(core.error()));
  const auto find = [&] {
    return (*core)->read(
        [&](StoreDb& db) { return db.find_collection(wanted.tenant, wanted.name); });
  };
  auto row = find();
  if (!row) return base::fail(std::move(row.error()));
  if (!*row) {
    DURE_RETURN_IF_ERROR(
        (*core)->write([&](StoreDb& db, std::uint64_t /*seq*/, StoreCore::Changed& /*changed*/) {
          CollectionInfo info;
          info.name = wanted.name;
          info.tenant = wanted.tenant;
          info.dim = wanted.dim;
          info.metric = wanted.metric;
          info.tokenizer = wanted.tokenizer.value_or("");
          if (!db.find_collection(info.tenant, info.name)) db.create_collection(info);
          return db.take_status();
        }));
    row = find();
    if (!row) return base::fail(std::move(row.error()));
    if (!*row) return base::fail(base::Code::kNotFound, "the collection was dropped meanwhile");
  }
  const CollectionInfo& stored = (*row)->info;
  if (stored.metric != wanted.metric) {
    return base::fail(base::invalid_argument(
        "metric", "collection '" + stored.name + "' has metric " +
                      std::string(name_of(stored.metric)) + ", not " +
                      std::string(name_of(wanted.metric)) + ": say so, or use another name"));
  }
  if (wanted.dim != 0 && stored.dim != 0 && stored.dim != wanted.dim) {
    return base::fail(wrong_dim(stored, wanted.dim, "dim"));
  }
  if (wanted.tokenizer && *wanted.tokenizer != stored.tokenizer) {
    return base::fail(base::invalid_argument(
        "tokenizer",
        "collection '" + stored.name + "' cuts words by " +
            (stored.tokenizer.empty() ? std::string("itself") : "'" + stored.tokenizer + "'") +
            ", not by '" + *wanted.tokenizer + "': open it so, or use another name"));
  }
  return Collection(handle_, wanted.tenant, wanted.name);
}

base::Result<std::vector<CollectionInfo>> Store::collections(
    const std::optional<std::string>& tenant) const {
  auto core = handle_->core();
  if (!core) return base::fail(std::move(core.error()));
  return (*core)->read([&](StoreDb& db) {
    std::vector<CollectionInfo> infos;
    for (CollectionRow& row : db.collections(tenant)) infos.push_back(std::move(row.info));
    return infos;
  });
}

base::Status Store::drop(const std::string& name, const std::string& tenant) const {
  auto core = handle_->core();
  if (!core) return core.error();
  return (*core)->write(
      [&](StoreDb& db, std::uint64_t /*seq*/, StoreCore::Changed& changed) -> base::Status {
        const auto row = db.find_collection(tenant, name);
        if (!row) return {base::Code::kNotFound, "there is no collection '" + name + "'"};
        db.drop_collection(row->id);
        changed[row->id].dropped = true;
        return db.take_status();
      });
}

base::Status Store::backup(const std::string& path) const {
  auto core = handle_->core();
  if (!core) return core.error();
  return (*core)->backup(path);
}

base::Result<VerifyOut> Store::verify() const {
  auto core = handle_->core();
  if (!core) return base::fail(std::move(core.error()));
  return (*core)->verify();
}

void Store::close() const { handle_->close(); }

}  // namespace dure::index
