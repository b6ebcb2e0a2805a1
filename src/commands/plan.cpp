// setrl plan: what a run will need and take, before it starts.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "comm/device.h"
#include "commands/commands.h"
#include "commands/model_shape.h"
#include "model/model_spec.h"
#include "roles/policy.h"
#include "topology/forecast.h"
#include "topology/forecast_text.h"
#include "topology/split.h"

namespace setrl::commands {

namespace {

topology::ModelShape planned_shape(const RunConfig& config) {
  if (config.plan.model != "auto") return topology::known_shape(config.plan.model);
  // A folder's config.json is enough: the weights may not be here yet.
  const auto file = std::filesystem::path(config.model.path) / "config.json";
  if (std::filesystem::exists(file)) {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    return shape_of(model::parse_hf_config(text.str(), file.string()), config.model.path);
  }
  return shape_of(roles::open_policy(config).weights->spec(), config.model.path);
}

// What the arithmetic allows and this program does not do.
void add_missing_back_ends(const RunConfig& config, std::vector<std::string>& misfits) {
  if (config.machine.device == "gpu" && !comm::built_for_devices()) {
    misfits.push_back(
        "this build of setrl computes on CPUs, but machine.device is gpu: configure it with -DSETRL_CUDA=ON "
        "(docs/gpu.md)");
  }
}

nlohmann::ordered_json memory_json(const topology::MemoryUse& use) {
  return {{"weights", use.weights},   {"gradients", use.gradients},     {"optimizer", use.optimizer},
          {"gathered", use.gathered}, {"activations", use.activations}, {"kv_cache", use.kv_cache},
          {"logits", use.logits},     {"exchange", use.exchange},       {"process", use.process},
          {"total", use.total()}};
}

nlohmann::ordered_json to_json(const topology::Forecast& f, const RunConfig& config) {
  const auto& t = f.time;
  const auto& traffic = f.traffic;
  return {{"model", f.shape.name},
          {"parameters", f.shape.parameters()},
          {"machine", config.machine.name},
          {"ranks", f.plan.ranks.size()},
          {"nodes", f.where.nodes},
          {"ranks_per_node", f.where.ranks_per_node},
          {"rollout_replicas", f.plan.replicas()},
          {"topology",
           {{"learner", f.plan.learner_ranks.size()},
            {"rollout", f.plan.rollout_ranks.size()},
            {"verifier", f.plan.verifier_ranks.size()}}},
          {"memory_bytes",
           {{"learner", memory_json(f.learner)},
            {"rollout", memory_json(f.rollout)},
            {"verifier", memory_json(f.verifier)},
            {"largest_rank", f.largest_rank_bytes},
            {"fullest_node", f.fullest_node_bytes}}},
          {"traffic_bytes",
           {{"gather", traffic.gather},
            {"reduce_scatter", traffic.reduce_scatter},
            {"push_send", traffic.push_send},
            {"push", traffic.push},
            {"push_relay", traffic.push_relay},
            {"groups", traffic.groups}}},
          {"seconds",
           {{"prefill", t.prefill},
            {"decode", t.decode},
            {"rollout", t.rollout()},
            {"learn_compute", t.learn_compute},
            {"learn_gather", t.learn_gather},
            {"learn_reduce", t.learn_reduce},
            {"optimizer", t.optimizer},
            {"learn", t.learn},
            {"sync", t.sync},
            {"checkpoint", t.checkpoint},
            {"step", t.step}}},
          {"checkpoint_bytes", f.checkpoint_bytes},
          {"learn_flops", f.learn_flops},
          {"rollout_flops", f.rollout_flops},
          {"misfits", f.misfits},
          {"notes", f.notes},
          {"run_dir", config.run.dir},
          {"model_path", config.model.path},
          {"task_path", config.task.path}};
}

}  // namespace

int plan(const RunConfig& given) {
  RunConfig config = given;
  const auto shape = planned_shape(config);
  const int ranks = topology::planned_ranks(config);
  const auto& roles = config.topology;
  const bool open = roles.learner == 0 && roles.rollout == 0 && config.plan.nodes > 0 && config.plan.ranks == 0;
  bool none_fits = false;
  if (open && ranks > 2) {
    const auto best = topology::best_split(config, shape, ranks);
    none_fits = !best;
    if (best) config.topology = *best;
  }
  auto forecast = topology::forecast(config, shape, ranks);
  if (none_fits) forecast.misfits.push_back(fmt::format("no division of {} ranks fits: plan more nodes", ranks));
  add_missing_back_ends(config, forecast.misfits);
  if (config.plan.json) {
    fmt::print("{}\n", to_json(forecast, config).dump(2));
  } else {
    fmt::print("{}", topology::describe(forecast, config.machine));
  }
  std::fflush(stdout);
  if (!config.plan.check || forecast.misfits.empty()) return kExitDone;
  std::string all;
  for (const auto& misfit : forecast.misfits) all += "\n  " + misfit;
  throw_user_error("the plan does not fit:{}", all);
}

}  // namespace setrl::commands
