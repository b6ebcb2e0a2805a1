#include "config/commands.h"

namespace setrl::config {

const std::vector<Command>& commands() {
  static const std::vector<Command> list = {
      {"train",
       "the GRPO run, under mpirun or srun; --dry-run prints which rank does what",
       {"run", "model", "task", "reward", "verify", "rollout", "learn", "eval", "store", "topology"},
       "",
       {}},
      {"sft",
       "supervised cold start that teaches the answer-set format from gold sets",
       {"run", "model", "task", "reward", "verify", "rollout", "learn", "sft", "eval", "store"},
       "",
       {}},
      {"eval",
       "evaluates a model, run or checkpoint on a split; writes eval.json and eval.h5",
       {"run", "model", "task", "reward", "verify", "rollout", "eval", "topology"},
       "",
       {}},
      {"ask",
       "samples answer sets for one question typed at the terminal",
       {"run", "model", "task", "reward", "verify", "rollout", "ask"},
       "ask.question",
       {}},
      {"plan",
       "memory, traffic and time of a run before it starts; --check fails where something does not fit",
       {"run", "model", "task", "reward", "rollout", "learn", "sft", "eval", "store", "topology", "plan", "machine"},
       "",
       {}},
      {"inspect",
       "shows a run directory, trajectory or checkpoint; --step N --problem ID prints the texts",
       {"inspect"},
       "inspect.path",
       {}},
      {"report", "run directory -> report.html in it: curves, calibration, examples", {"report"}, "report.path", {}},
      {"check",
       "verifies every checksum of a run directory, checkpoint or file; says what is still usable; exit 2 where not "
       "clean",
       {"check"},
       "check.path",
       {}},
      {"export",
       "run or checkpoint -> Hugging Face folder that transformers loads",
       {"run", "model", "export"},
       "model.path",
       {}},
      {"import", "GGUF file -> Hugging Face folder", {"run", "model", "export"}, "model.path", {}},
      {"bench",
       "rollout, learn, verify, sync or store: one JSON line",
       {"run", "model", "task", "reward", "verify", "rollout", "learn", "store", "bench"},
       "",
       {"rollout", "learn", "verify", "sync", "store"}},
  };
  return list;
}

const Command* find_command(const std::string& name) {
  for (const auto& command : commands()) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

}  // namespace setrl::config
