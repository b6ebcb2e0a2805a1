#include "learn/unit_layout.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"

namespace setrl::learn {

const Slot* UnitLayout::find(const std::string& suffix) const {
  for (const auto& slot : slots) {
    const std::string& name = slot.parameter.name;
    if (name.size() >= suffix.size() && name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0) {
      return &slot;
    }
  }
  return nullptr;
}

at::Tensor UnitLayout::view(const at::Tensor& flat, const std::string& suffix) const {
  const Slot* slot = find(suffix);
  if (slot == nullptr) return {};
  return flat.narrow(0, slot->begin, slot->parameter.elements()).view(slot->parameter.shape);
}

at::Tensor UnitLayout::stacked(const at::Tensor& flat, const std::vector<std::string>& suffixes) const {
  const Slot* first = find(suffixes.front());
  if (first == nullptr) return {};
  auto shape = first->parameter.shape;
  shape[0] = 0;
  std::int64_t end = first->begin;
  for (const auto& suffix : suffixes) {
    const Slot* slot = find(suffix);
    SETRL_CHECK(slot != nullptr && slot->begin == end, "parameter {} does not follow its neighbour", suffix);
    shape[0] += slot->parameter.shape[0];
    end = slot->end();
  }
  return flat.narrow(0, first->begin, end - first->begin).view(shape);
}

Slice slice_of(const UnitLayout& layout, const Slot& slot, int rank) {
  const std::int64_t first = rank * layout.shard;
  const std::int64_t begin = std::max(slot.begin, first);
  const std::int64_t end = std::min(slot.end(), first + layout.shard);
  return {begin - slot.begin, std::max(begin, end) - slot.begin};
}

std::vector<model::HeldSlice> held_slices(const std::vector<UnitLayout>& layouts,
                                          const std::vector<model::ParameterSpec>& table, int rank) {
  std::unordered_map<std::string, int> places;
  for (std::size_t p = 0; p < table.size(); ++p) places[table[p].name] = static_cast<int>(p);
  std::vector<model::HeldSlice> slices;
  for (const auto& layout : layouts) {
    for_each_own_slice(layout, rank, [&](const Slot& slot, const Slice& slice, std::int64_t) {
      slices.push_back({places.at(slot.parameter.name), slice.begin, slice.end});
    });
  }
  return slices;
}

std::vector<UnitLayout> unit_layouts(const std::vector<model::ParameterSpec>& table, int units, int ranks) {
  std::vector<UnitLayout> layouts(static_cast<std::size_t>(units));
  for (const bool matrices : {true, false}) {
    for (const auto& parameter : table) {
      if ((parameter.shape.size() > 1) != matrices) continue;
      auto& layout = layouts.at(static_cast<std::size_t>(parameter.unit));
      layout.slots.push_back({parameter, layout.elements});
      layout.elements += parameter.elements();
      if (matrices) layout.matrix_elements = layout.elements;
    }
  }
  for (auto& layout : layouts) layout.shard = (layout.elements + ranks - 1) / ranks;
  return layouts;
}

std::vector<UnitLayout> unit_layouts(const model::ModelSpec& spec, int ranks) {
  return unit_layouts(model::parameter_table(spec), model::unit_count(spec), ranks);
}

}  // namespace setrl::learn
