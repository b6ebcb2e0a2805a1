// Byte pair encoding of one word over a byte-level vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace setrl::text {

class BytePairEncoder {
 public:
  // `vocabulary`: bytes of a token -> id. `merges`: pairs of ids, best first, with the id of their union.
  struct Merge {
    std::int32_t left = 0, right = 0, merged = 0;
  };
  BytePairEncoder(std::unordered_map<std::string, std::int32_t> vocabulary, const std::vector<Merge>& merges,
                  bool ignore_merges);

  // Appends the ids of `word`. Bytes that the vocabulary lacks are dropped, as `tokenizers` does without an unknown
  // token.
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const;

 private:
  struct Rank {
    std::int32_t rank = 0, merged = 0;
  };
  const Rank* rank_of(std::int32_t left, std::int32_t right) const;

  std::unordered_map<std::string, std::int32_t> vocabulary_;
  std::unordered_map<std::uint64_t, Rank> ranks_;
  std::int32_t byte_ids_[256];
  bool ignore_merges_;
};

}  // namespace setrl::text
