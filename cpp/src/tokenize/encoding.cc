#include "dure/tokenize/encoding.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "dure/tokenize/bpe.h"
#include "dure/tokenize/counter.h"
#include "tokenize/embedded.h"
#include "tokenize/walk.h"

namespace dure::tokenize {
namespace {

using Specials = std::vector<std::pair<std::string, Rank>>;

constexpr std::array<std::string_view, 7> kNames{
    "gpt2", "r50k_base", "p50k_base", "p50k_edit", "cl100k_base", "o200k_base", "o200k_harmony"};

Specials harmony_specials() {
  // endofprompt first: it shares its id with reserved_200018 and is what that id decodes to.
  Specials specials{{"<|endoftext|>", 199999},
                    {"<|endofprompt|>", 200018},
                    {"<|startoftext|>", 199998},
                    {"<|reserved_200000|>", 200000},
                    {"<|reserved_200001|>", 200001},
                    {"<|return|>", 200002},
                    {"<|constrain|>", 200003},
                    {"<|reserved_200004|>", 200004},
                    {"<|channel|>", 200005},
                    {"<|start|>", 200006},
                    {"<|end|>", 200007},
                    {"<|message|>", 200008},
                    {"<|reserved_200009|>", 200009},
                    {"<|reserved_200010|>", 200010},
                    {"<|reserved_200011|>", 200011},
                    {"<|call|>", 200012}};
  for (Rank id = 200013; id < 201088; ++id) {
    specials.emplace_back("<|reserved_" + std::to_string(id) + "|>", id);
  }
  return specials;
}

struct Recipe {
  Grammar grammar;
  Embedded vocab;
  Specials specials;
};

Recipe recipe_of(std::size_t index) {
  const Specials gpt2{{"<|endoftext|>", 50256}};
  switch (index) {
    case 0:
    case 1:
      return {Grammar::kGpt2, Embedded::kR50k, gpt2};
    case 2:
      return {Grammar::kGpt2, Embedded::kP50k, gpt2};
    case 3:
      return {Grammar::kGpt2,
              Embedded::kP50k,
              {{"<|endoftext|>", 50256},
               {"<|fim_prefix|>", 50281},
               {"<|fim_middle|>", 50282},
               {"<|fim_suffix|>", 50283}}};
    case 4:
      return {Grammar::kCl100k,
              Embedded::kCl100k,
              {{"<|endoftext|>", 100257},
               {"<|fim_prefix|>", 100258},
               {"<|fim_middle|>", 100259},
               {"<|fim_suffix|>", 100260},
               {"<|endofprompt|>", 100276}}};
    case 5:
      return {Grammar::kO200k,
              Embedded::kO200k,
              {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}};
    default:
      return {Grammar::kO200k, Embedded::kO200k, harmony_specials()};
  }
}

base::Result<const Encoding*> load(std::size_t index) {
  Recipe recipe = recipe_of(index);
  base::Result<std::shared_ptr<const Vocab>> vocab = embedded_vocab(recipe.vocab);
  if (!vocab) return base::fail(std::move(vocab.error()));
  base::Result<std::unique_ptr<Encoding>> encoding = Encoding::create(
      {std::string(kNames[index]), recipe.grammar, std::move(*vocab), std::move(recipe.specials)});
  if (!encoding) return base::fail(std::move(encoding.error()));
  return encoding->release();  // for ever
}

base::Status unknown_encoding(std::string_view name) {
  std::string message = "unknown encoding '" + std::string(name) + "'; there are:";
  for (const std::string_view known : kNames) message.append(" ").append(known);
  return base::invalid_argument("encoding", std::move(message));
}

}  // namespace

std::span<const std::string_view> Encoding::names() noexcept { return kNames; }

base::Result<const Encoding*> Encoding::get(std::string_view name) {
  struct Entry {
    std::once_flag once;
    base::Result<const Encoding*> encoding;
  };
  static auto& entries = *new std::array<Entry, kNames.size()>;
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return base::fail(unknown_encoding(name));
  const auto index = static_cast<std::size_t>(found - kNames.begin());
  std::call_once(entries[index].once, [&] { entries[index].encoding = load(index); });
  return entries[index].encoding;
}

base::Result<std::unique_ptr<Encoding>> Encoding::create(EncodingSpec spec) {
  if (spec.vocab == nullptr) {
    return base::fail(base::invalid_argument("mergeable_ranks", "an encoding needs a vocabulary"));
  }
  for (const auto& [text, id] : spec.special_tokens) {
    if (text.empty()) {
      return base::fail(base::invalid_argument("special_tokens", "a special token is empty"));
    }
  }
  return std::unique_ptr<Encoding>(new Encoding(std::move(spec)));
}

Encoding::Encoding(EncodingSpec spec) : spec_(std::move(spec)) {
  max_token_value_ = static_cast<Rank>(std::max<std::size_t>(vocab().size(), 1) - 1);
  for (const auto& [text, id] : spec_.special_tokens) {
    special_ids_.emplace(text, id);
    special_texts_.emplace(id, text);  // the first of two with one id wins
    special_first_[static_cast<unsigned char>(text[0])] = true;
    special_lengths_.push_back(text.size());
    max_token_value_ = std::max(max_token_value_, id);
  }
  std::sort(special_lengths_.begin(), special_lengths_.end(), std::greater<>());
  special_lengths_.erase(std::unique(special_lengths_.begin(), special_lengths_.end()),
                         special_lengths_.end());
  const bool one_start =
      std::count(std::begin(special_first_), std::end(special_first_), true) == 1;
  if (one_start) special_start_ = spec_.special_tokens[0].first[0];
}

void Encoding::encode_ordinary(std::string_view text, std::vector<Rank>& out) const {
  Append sink(out, text.size());
  walk(vocab(), grammar(), text, sink, [] { return false; });
  sink.finish();
}

void Encoding::encode(std::string_view text, const SpecialFilter& allowed,
                      std::vector<Rank>& out) const {
  for (std::size_t at = 0;;) {
    const std::optional<SpecialMatch> match = find_special(text, at, allowed);
    encode_ordinary(text.substr(at, match ? match->position - at : text.npos), out);
    if (!match) return;
    out.push_back(match->id);
    at = match->position + match->text.size();
  }
}

std::size_t Encoding::count(std::string_view text) const {
  Count sink;
  walk(vocab(), grammar(), text, sink, [] { return false; });
  return sink.total();
}

std::optional<std::size_t> Encoding::count_up_to(std::string_view text, std::size_t limit) const {
  Count sink;
  const std::size_t batch = std::min(limit, kManyPieces - 1) + 1;  // a piece has a token
  walk(vocab(), grammar(), text, sink, [&] { return sink.total() > limit; }, batch);
  if (sink.total() > limit) return std::nullopt;
  return sink.total();
}

std::size_t Encoding::truncate(std::string_view text, std::size_t limit) const {
  return PrefixCounts(*this, text, limit).furthest(0, limit);
}

void Encoding::forget_merges() noexcept { MergeCache::forget_all(); }

void Encoding::encode_piece(std::string_view piece, std::vector<Rank>& out) const {
  merge_piece(vocab(), piece, out);
}

std::size_t Encoding::count_piece(std::string_view piece) const {
  if (piece.empty()) return 0;
  Count sink;
  Walk<Count, 1> walker(vocab(), piece, sink);
  walker.pieces(0, std::array{piece.size()});
  return sink.total();
}

std::optional<Rank> Encoding::single_token(std::string_view bytes) const {
  if (const Rank rank = vocab().find(bytes); rank != kNoRank) return rank;
  const auto special = special_ids_.find(bytes);
  if (special == special_ids_.end()) return std::nullopt;
  return special->second;
}

std::optional<std::string_view> Encoding::token_bytes(Rank id) const noexcept {
  if (const std::string_view bytes = vocab().token(id); !bytes.empty()) return bytes;
  const auto special = special_texts_.find(id);
  if (special == special_texts_.end()) return std::nullopt;
  return special->second;
}

base::Result<std::string> Encoding::decode(std::span<const Rank> ids) const {
  std::string bytes;
  bytes.reserve(ids.size() * 4);
  for (const Rank id : ids) {
    const std::optional<std::string_view> token = token_bytes(id);
    if (!token) {
      return base::fail(
          base::Status(base::Code::kNotFound, "Invalid token for decoding: " + std::to_string(id))
              .with("token", std::int64_t{id}));
    }
    bytes += *token;
  }
  return bytes;
}

std::span<const Rank> Encoding::sorted_tokens() const {
  std::call_once(sort_once_, [this] {
    for (Rank rank = 0; rank < vocab().size(); ++rank) {
      if (!vocab().token(rank).empty()) sorted_.push_back(rank);
    }
    std::sort(sorted_.begin(), sorted_.end(),
              [this](Rank a, Rank b) { return vocab().token(a) < vocab().token(b); });
  });
  return sorted_;
}

std::optional<SpecialMatch> Encoding::find_special(std::string_view text, std::size_t from,
                                                   const SpecialFilter& wanted) const {
  if (special_ids_.empty()) return std::nullopt;
  for (std::size_t at = from; at < text.size(); ++at) {
    if (special_start_) {
      at = text.find(*special_start_, at);
      if (at == text.npos) break;
    } else if (!special_first_[static_cast<unsigned char>(text[at])]) {
      continue;
    }
    for (const std::size_t length : special_lengths_) {
      const auto found = special_ids_.find(text.substr(at, length));
      if (found == special_ids_.end() || !wanted(found->first)) continue;
      return SpecialMatch{at, found->first, found->second};
    }
  }
  return std::nullopt;
}

}  // namespace dure::tokenize
