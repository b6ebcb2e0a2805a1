#include "roles/rollout_role.h"

#include "base/clock.h"
#include "rollout/load.h"

namespace setrl::roles {

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
      engine_(session.policy.weights->spec(), session.dtype, rollout::engine_options(session.config, session.device),
              session.groups.replica.get()),
      sampling_(rollout::sampling_options(session.config, text_side(session.policy, session.grammar))),
      push_(session, nullptr, &engine_) {}

void RolloutRole::load_weights() {
  rollout::load(*session_.policy.weights, engine_);
}

void RolloutRole::pull_weights(std::int64_t version) {
  push_.run(version);
}

void RolloutRole::take(const ItemNote& item, const Group* begun) {
  const WorkOrder order = item.step > 0 ? training_order(session_, item.step) : evaluation_order(session_);
  const tasks::Task& task = order.evaluation ? session_.evaluation_task() : *session_.task;
  Group group;
  group.step = item.step;
  group.index = item.index;
  group.policy_version = engine_.version();
  group.problem = task.problem(order.split, item.problem);
  group.prompt = session_.policy.prompt(group.problem, session_.config.task.max_prompt_tokens);
  rollout::GenerationRequest request;
  request.tag = ++taken_;
  request.problem_id = group.problem.id;
  request.prompt = group.prompt.tokens;
  request.samples = order.samples;
  if (begun != nullptr) {
    group.policy_version = begun->policy_version;
    request.begun = begun->completions;
  }
  auto sampling = sampling_;
  sampling.temperature = order.temperature;
  sampling.seed = order.seed;
  engine_.submit(std::move(request), sampling);
  in_hand_.emplace(taken_, std::move(group));
  told_room_ -= order.samples;
}

std::vector<Group> RolloutRole::in_flight() const {
  std::vector<Group> groups;
  engine_.for_each_in_flight(
      [&](const rollout::GenerationRequest& request, const std::vector<Completion>& completions) {
        const Group& group = in_hand_.at(request.tag);
        if (group.step == 0) return;
        groups.push_back(group);
        groups.back().completions = completions;
      });
  return groups;
}

void RolloutRole::step(StepReport& report, const std::function<void(const Group&)>& finished) {
  const Stopwatch clock;
  std::int64_t tokens = 0, trained = 0;
  engine_.step(
      [&](const rollout::GenerationRequest& request, std::vector<Completion> completions) {
        auto group = in_hand_.extract(request.tag);
        group.mapped().completions = std::move(completions);
        finished(group.mapped());
      },
      [&](std::int64_t tag, int, std::int32_t) {
        ++tokens;
        if (in_hand_.at(tag).step > 0) ++trained;
      });
  // A pass that only reads prompts counts as training's.
  report.rollout_s += clock.seconds() * (tokens > 0 ? static_cast<double>(trained) / static_cast<double>(tokens) : 1);
  if (!session_.plan.follows(session_.world.rank())) report.new_tokens += static_cast<double>(trained);
}

std::int64_t RolloutRole::room() const {
  return session_.config.rollout.max_batch - engine_.sequences();
}

StandingNote RolloutRole::standing() {
  told_room_ = room();
  return {engine_.version(), told_room_, taken_};
}

bool RolloutRole::has_more_room() const {
  const std::int64_t now = room();
  return now > 0 && (told_room_ <= 0 || now - told_room_ >= session_.config.rollout.group_size);
}

}  // namespace setrl::roles
