#include "learn/memory.h"

#include "learn/unit_layout.h"
#include "model/low_rank.h"

namespace setrl::learn {

namespace {

std::vector<UnitLayout> trained_layouts(const model::ModelSpec& spec, const model::LowRankSpec& low_rank, int ranks) {
  if (low_rank.rank == 0) return unit_layouts(spec, ranks);
  return unit_layouts(model::adapter_table(spec, low_rank), model::unit_count(spec), ranks);
}

std::int64_t shards(const std::vector<UnitLayout>& layouts) {
  std::int64_t sum = 0;
  for (const auto& layout : layouts) sum += layout.shard;
  return sum;
}

}  // namespace

StateBytes state_bytes(const model::ModelSpec& spec, const LearnSection& config, std::int64_t element_bytes,
                       int ranks) {
  constexpr std::int64_t kFloat = 4;
  const auto low_rank = model::low_rank_spec(config);
  const std::int64_t trained = shards(trained_layouts(spec, low_rank, ranks));
  StateBytes bytes;
  bytes.weights = kFloat * trained;
  bytes.gradients = kFloat * trained;
  bytes.optimizer = 2 * kFloat * trained;
  const std::int64_t copy = element_bytes * shards(unit_layouts(spec, ranks));
  if (low_rank.rank > 0)
    bytes.weights += copy;
  else if (config.kl_coefficient > 0)
    bytes.reference = copy;
  return bytes;
}

std::int64_t update_bytes_sent(const model::ModelSpec& spec, const LearnSection& config, std::int64_t element_bytes,
                               int ranks, std::int64_t micro_batches) {
  const auto low_rank = model::low_rank_spec(config);
  std::int64_t gathered = 0, reduced = 0;
  const auto gathers = [&](const std::vector<UnitLayout>& layouts) {
    for (std::size_t unit = 0; unit < layouts.size(); ++unit) {
      const bool block = unit > 0 && unit + 1 < layouts.size();
      const std::int64_t times = !config.reshard_after_forward ? 1 : micro_batches * (block ? 2 : 1);
      gathered += times * element_bytes * layouts[unit].shard;
    }
  };
  const auto trained = trained_layouts(spec, low_rank, ranks);
  gathers(trained);
  if (low_rank.rank > 0) gathers(unit_layouts(spec, ranks));
  for (const auto& layout : trained) reduced += micro_batches * 4 * layout.shard;
  return (ranks - 1) * (gathered + reduced);
}

}  // namespace setrl::learn
