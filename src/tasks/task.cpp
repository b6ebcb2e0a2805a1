#include "tasks/task.h"

#include "base/error.h"
#include "tasks/ddxplus_task.h"
#include "tasks/demo_task.h"
#include "tasks/hotpotqa_task.h"
#include "tasks/jsonl_task.h"
#include "tasks/mbpp_task.h"

namespace setrl::tasks {

std::unique_ptr<Task> make_task(const RunConfig& config) {
  const auto& name = config.task.name;
  if (name == "ddxplus") return std::make_unique<DdxplusTask>(config);
  if (name == "demo") return std::make_unique<DemoTask>(config);
  if (name == "hotpotqa") return std::make_unique<HotpotqaTask>(config);
  if (name == "jsonl") return std::make_unique<JsonlTask>(config);
  if (name == "mbpp") return std::make_unique<MbppTask>(config);
  throw_user_error("task.name = {}: the tasks that exist are ddxplus, hotpotqa, mbpp, demo and jsonl", name);
}

}  // namespace setrl::tasks
