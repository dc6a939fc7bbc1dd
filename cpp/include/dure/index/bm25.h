// dure/index/bm25.h - full-text ranking: an inverted index with BM25 in Lucene's form.
//
//   score = sum over the query's words of  idf * tf / (tf + k1 * (1 - b + b * length / average))
//   idf   = ln(1 + (N - df + 0.5) / (df + 0.5))
//
// N, df and the average length are those of the live rows of the whole index: the answer is always
// that of a fresh index of the live rows. A word that the query repeats counts as often.
//
// Words come as 64-bit hashes (words.h): the index knows no text and no language. Postings are
// differences of rows in bytes of variable length, one to three bytes each as a rule. A removed
// row is marked; its postings go when a third of the rows is marked, or at renumber().
//
// One thread at a time for changes; search, serialise and the counts may run on many threads while
// no change runs.
#ifndef DURE_INDEX_BM25_H_
#define DURE_INDEX_BM25_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dure/base/result.h"
#include "dure/index/scored_row.h"

namespace dure::index {

struct Bm25Options {
  double k1 = 1.2;  // finite, >= 0
  double b = 0.75;  // 0..1
};

class Bm25 {
 public:
  using Words = std::span<const std::uint64_t>;
  // In the map of renumber(): this row goes.
  static constexpr RowNumber kGone = 0xFFFFFFFF;

  // Fails with kInvalidArgument unless the options are in range.
  [[nodiscard]] static base::Result<std::unique_ptr<Bm25>> create(Bm25Options options = {});
  ~Bm25();
  Bm25(const Bm25&) = delete;
  Bm25& operator=(const Bm25&) = delete;

  // `words`: of the row's text, in any order, as often as they stand there. Fails with
  // kInvalidArgument, changing nothing, unless `row` is above every row added before (gaps are
  // fine) and below kGone.
  base::Status add(RowNumber row, Words words);
  // False if the row is not live.
  bool remove(RowNumber row);
  // Gives row r the number new_row[r], drops rows that are kGone or removed, and frees what they
  // held. Fails with kInvalidArgument, changing nothing, unless new_row covers rows() and the
  // numbers of the live rows rise.
  base::Status renumber(std::span<const RowNumber> new_row);

  [[nodiscard]] RowNumber rows() const noexcept;  // one above the highest row added
  [[nodiscard]] std::size_t live_rows() const noexcept;
  [[nodiscard]] bool live(RowNumber row) const noexcept;
  [[nodiscard]] std::size_t terms() const noexcept;
  [[nodiscard]] std::size_t memory_bytes() const noexcept;  // about
  [[nodiscard]] Bm25Options options() const noexcept;

  // The best `k` live rows that share a word with the query and are in `allowed` (if given), best
  // first, ties to the lower row. Keeps a buffer of 4 B a row for each thread that searches.
  [[nodiscard]] std::vector<ScoredRow> search(Words query, std::size_t k,
                                              std::optional<RowBits> allowed = std::nullopt) const;

  // The live rows as bytes, with a format version and a checksum. Equal indexes, equal bytes.
  [[nodiscard]] std::string serialise() const;
  // Safe on any input. Fails with kCorrupt unless `bytes` hold together as serialise() writes
  // them: then rebuild from the texts.
  [[nodiscard]] static base::Result<std::unique_ptr<Bm25>> deserialise(std::string_view bytes);

 private:
  struct Impl;
  explicit Bm25(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dure::index

#endif  // DURE_INDEX_BM25_H_
