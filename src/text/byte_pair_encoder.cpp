#include "text/byte_pair_encoder.h"

#include <queue>

namespace setrl::text {

namespace {

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

// A symbol of the word, in a doubly linked list.
struct Symbol {
  std::int32_t id = 0;
  std::int32_t previous = -1, next = -1;
};

// A possible merge; the best is the lowest rank, then the leftmost.
struct Candidate {
  std::int32_t rank = 0, position = 0, merged = 0;
  std::int32_t left = 0, right = 0;  // ids when it was found: a changed neighbour makes it stale
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

}  // namespace

BytePairEncoder::BytePairEncoder(std::unordered_map<std::string, std::int32_t> vocabulary,
                                 const std::vector<Merge>& merges, bool ignore_merges)
    : vocabulary_(std::move(vocabulary)), ignore_merges_(ignore_merges) {
  ranks_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    ranks_[pair_key(merges[rank].left, merges[rank].right)] = {static_cast<std::int32_t>(rank), merges[rank].merged};
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = vocabulary_.find(std::string(1, static_cast<char>(byte)));
    byte_ids_[byte] = found == vocabulary_.end() ? -1 : found->second;
  }
}

const BytePairEncoder::Rank* BytePairEncoder::rank_of(std::int32_t left, std::int32_t right) const {
  const auto found = ranks_.find(pair_key(left, right));
  return found == ranks_.end() ? nullptr : &found->second;
}

void BytePairEncoder::encode(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (ignore_merges_) {
    if (const auto found = vocabulary_.find(std::string(word)); found != vocabulary_.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char byte : word) {
    const std::int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
    if (id < 0) continue;
    const auto at = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  std::priority_queue<Candidate> queue;
  const auto consider = [&](std::int32_t left) {
    if (left < 0) return;
    const Symbol& symbol = symbols[static_cast<std::size_t>(left)];
    if (symbol.next < 0) return;
    const std::int32_t right_id = symbols[static_cast<std::size_t>(symbol.next)].id;
    if (const Rank* rank = rank_of(symbol.id, right_id))
      queue.push({rank->rank, left, rank->merged, symbol.id, right_id});
  };
  for (std::size_t i = 0; i < symbols.size(); ++i) consider(static_cast<std::int32_t>(i));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<std::size_t>(best.position)];
    if (left.id != best.left || left.next < 0) continue;
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    if (right.id != best.right) continue;
    left.id = best.merged;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = best.position;
    consider(left.previous);
    consider(best.position);
  }
  for (std::int32_t at = 0; at >= 0; at = symbols[static_cast<std::size_t>(at)].next) {
    ids.push_back(symbols[static_cast<std::size_t>(at)].id);
  }
}

}  // namespace setrl::text
