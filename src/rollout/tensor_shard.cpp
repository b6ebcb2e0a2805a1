#include "rollout/tensor_shard.h"

#include <fmt/ranges.h>

#include <numeric>
#include <vector>

#include "base/error.h"

namespace setrl::rollout {

TensorShard TensorShard::of(const model::ModelSpec& spec, comm::Communicator* comm) {
  TensorShard shard;
  if (comm == nullptr || comm->size() == 1) return shard;
  shard.comm = comm;
  shard.rank = comm->rank();
  shard.ranks = comm->size();
  check(spec, shard.ranks);
  return shard;
}

void TensorShard::check(const model::ModelSpec& spec, int ranks) {
  const std::int64_t common = std::gcd(std::gcd(spec.heads, spec.kv_heads), std::gcd(spec.inner, spec.vocabulary));
  if (common % ranks == 0) return;
  std::vector<std::int64_t> possible;
  for (std::int64_t n = 1; n <= common; ++n) {
    if (common % n == 0) possible.push_back(n);
  }
  throw_user_error(
      "rollout.tensor_parallel = {} does not divide this model: {} heads, {} key/value heads, {} inner columns, {} "
      "words of vocabulary; possible numbers are {}",
      ranks, spec.heads, spec.kv_heads, spec.inner, spec.vocabulary, fmt::join(possible, ", "));
}

model::ModelSpec TensorShard::local(const model::ModelSpec& spec) const {
  model::ModelSpec part = spec;
  part.heads /= ranks;
  part.kv_heads /= ranks;
  part.inner /= ranks;
  part.vocabulary /= ranks;
  return part;
}

}  // namespace setrl::rollout
