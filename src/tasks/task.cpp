#include "tasks/task.h"

#include "base/error.h"
#include "tasks/ddxplus_task.h"
#include "tasks/demo_task.h"

namespace setrl::tasks {

std::unique_ptr<Task> make_task(const RunConfig& config) {
  const auto& name = config.task.name;
  if (name == "ddxplus") return std::make_unique<DdxplusTask>(config);
  if (name == "demo") return std::make_unique<DemoTask>(config);
  throw_user_error("task.name = {}: the tasks that exist are ddxplus and demo", name);
}

text::Grammar grammar_of(const RunConfig& config) {
  text::Grammar grammar;
  grammar.k = config.task.k;
  grammar.confidences = config.reward.kind == "rlcr";
  grammar.abstention = config.reward.abstention;
  return grammar;
}

}  // namespace setrl::tasks
