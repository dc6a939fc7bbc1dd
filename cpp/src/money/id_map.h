// src/money/id_map.h - values by reservation id, in nodes that are used again: no memory is taken
// or given back from call to call.
//
// Ids that follow one another lie side by side. One thread at a time.
#ifndef DURE_SRC_MONEY_ID_MAP_H_
#define DURE_SRC_MONEY_ID_MAP_H_

#include <cstddef>
#include <cstdint>
#include <deque>
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
    for (std::uint32_t at = buckets_[bucket(id)]; at != 0; at = nodes_[at - 1].next) {
      if (nodes_[at - 1].id == id) return &nodes_[at - 1].value;
    }
    return nullptr;
  }
  [[nodiscard]] bool contains(ReservationId id) noexcept { return find(id) != nullptr; }

  // The value of `id`, true if it is new: then it holds what its node's last user left there.
  std::pair<Value*, bool> emplace(ReservationId id) {
    if (Value* known = find(id)) return {known, false};
    if (size_ == buckets_.size()) grow();
    if (free_ == 0) {
      nodes_.emplace_back();
      free_ = static_cast<std::uint32_t>(nodes_.size());
    }
    const std::uint32_t at = free_;
    Node& node = nodes_[at - 1];
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
    while (*link != 0 && nodes_[*link - 1].id != id) link = &nodes_[*link - 1].next;
    if (*link == 0) return false;
    const std::uint32_t at = *link;
    *link = nodes_[at - 1].next;
    nodes_[at - 1].used = false;
    nodes_[at - 1].next = std::exchange(free_, at);
    --size_;
    return true;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // In no order; `each` may not add or erase.
  template <typename Each>
  void for_each(Each each) {
    for (Node& node : nodes_) {
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

  [[nodiscard]] std::size_t bucket(ReservationId id) const noexcept {
    return (id.seq ^ id.epoch * 0x9E37'79B9U) & (buckets_.size() - 1);
  }
  void grow() {
    buckets_.assign(buckets_.empty() ? 64 : buckets_.size() * 2, 0);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i].used) continue;
      std::uint32_t& head = buckets_[bucket(nodes_[i].id)];
      nodes_[i].next = std::exchange(head, static_cast<std::uint32_t>(i + 1));
    }
  }

  std::vector<std::uint32_t> buckets_;  // a power of two
  std::deque<Node> nodes_;
  std::uint32_t free_ = 0;
  std::size_t size_ = 0;
};

}  // namespace dure::money

#endif  // DURE_SRC_MONEY_ID_MAP_H_
