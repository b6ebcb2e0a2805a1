// How the parameters of one FSDP unit lie in its flat buffer. Matrices come first (so that weight decay is one range)
// and keep the table's order, which puts q, k, v and gate, up side by side: each of the two is one matrix product.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/model_spec.h"

namespace setrl::learn {

struct Slot {
  model::ParameterSpec parameter;
  std::int64_t begin = 0;  // first element in the unit
  std::int64_t end() const { return begin + parameter.elements(); }
};

struct UnitLayout {
  std::vector<Slot> slots;
  std::int64_t elements = 0;         // of all slots
  std::int64_t matrix_elements = 0;  // [0, matrix_elements) takes weight decay; norms and biases do not
  std::int64_t shard = 0;            // elements a rank: ceil(elements / ranks); the last shards are padded with zeros

  // The slot whose name ends with `suffix`, or null.
  const Slot* find(const std::string& suffix) const;
  // View of one parameter in a whole flat buffer of this unit; undefined where the unit has none of that name.
  at::Tensor view(const at::Tensor& flat, const std::string& suffix) const;
  // View of neighbours as one tensor, stacked along their first dimension.
  at::Tensor stacked(const at::Tensor& flat, const std::vector<std::string>& suffixes) const;
};

// Elements [begin, end) of a slot, relative to it; empty where begin >= end.
struct Slice {
  std::int64_t begin = 0, end = 0;
};
// Those that lie in the shard of `rank`, and where in that shard they begin.
Slice slice_of(const UnitLayout& layout, const Slot& slot, int rank);
inline std::int64_t offset_of(const UnitLayout& layout, const Slot& slot, const Slice& slice, int rank) {
  return slot.begin + slice.begin - rank * layout.shard;
}

// Calls `visit(slot, slice, offset)` for each slot of which `rank` has some.
template <typename Visit>
void for_each_own_slice(const UnitLayout& layout, int rank, const Visit& visit) {
  for (const auto& slot : layout.slots) {
    const Slice slice = slice_of(layout, slot, rank);
    if (slice.begin < slice.end) visit(slot, slice, offset_of(layout, slot, slice, rank));
  }
}
// All of a rank, unit by unit, as parts of the parameters of `table`.
std::vector<model::HeldSlice> held_slices(const std::vector<UnitLayout>& layouts,
                                          const std::vector<model::ParameterSpec>& table, int rank);

// Of all parameters in `table`, for each of `units` units.
std::vector<UnitLayout> unit_layouts(const std::vector<model::ParameterSpec>& table, int units, int ranks);
std::vector<UnitLayout> unit_layouts(const model::ModelSpec& spec, int ranks);

}  // namespace setrl::learn
