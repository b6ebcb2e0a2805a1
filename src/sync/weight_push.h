// New weights from the learners to the rollout ranks.
#pragma once

#include <ATen/ATen.h>

#include <functional>

#include "comm/communicator.h"
#include "model/model_spec.h"

namespace setrl::sync {

// Every learner calls `push` (gathering is collective among learners); rollout ranks call `pull` at the same time, or
// get the tensors directly where they are learners too. `push_group` holds the first learner (rank `root`) and every
// rollout rank that is no learner; it is null on ranks that take no part. Parameters travel in table order in `wire`
// dtype, each with a header, so that ranks that disagree about model or dtype throw BugError (naming the parameter)
// instead of taking wrong numbers.
using Visit = std::function<void(const model::ParameterSpec&, const at::Tensor&)>;
using ForEachParameter = std::function<void(const Visit&)>;

// On a learner: walks the parameters; the root sends each to `push_group`. `also` sees each tensor (a colocated
// engine).
void push(const ForEachParameter& parameters, comm::Communicator* push_group, int root, const Visit& also);

// On a rollout rank that is no learner. `visit` gets a tensor of its own (shape of the table, CPU) and may keep it.
void pull(const std::vector<model::ParameterSpec>& table, at::ScalarType wire, comm::Communicator& push_group, int root,
          const Visit& visit);

}  // namespace setrl::sync
