#include "dure/net/headers.h"

#include "net/url.h"

namespace dure::net {

void HeaderLines::add(std::string_view name, std::string_view value) {
  const auto begin = static_cast<std::uint32_t>(text_.size());
  text_.append(name).append(value);
  lines_.push_back(
      {begin, static_cast<std::uint32_t>(name.size()), static_cast<std::uint32_t>(value.size())});
}

void HeaderLines::clear() noexcept {
  text_.clear();
  lines_.clear();
}

Headers HeaderLines::all() const {
  Headers pairs;
  pairs.reserve(size());
  for (std::size_t at = 0; at < size(); ++at) pairs.emplace_back(name(at), value(at));
  return pairs;
}

std::optional<std::string_view> HeaderView::get(std::string_view name) const noexcept {
  const std::size_t count = pairs_ != nullptr ? pairs_->size() : lines_->size();
  for (std::size_t at = count; at-- > 0;) {
    const std::string_view other = pairs_ != nullptr ? (*pairs_)[at].first : lines_->name(at);
    if (!equal_no_case(other, name)) continue;
    return pairs_ != nullptr ? std::string_view((*pairs_)[at].second) : lines_->value(at);
  }
  return std::nullopt;
}

HeaderLines HeaderView::lines() const {
  if (lines_ != nullptr) return *lines_;
  HeaderLines lines;
  for (const auto& [name, value] : *pairs_) lines.add(name, value);
  return lines;
}

}  // namespace dure::net
