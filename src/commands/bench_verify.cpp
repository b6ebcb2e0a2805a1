#include <cmath>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "base/system.h"
#include "commands/commands.h"
#include "roles/mailbox.h"
#include "roles/messages.h"
#include "roles/session.h"
#include "roles/verifier_role.h"
#include "roles/work_list.h"

namespace setrl::commands {

namespace {

// With several ranks the first verifies and the others are rollout ranks that have generated already.
topology::Plan plan_of(int world_size) {
  std::vector<topology::RankPlan> roles;
  for (int rank = 0; rank < world_size; ++rank) roles.push_back({world_size == 1 || rank > 0, rank == 0, false});
  return topology::plan_of(std::move(roles), 1);
}

// What a policy might write for a problem: a gold set after `think_tokens` of thought; of every four completions one
// with a wrong answer first, one that is cut off, and one without its last tag.
Completion completion_of(const roles::Session& session, const Problem& problem, int sample, int think_tokens) {
  AnswerSet set = session.task->gold_answer_set(problem, session.grammar);
  for (int i = 0; i < think_tokens / 6; ++i) set.think += " This finding speaks for it.";
  if (sample % 4 == 1) set.answers.front() = "no such answer";
  if (session.grammar.programs) {  // equal texts would be run once
    for (auto& answer : set.answers) answer += fmt::format("\n# sample {}", sample);
  }
  std::string text = text::render(session.grammar, set);
  if (sample % 4 == 3) text.erase(text.rfind('<'));
  Completion completion;
  completion.problem_id = problem.id;
  completion.sample_index = sample;
  completion.tokens = session.policy.tokenizer->encode(text);
  completion.finish = sample % 4 == 2 ? FinishReason::length : FinishReason::end_of_turn;
  if (sample % 4 == 2) {
    completion.tokens.resize(completion.tokens.size() / 2);
  } else {
    completion.tokens.push_back(session.policy.stop_ids.front());
  }
  completion.logprobs.assign(completion.tokens.size(), -0.5F);
  return completion;
}

std::vector<Group> own_groups(const roles::Session& session) {
  const RunConfig& config = session.config;
  std::vector<Group> groups;
  for (std::int64_t index = 0; index < config.bench.prompts; ++index) {
    if (roles::owner(session.plan.rollout_ranks, index) != session.world.rank()) continue;
    Group group;
    group.step = 1;
    group.index = index;
    group.problem = session.task->problem("train", index % session.task->size("train"));
    group.prompt = session.policy.prompt(group.problem, session.config.task.max_prompt_tokens);
    for (int sample = 0; sample < config.bench.group; ++sample) {
      group.completions.push_back(completion_of(session, group.problem, sample, session.config.bench.new_tokens));
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace

int bench_verify(const RunConfig& config, comm::MpiRuntime& runtime) {
  comm::Communicator& world = runtime.world();
  RunConfig on_cpus = config;  // nothing is generated
  on_cpus.run.device = "cpu";
  const auto session = roles::open_session(on_cpus, plan_of(world.size()), runtime);
  const auto groups = own_groups(*session);
  std::unique_ptr<roles::VerifierRole> verifier;
  if (session->role().verifier) verifier = std::make_unique<roles::VerifierRole>(*session);

  world.barrier();
  const Stopwatch clock;
  roles::Mailbox mail(world);
  for (const auto& group : groups) mail.send(0, roles::GeneratedNote{}, &group);
  roles::StepReport report;
  double graded = 0, tokens = 0, failures = 0, programs = 0;
  if (verifier) {
    for (int i = 0; i < config.bench.prompts; ++i) {
      const Group group = verifier->grade(mail.receive().group<roles::GeneratedNote>(), report);
      for (const auto& verdict : group.verdicts) {
        graded += verdict.outcome == Outcome::graded ? 1 : 0;
        failures += verdict.outcome == Outcome::infrastructure_failure ? 1 : 0;
        programs += static_cast<double>(verdict.programs.size());
      }
      for (const auto& completion : group.completions) tokens += static_cast<double>(completion.tokens.size());
    }
  }
  world.barrier();
  const double seconds = clock.seconds();
  if (!session->is_root()) return kExitDone;
  const double completions = static_cast<double>(config.bench.prompts) * config.bench.group;
  // Programs run side by side; everything else is graded by one thread.
  const int workers = config.verify.workers > 0 ? config.verify.workers : available_cores();
  const int cores = session->grammar.programs ? workers : 1;
  const nlohmann::ordered_json line = {
      {"bench", "verify"},
      {"task", config.task.name},
      {"rollout_ranks", session->plan.rollout_ranks.size()},
      {"problems", config.bench.prompts},
      {"group", config.bench.group},
      {"completions", completions},
      {"tokens_per_completion", std::round(10 * tokens / completions) / 10},
      {"graded", graded},
      {"programs", programs},
      {"infrastructure_failures", failures},
      {"seconds", seconds},
      {"verify_s", report.verify_s},
      {"programs_per_s", std::round(programs / seconds)},
      {"completions_per_s", std::round(completions / seconds)},
      {"cores", cores},
      {"programs_per_s_per_core", std::round(programs / report.verify_s / cores)},
      {"completions_per_s_per_core", std::round(completions / report.verify_s / cores)},
      {"peak_rss_bytes", peak_rss_bytes()}};
  fmt::print("{}\n", line.dump());
  return kExitDone;
}

}  // namespace setrl::commands
