#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "commands/commands.h"
#include "commands/verdict_text.h"
#include "store/checkpoint.h"
#include "store/trajectory_file.h"

namespace setrl::commands {

namespace {

namespace fs = std::filesystem;

const char* outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::graded: return "graded";
    case Outcome::bad_format: return "bad format";
    case Outcome::infrastructure_failure: return "infrastructure failure";
  }
  return "unknown";
}

void show_checkpoint(const std::string& folder) {
  const auto info = store::read_checkpoint_info(folder);
  fmt::print("checkpoint {}\n  step {}, policy version {}, optimizer steps {}, schema {}, configuration {}\n  {}\n",
             folder, info.step, info.policy_version, info.optimizer_steps, info.schema_version, info.config_hash,
             info.extra);
  std::int64_t elements = 0;
  const auto tensors = store::list_tensors(folder);
  for (const auto& tensor : tensors) {
    std::int64_t count = 1;
    for (const auto extent : tensor.shape) count *= extent;
    elements += count;
  }
  fmt::print("  {} tensors, {} float32 elements; the first:\n", tensors.size(), elements);
  for (std::size_t i = 0; i < std::min<std::size_t>(tensors.size(), 5); ++i) {
    fmt::print("    {} [{}]\n", tensors[i].name, fmt::join(tensors[i].shape, ", "));
  }
}

void show_text(const store::StoredGroup& stored, std::size_t i) {
  const auto& completion = stored.group.completions[i];
  const auto& verdict = stored.group.verdicts[i];
  fmt::print("\n--- {} sample {}: {}, reward {:.4f}, {} tokens\n{}\n", stored.group.problem.id, completion.sample_index,
             outcome_name(verdict.outcome), verdict.total, completion.tokens.size(), stored.texts[i]);
  if (!verdict.answers.well_formed()) fmt::print("    malformed: {}\n", verdict.answers.malformed_reason);
  for (std::size_t k = 0; k < verdict.answers.answers.size() && k < verdict.correct.size(); ++k) {
    const bool program = !verdict.programs.empty();
    const std::string& answer = verdict.answers.answers[k];
    fmt::print("    {}. {:<36}{}  {}\n", k + 1, program ? answer.substr(0, answer.find('\n')) : answer,
               verdict.answers.confidences.empty() ? "" : fmt::format("  q = {:.2f}", verdict.answers.confidences[k]),
               answer_result(stored.group.problem, verdict, k));
  }
  for (const auto& term : verdict.terms) fmt::print("    {} {:+.4f}", term.name, term.value);
  fmt::print("\n");
}

const char* option_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::graded: return "graded";
    case Outcome::bad_format: return "bad_format";
    case Outcome::infrastructure_failure: return "infrastructure_failure";
  }
  return "unknown";
}

bool is_wanted(const InspectSection& options, const Verdict& verdict) {
  const int correct = verdict.correct_count();
  return verdict.total >= options.min_reward && verdict.total <= options.max_reward && correct >= options.min_correct &&
         correct <= options.max_correct &&
         (options.outcome == "any" || options.outcome == option_name(verdict.outcome));
}

void show_problem(const Problem& problem) {
  for (const auto& message : problem.messages) fmt::print("\n[{}]\n{}\n", message.role, message.content);
  const auto tests = tests_of(problem);
  if (!tests.empty()) {
    fmt::print("\ntests:\n");
    for (const auto& test : tests) fmt::print("{}\n", test);
    return;
  }
  fmt::print("\ngolds:\n");
  for (const auto& gold : problem.golds) {
    fmt::print("  {}{}\n", gold.text, gold.probability < 0 ? "" : fmt::format("  p = {:.3f}", gold.probability));
  }
}

// Rows of the wanted completions of one file, or their texts. Returns how many.
int show_groups(const InspectSection& options, const store::Trajectory& trajectory, int most) {
  const bool texts = options.texts || !options.problem.empty();
  int shown = 0;
  for (const auto& stored : trajectory.groups) {
    const auto& group = stored.group;
    if (!options.problem.empty() && group.problem.id != options.problem) continue;
    bool heading = false;
    for (std::size_t i = 0; i < group.completions.size() && shown < most; ++i) {
      const auto& verdict = group.verdicts[i];
      if (!is_wanted(options, verdict)) continue;
      ++shown;
      if (!texts) {
        fmt::print("  {:<28}{:>7}{:>8}{:>9.4f}{:>8}  {}\n", group.problem.id, group.completions[i].sample_index,
                   group.completions[i].tokens.size(), verdict.total, verdict.correct_count(),
                   outcome_name(verdict.outcome));
        continue;
      }
      if (!heading) show_problem(group.problem);
      heading = true;
      show_text(stored, i);
    }
  }
  return shown;
}

void show_trajectory(const InspectSection& options, const std::vector<std::string>& files) {
  int shown = 0;
  for (const auto& file : files) {
    const auto trajectory = store::read_trajectory(file);
    std::size_t completions = 0;
    for (const auto& stored : trajectory.groups) completions += stored.group.completions.size();
    fmt::print("{}\n  step {}, policy version {}, configuration {}: {} problems, {} completions\n", file,
               trajectory.info.step, trajectory.info.policy_version, trajectory.info.config_hash,
               trajectory.groups.size(), completions);
    if (options.problem.empty() && !options.texts) {
      fmt::print("  {:<28}{:>7}{:>8}{:>9}{:>8}  {}\n", "problem", "sample", "tokens", "reward", "correct", "outcome");
    }
    shown += show_groups(options, trajectory, options.limit - shown);
  }
  if (shown == 0) fmt::print("nothing matches\n");
}

}  // namespace

int inspect(const RunConfig& config) {
  const InspectSection& options = config.inspect;
  if (options.path.empty()) throw_user_error("inspect: give a run directory, trajectory file or checkpoint folder");
  if (!fs::exists(options.path)) throw_user_error("inspect: there is no '{}'", options.path);
  if (!fs::is_directory(options.path)) {
    show_trajectory(options, {options.path});
    return kExitDone;
  }
  if (fs::exists(fs::path(options.path) / "index.h5")) {
    show_checkpoint(options.path);
    return kExitDone;
  }
  const auto steps = store::trajectory_steps(options.path);
  const std::string checkpoint = store::find_newest_checkpoint(options.path);
  if (steps.empty() && checkpoint.empty()) {
    throw_user_error("inspect: '{}' holds neither trajectories nor checkpoints", options.path);
  }
  if (!checkpoint.empty() && options.step < 0 && options.problem.empty()) show_checkpoint(checkpoint);
  if (steps.empty()) return kExitDone;
  const std::int64_t step = options.step < 0 ? steps.back() : options.step;
  if (std::find(steps.begin(), steps.end(), step) == steps.end()) {
    throw_user_error("inspect: '{}' holds no trajectories of step {}; it has {} .. {}", options.path, step,
                     steps.front(), steps.back());
  }
  show_trajectory(options, store::trajectory_parts(options.path, step));
  return kExitDone;
}

}  // namespace setrl::commands
