#include "model/tensor_parallel.h"

#include <algorithm>

#include "base/error.h"

namespace setrl::model {

namespace {

bool holds(const std::string& name, const char* text) {
  return name.find(text) != std::string::npos;
}

}  // namespace

Cut cut_of(const std::string& parameter) {
  for (const char* name : {"o_proj.", "down_proj."}) {
    if (holds(parameter, name)) return Cut::columns;
  }
  for (const char* name : {"embed_tokens.", "lm_head.", "q_proj.", "k_proj.", "v_proj.", "gate_proj.", "up_proj."}) {
    if (holds(parameter, name)) return Cut::rows;
  }
  return Cut::whole;
}

std::vector<std::int64_t> part_shape(const ParameterSpec& parameter, int parts) {
  auto shape = parameter.shape;
  const Cut cut = cut_of(parameter.name);
  if (parts == 1 || cut == Cut::whole) return shape;
  auto& extent = shape.at(cut == Cut::rows ? 0 : 1);
  SETRL_CHECK(extent % parts == 0, "{} of {} does not divide into {} parts", extent, parameter.name, parts);
  extent /= parts;
  return shape;
}

PartRange part_range(const ParameterSpec& parameter, int part, int parts, std::int64_t begin, std::int64_t end) {
  const Cut cut = cut_of(parameter.name);
  if (begin >= end) return {};
  if (parts == 1 || cut == Cut::whole) return {begin, end};
  if (cut == Cut::rows) {
    const std::int64_t size = parameter.elements() / parts, first = part * size;
    return {std::max(begin, first) - first, std::min(end, first + size) - first};
  }
  const std::int64_t columns = parameter.shape[1], width = columns / parts, first = part * width;
  // Of the elements before `at`, how many are in the part.
  const auto before = [&](std::int64_t at) {
    return at / columns * width + std::clamp<std::int64_t>(at % columns - first, 0, width);
  };
  return {before(begin), before(end)};
}

}  // namespace setrl::model
