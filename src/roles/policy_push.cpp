#include "roles/policy_push.h"

namespace setrl::roles {

void PolicyPush::prepare() {
  sync::PushRole mine;
  mine.learner = learner_ != nullptr;
  if (mine.learner) mine.held = learner_->own_slices();
  if (engine_ != nullptr) {
    const auto place = session_.plan.part_of(session_.world.rank());
    mine.replica = place.replica;
    mine.part = place.part;
  }
  sync::PushOptions options;
  options.wire = session_.dtype;
  options.device = session_.device;
  push_.emplace(*session_.groups.push, mine, model::parameter_table(session_.policy.weights->spec()), options);
}

void PolicyPush::run(std::int64_t version) {
  if (engine_ != nullptr) engine_->begin_update();
  if (session_.groups.push) {
    if (!push_) prepare();
    push_->run(
        version, [this](int unit) { return learner_->own_values(unit); },
        [this](const model::ParameterSpec& parameter, const at::Tensor& part) {
          engine_->update_part(parameter.name, part);
        });
  } else if (learner_ != nullptr && engine_ != nullptr) {
    // Whoever generates learns too, and has all weights at hand.
    learner_->for_each_parameter([this](const model::ParameterSpec& parameter, const at::Tensor& whole) {
      engine_->update(parameter.name, whole);
    });
  }
  if (engine_ != nullptr) engine_->end_update(version);
}

}  // namespace setrl::roles
