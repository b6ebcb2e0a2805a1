#include "topology/forecast_text.h"

#include <fmt/format.h>

namespace setrl::topology {

namespace {

std::string bytes_text(double bytes) {
  if (bytes >= 1e12) return fmt::format("{:.2f} TB", bytes / 1e12);
  if (bytes >= 1e8) return fmt::format("{:.2f} GB", bytes / 1e9);
  return fmt::format("{:.1f} MB", bytes / 1e6);
}

std::string seconds_text(double seconds) {
  if (seconds >= 100) return fmt::format("{:.0f} s", seconds);
  return seconds >= 0.1 ? fmt::format("{:.2f} s", seconds) : fmt::format("{:.1f} ms", 1e3 * seconds);
}

std::string memory_table(const Forecast& f) {
  struct Row {
    const char* name;
    double MemoryUse::*part;
  };
  const Row rows[] = {{"weights", &MemoryUse::weights},         {"gradients", &MemoryUse::gradients},
                      {"optimizer", &MemoryUse::optimizer},     {"gathered units", &MemoryUse::gathered},
                      {"activations", &MemoryUse::activations}, {"KV cache", &MemoryUse::kv_cache},
                      {"logits", &MemoryUse::logits},           {"exchange", &MemoryUse::exchange},
                      {"saving", &MemoryUse::saving},           {"process", &MemoryUse::process}};
  std::string text = fmt::format("\n{:<18}{:>12}{:>12}{:>12}\n", "memory of a rank", "learner", "rollout", "verifier");
  const auto line = [&](const char* name, double learner, double rollout, double verifier) {
    const auto cell = [](double value) { return value > 0 ? bytes_text(value) : std::string("-"); };
    text += fmt::format("  {:<16}{:>12}{:>12}{:>12}\n", name, cell(learner), cell(rollout), cell(verifier));
  };
  for (const auto& row : rows) line(row.name, f.learner.*row.part, f.rollout.*row.part, f.verifier.*row.part);
  line("sum", f.learner.total(), f.rollout.total(), f.verifier.total());
  return text + fmt::format("  largest rank with all its roles {}, fullest node {}\n", bytes_text(f.largest_rank_bytes),
                            bytes_text(f.fullest_node_bytes));
}

std::string traffic_table(const Forecast& f) {
  const Traffic& t = f.traffic;
  const auto line = [](const std::string& name, double bytes, const std::string& note) {
    return fmt::format("  {:<34}{:>12}  {}\n", name, bytes_text(bytes), note);
  };
  return fmt::format("\ntraffic of a step\n") +
         line("gather, into a learner", t.gather,
              fmt::format("{:.0f} calls, {:.0f} micro-batches", t.gathers, t.micro_batches)) +
         line("reduce-scatter, out of a learner", t.reduce_scatter, fmt::format("{:.0f} calls", t.reduces)) +
         line("push, out of a learner", t.push_send, "") + line("push, into a rollout rank", t.push, "") +
         line("push, on to other replicas", t.push_relay, "") + line("groups, all ranks", t.groups, "");
}

std::string time_table(const Forecast& f) {
  const StepTime& t = f.time;
  std::string text = "\ntime of a step\n";
  const auto line = [&](const char* name, double seconds, const std::string& note) {
    text += fmt::format("  {:<18}{:>10}  {}\n", name, seconds_text(seconds), note);
  };
  line("rollout", t.rollout(), fmt::format("prefill {}, decode {}", seconds_text(t.prefill), seconds_text(t.decode)));
  line("learn", t.learn,
       fmt::format("compute {}, gather {}, reduce {}, optimizer {}", seconds_text(t.learn_compute),
                   seconds_text(t.learn_gather), seconds_text(t.learn_reduce), seconds_text(t.optimizer)));
  line("sync", t.sync, "");
  line("checkpoint", t.checkpoint,
       fmt::format("{}{}", bytes_text(f.checkpoint_bytes),
                   f.work.save_every > 0 ? fmt::format(", every {} steps", f.work.save_every) : ", at the end"));
  line("step", t.step, fmt::format("{:.0f} completion tokens/s", f.work.sequences() * f.work.new_tokens / t.step));
  return text;
}

}  // namespace

std::string describe(const Forecast& f, const MachineSection& machine) {
  const auto& where = f.where;
  std::string text = fmt::format(
      "{}: {:.2f} billion parameters, {}; {} problems x {} completions, {:.0f} + {:.0f} tokens\n"
      "machine {}: {} node{}, {} rank{} a node\n\n{}",
      f.shape.name, static_cast<double>(f.shape.parameters()) / 1e9, f.work.bfloat16 ? "bfloat16" : "float32",
      f.work.prompts, f.work.group, f.work.prompt_tokens, f.work.new_tokens, machine.name, where.nodes,
      where.nodes == 1 ? "" : "s", where.ranks_per_node, where.ranks_per_node == 1 ? "" : "s", describe(f.plan));
  text += memory_table(f) + traffic_table(f) + time_table(f);
  for (const auto& note : f.notes) text += "\nnote: " + note + "\n";
  if (f.misfits.empty()) return text + "\neverything fits\n";
  text += "\nDOES NOT FIT\n";
  for (const auto& misfit : f.misfits) text += "  " + misfit + "\n";
  return text;
}

}  // namespace setrl::topology
