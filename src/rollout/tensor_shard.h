// One rank's part of a model that several ranks hold together (tensor parallelism, as in Megatron-LM: Shoeybi et al.
// 2019): whole groups of attention heads, a part of the inner columns, a part of the vocabulary. Norms are held by all.
#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "model/model_spec.h"

namespace setrl::rollout {

struct TensorShard {
  int rank = 0, ranks = 1;
  comm::Communicator* comm = nullptr;  // of these ranks; null where there is one; must outlive the engine

  static TensorShard of(const model::ModelSpec& spec, comm::Communicator* comm);  // throws as check does
  // Throws UserError naming what does not divide by the number of ranks, and which numbers would do.
  static void check(const model::ModelSpec& spec, int ranks);
  // The spec with this rank's heads, kv_heads, inner and vocabulary.
  model::ModelSpec local(const model::ModelSpec& spec) const;
  // This rank's first of `count` things.
  std::int64_t begin(std::int64_t count) const { return count / ranks * rank; }
};

}  // namespace setrl::rollout
