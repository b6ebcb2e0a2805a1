// How a model is cut over ranks that hold it together (tensor parallelism, Shoeybi et al. 2019, "Megatron-LM"): each
// holds some rows or some columns of a matrix; norms of the hidden state are held by all.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model_spec.h"

namespace setrl::model {

enum class Cut { whole, rows, columns };

// By Hugging Face name: what makes heads, inner columns or words is cut by rows, what takes them in by columns.
Cut cut_of(const std::string& parameter);

// The shape of one of `parts` equal parts. Throws BugError where the extent does not divide.
std::vector<std::int64_t> part_shape(const ParameterSpec& parameter, int parts);

// Elements [begin, end) of a part, flattened.
struct PartRange {
  std::int64_t begin = 0, end = 0;
  bool empty() const { return begin >= end; }
};

// Which elements of part `part` lie in elements [begin, end) of the whole, flattened tensor. They follow each other in
// the part, in the same order.
PartRange part_range(const ParameterSpec& parameter, int part, int parts, std::int64_t begin, std::int64_t end);

}  // namespace setrl::model
