#include <cstdio>
#include <iostream>
#include <map>

#include "base/error.h"
#include "commands/commands.h"
#include "model/decoder.h"
#include "roles/rollout_role.h"
#include "roles/session.h"
#include "text/answer_grammar.h"

namespace setrl::commands {

namespace {

void print_set(const Completion& completion, const roles::Session& session) {
  const auto set = text::parse(session.grammar, session.policy.text_of(completion.tokens),
                               completion.finish == FinishReason::end_of_turn);
  fmt::print("\n");
  if (!set.well_formed()) {
    fmt::print("  (not a well-formed answer set: {})\n", set.malformed_reason);
    return;
  }
  for (std::size_t i = 0; i < set.answers.size(); ++i) {
    if (set.confidences.empty())
      fmt::print("  {}. {}\n", i + 1, set.answers[i]);
    else
      fmt::print("  {}. {:<40} {:5.1f} %\n", i + 1, set.answers[i], 100 * set.confidences[i]);
  }
}

}  // namespace

int ask(const config::ParsedCommand& command, comm::MpiRuntime& runtime) {
  RunConfig config = command.config;
  std::string question = config.ask.question;
  if (question.empty()) std::getline(std::cin, question);
  if (question.empty()) throw_user_error("ask: no question; give it as an argument or on standard input");
  const auto session =
      roles::open_session(config, topology::plan_of({topology::RankPlan{true, true, false}}, 1), runtime);

  // The task's own system message, with the question in the place of the case.
  Problem problem = session->task->problem("test", 0);
  problem.id = "ask";
  problem.golds.clear();
  problem.messages.back().content = question;
  rollout::GenerationRequest request;
  request.problem_id = problem.id;
  request.prompt = session->policy.prompt(problem, config.task.max_prompt_tokens).tokens;
  request.samples = config.ask.samples;

  roles::RolloutRole role(*session);
  role.load_weights();
  const auto sampling = rollout::sampling_options(config, roles::text_side(session->policy, session->grammar));

  // One sample is shown as it is written; several are shown when they are finished, one after the other.
  text::StreamingDecoder decoder(*session->policy.tokenizer);
  const bool stream = request.samples == 1;
  const auto show = [&](std::int64_t, int, std::int32_t id) {
    if (!stream || session->policy.tokenizer->is_special(id)) return;
    fmt::print("{}", decoder.push(id));
    std::fflush(stdout);
  };
  role.engine().generate(
      {request}, sampling,
      [&](const rollout::GenerationRequest&, const std::vector<Completion>& completions) {
        if (stream) fmt::print("{}\n", decoder.finish());
        for (const auto& completion : completions) {
          if (!stream) fmt::print("\n{}\n", session->policy.text_of(completion.tokens));
          print_set(completion, *session);
        }
      },
      show);
  return kExitDone;
}

}  // namespace setrl::commands
