#include "roles/rollout_role.h"

#include "base/clock.h"
#include "model/decoder.h"

namespace setrl::roles {

void load_engine(const model::WeightSource& source, rollout::Engine& engine) {
  engine.begin_update();
  for (const auto& parameter : model::parameter_table(source.spec())) {
    const at::Tensor tensor = at::empty(parameter.shape, at::kFloat);
    source.read(parameter.name, 0, parameter.elements(), tensor.data_ptr<float>());
    engine.update(parameter.name, tensor);
  }
  engine.end_update(0);
}

rollout::TextSide text_side(const Policy& policy, const text::Grammar& grammar) {
  const text::Tokenizer* tokenizer = policy.tokenizer.get();
  rollout::TextSide side;
  side.bytes_of = [tokenizer](std::int32_t id) {
    const bool text = id < tokenizer->vocabulary_size() && !tokenizer->is_special(id);  // models may have spare ids
    return text ? tokenizer->bytes_of(id) : std::string_view();
  };
  side.encode = [tokenizer](std::string_view text) { return tokenizer->encode(text); };
  side.stop_ids = policy.stop_ids;
  side.last_tag = text::last_tag(grammar);
  side.think_open = "<think>";
  side.think_close = "</think>";
  return side;
}

RolloutRole::RolloutRole(const Session& session)
    : session_(session),
      engine_(session.policy.weights->spec(), model::choose_dtype(session.config.model.dtype),
              rollout::engine_options(session.config)) {}

void RolloutRole::load_weights() {
  load_engine(*session_.policy.weights, engine_);
}

void RolloutRole::generate(const WorkOrder& order, StepReport& report) {
  const Stopwatch clock;
  const RunConfig& config = session_.config;
  const tasks::Task& task = order.evaluation ? session_.evaluation_task() : *session_.task;
  std::vector<rollout::GenerationRequest> requests;
  std::vector<Group> groups;
  for (const auto& item : order.items) {
    if (owner(session_.plan.rollout_ranks, item.index) != session_.world.rank()) continue;
    Group group;
    group.step = order.step;
    group.index = item.index;
    group.policy_version = engine_.version();
    group.problem = task.problem(order.split, item.problem);
    group.prompt = session_.policy.prompt(group.problem, config.task.max_prompt_tokens);
    rollout::GenerationRequest request;
    request.tag = static_cast<std::int64_t>(groups.size());
    request.problem_id = group.problem.id;
    request.prompt = group.prompt.tokens;
    request.samples = order.samples;
    requests.push_back(std::move(request));
    groups.push_back(std::move(group));
  }

  auto sampling = rollout::sampling_options(config, text_side(session_.policy, session_.grammar));
  sampling.temperature = order.temperature;
  sampling.seed = order.seed;
  const auto stats = engine_.generate(
      requests, sampling,
      [&](const rollout::GenerationRequest& request, std::vector<Completion> completions) {
        Group& group = groups[static_cast<std::size_t>(request.tag)];
        group.completions = std::move(completions);
        send_group(session_.world, owner(session_.plan.verifier_ranks, group.index), kGenerated, group);
        group = Group{};  // sent: its memory is given back while others are still generated
      },
      // Large messages move only while this rank is inside of a communication call.
      [this](std::int64_t, int, std::int32_t) { session_.world.progress(); });
  report.rollout_s += clock.seconds();
  report.new_tokens += static_cast<double>(stats.new_tokens);
}

}  // namespace setrl::roles
