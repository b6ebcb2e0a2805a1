// A model's sizes as topology/ and as model/ know them: those two modules do not see each other.
#pragma once

#include <string>

#include "model/model_spec.h"
#include "topology/shape.h"

namespace setrl::commands {

topology::ModelShape shape_of(const model::ModelSpec& spec, const std::string& name);

// Of the family that the shape's biases and norms belong to, with that family's usual RoPE base and epsilon.
model::ModelSpec spec_of(const topology::ModelShape& shape);

}  // namespace setrl::commands
