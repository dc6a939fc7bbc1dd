// src/money/id_map.h - values by reservation id, in nodes that are used again: no memory is taken
// or given back from call to call.
//
// Ids that follow one another lie side by side. One thread at a time.
#ifndef DURE_SRC_MONEY_ID_MAP_H_
#define DURE_SRC_MONEY_ID_MAP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "dure/money/account.h"

namespace dure::money {

template <typename Value>
class IdMap {
 public:
  // nullptr: there is none. Valid until it is erased.
  [[nodiscard]] Value* find(ReservationId id) noexcept {
    if (buckets_.empty()) return nullptr;
    for (std::uint32_t at = buckets_[bucket(id)]; at != 0;) {
      Node& node = this->node(at);
      if (node.id == id) return &node.value;
      at = node.next;
    }
    return nullptr;
  }
  [[nodiscard]] bool contains(ReservationId id) noexcept { return find(id) != nullptr; }

  // The value of `id`, true if it is new: then it holds what its node's last user left there.
  std::pair<Value*, bool> emplace(ReservationId id) {
    if (Value* known = find(id)) return {known, false};
    if (size_ == buckets_.size()) grow();
    if (free_ == 0) {
      if (made_ % kChunk == 0) chunks_.push_back(std::make_unique<Node[]>(kChunk));
      free_ = ++made_;
    }
    const std::uint32_t at = free_;
    Node& node = this->node(at);
    free_ = node.next;
    node.id = id;
    node.used = true;
    std::uint32_t& head = buckets_[bucket(id)];
    node.next = std::exchange(head, at);
    ++size_;
    return {&node.value, true};
  }

  bool erase(ReservationId id) noexcept {
    if (buckets_.empty()) return false;
    std::uint32_t* link = &buckets_[bucket(id)];
    while (*link != 0 && node(*link).id != id) link = &node(*link).next;
    if (*link == 0) return false;
    const std::uint32_t at = *link;
    Node& node = this->node(at);
    *link = node.next;
    node.used = false;
    node.next = std::exchange(free_, at);
    --size_;
    return true;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // In no order; `each` may not add or erase.
  template <typename Each>
  void for_each(Each each) {
    for (std::uint32_t at = 1; at <= made_; ++at) {
      Node& node = this->node(at);
      if (node.used) each(node.id, node.value);
    }
  }

 private:
  struct Node {
    ReservationId id;
    std::uint32_t next = 0;  // in its bucket, or among the free ones; the node's place + 1
    bool used = false;
    Value value{};
  };

  static constexpr std::uint32_t kChunk = 256;
  // REQUIRES: 1 <= at <= made_.
  [[nodiscard]] Node& node(std::uint32_t at) noexcept {
    return chunks_[(at - 1) / kChunk][(at - 1) % kChunk];
  }
  [[nodiscard]] std::size_t bucket(ReservationId id) const noexcept {
    return (id.seq ^ id.epoch * 0x9E37'79B9U) & (buckets_.size() - 1);
  }
  void grow() {
    buckets_.assign(buckets_.empty() ? 64 : buckets_.size() * 2, 0);
    for (std::uint32_t at = 1; at <= made_; ++at) {
      Node& node = this->node(at);
      if (node.used) node.next = std::exchange(buckets_[bucket(node.id)], at);
    }
  }

  std::vector<std::uint32_t> buckets_;           // a power of two
  std::vector<std::unique_ptr<Node[]>> chunks_;  // nodes stay where they are
  std::uint32_t made_ = 0;
  std::uint32_t free_ = 0;
  std::size_t size_ = 0;
};

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_ID_MAP_H_
