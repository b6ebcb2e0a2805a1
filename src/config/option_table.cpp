#include "config/option_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace setrl::config {

namespace {

// Access to one field of the configuration: const and mutable through the same pointer-to-member pair.
template <typename Section, typename T>
struct Field {
  Section RunConfig::*section;
  T Section::*member;
  T& of(RunConfig& config) const { return config.*section.*member; }
  const T& of(const RunConfig& config) const { return config.*section.*member; }
};

// Shortest text that reads back to the same double.
std::string number_text(double value) {
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return {buffer, end};
}

[[noreturn]] void bad_value(const std::string& key, const std::string& value, const std::string& expected) {
  throw_user_error("option {}: '{}' is not {}", key, value, expected);
}

template <typename T>
T parse_number(const std::string& key, const std::string& value, T low, T high, const std::string& expected) {
  T result{};
  const auto [end, failure] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (failure != std::errc() || end != value.data() + value.size()) bad_value(key, value, expected);
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(result)) bad_value(key, value, expected);
  }
  if (result < low || result > high) bad_value(key, value, expected);
  return result;
}

class Table {
 public:
  template <typename Section, typename T>
  void integer(const std::string& key, Section RunConfig::*section, T Section::*member, T low, T high,
               const std::string& unit, const std::string& help, Effect effect = Effect::result) {
    const Field<Section, T> field{section, member};
    const bool open = high == std::numeric_limits<T>::max();
    const std::string range = open ? fmt::format("{} or more", low) : fmt::format("{} .. {}", low, high);
    add({key, "integer", range, unit, help, effect,
         [field](const RunConfig& config) { return fmt::format("{}", field.of(config)); },
         [=](RunConfig& config, const std::string& value) {
           field.of(config) = parse_number<T>(key, value, low, high, "an integer in " + range);
         }});
  }

  template <typename Section>
  void number(const std::string& key, Section RunConfig::*section, double Section::*member, double low, double high,
              const std::string& unit, const std::string& help, Effect effect = Effect::result) {
    const Field<Section, double> field{section, member};
    const std::string range = high > 1e100 ? (low < -1e100 ? "any" : fmt::format("{} or more", number_text(low)))
                                           : fmt::format("{} .. {}", number_text(low), number_text(high));
    add({key, "number", range, unit, help, effect,
         [field](const RunConfig& config) { return number_text(field.of(config)); },
         [=](RunConfig& config, const std::string& value) {
           field.of(config) = parse_number<double>(key, value, low, high, "a number in " + range);
         }});
  }

  template <typename Section>
  void flag(const std::string& key, Section RunConfig::*section, bool Section::*member, const std::string& help,
            Effect effect = Effect::result) {
    const Field<Section, bool> field{section, member};
    add({key, "yes/no", "yes | no", "", help, effect,
         [field](const RunConfig& config) { return field.of(config) ? std::string("yes") : std::string("no"); },
         [=](RunConfig& config, const std::string& value) {
           if (value == "yes" || value == "true" || value == "1")
             field.of(config) = true;
           else if (value == "no" || value == "false" || value == "0")
             field.of(config) = false;
           else
             bad_value(key, value, "yes or no");
         }});
  }

  template <typename Section>
  void text(const std::string& key, Section RunConfig::*section, std::string Section::*member, const std::string& help,
            Effect effect = Effect::result) {
    const Field<Section, std::string> field{section, member};
    add({key, "text", "", "", help, effect, [field](const RunConfig& config) { return field.of(config); },
         [=](RunConfig& config, const std::string& value) {
           if (effect != Effect::request && value.find_first_of("#\n\r") != std::string::npos) {
             bad_value(key, value, "a text without '#' and line breaks (configuration files cannot hold them)");
           }
           field.of(config) = value;
         }});
  }

  template <typename Section>
  void choice(const std::string& key, Section RunConfig::*section, std::string Section::*member,
              const std::vector<std::string>& choices, const std::string& help, Effect effect = Effect::result) {
    const Field<Section, std::string> field{section, member};
    std::string range;
    for (const auto& name : choices) range += (range.empty() ? "" : " | ") + name;
    add({key, "one of", range, "", help, effect, [field](const RunConfig& config) { return field.of(config); },
         [=](RunConfig& config, const std::string& value) {
           if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
             bad_value(key, value, "one of " + range);
           }
           field.of(config) = value;
         }});
  }

  std::vector<Option> take() { return std::move(options_); }

 private:
  void add(Option option) { options_.push_back(std::move(option)); }
  std::vector<Option> options_;
};

constexpr double kAnyHigh = std::numeric_limits<double>::max();
template <typename T>
constexpr T kMax = std::numeric_limits<T>::max();

// As topology/shape.cpp has them.
const std::string kShapes = "smollm2-135m, qwen2.5-1.5b, llama3-8b, qwen3-8b, llama3-70b, qwen2.5-72b";

void run_options(Table& t) {
  using S = RunSection;
  const auto at = &RunConfig::run;
  t.text("run.dir", at, &S::dir, "Run directory: configuration, metrics, trajectories, checkpoints, logs.",
         Effect::machine);
  t.text(
      "run.resume", at, &S::resume,
      "auto: continue from the newest whole checkpoint of run.dir, or start where there is none; never: refuse a "
      "directory that holds a run; otherwise the folder to continue from: a checkpoint, or a run directory (its newest "
      "whole checkpoint), also of another run.",
      Effect::machine);
  t.integer<S, std::uint64_t>("run.seed", at, &S::seed, 0, kMax<std::uint64_t>, "", "Seed of every random choice.");
  t.integer<S, std::int64_t>("run.steps", at, &S::steps, 0, kMax<std::int64_t>, "steps", "Training steps of the run.");
  t.integer("run.threads", at, &S::threads, 0, 1024, "threads",
            "Compute threads of a rank; 0: the cores it may run on, shared with ranks of its role (roles work in "
            "turn), or with "
            "all that compute where rollout.max_staleness lets them work at the same time.",
            Effect::machine);
  t.choice("run.device", at, &S::device, {"auto", "cpu", "cuda"},
           "What computes: the CPUs, or one NVIDIA GPU a rank; auto: GPUs where this build has them "
           "(launch/setup.sh --cuda) and every host has one for each of its learner and rollout ranks.",
           Effect::machine);
  t.choice("run.log_level", at, &S::log_level, {"debug", "info", "warning", "error"},
           "Least level shown on the terminal.", Effect::machine);
  t.number("run.deadline_s", at, &S::deadline_s, 0, kAnyHigh, "seconds",
           "Longest wait for another rank before the job is ended with a message; 0: for ever.", Effect::machine);
}

void model_options(Table& t) {
  using S = ModelSection;
  const auto at = &RunConfig::model;
  t.text(
      "model.path", at, &S::path,
      "The policy: a Hugging Face folder (safetensors), a .gguf file, a SetRL run directory or checkpoint folder, or "
      "'random' for a small model made on the spot.");
  t.choice(
      "model.dtype", at, &S::dtype, {"auto", "float32", "bfloat16", "float16"},
      "Compute dtype; auto: bfloat16 on GPUs and where the CPU has the instructions, else float32. Master weights are "
      "float32.");
  t.choice("model.chat_template", at, &S::chat_template, {"auto", "chatml", "smollm2", "qwen", "llama3"},
           "How messages become a prompt; auto: as the model's files say.");
  t.integer<S, std::int64_t>("model.random_hidden", at, &S::random_hidden, 32, 4096, "",
                             "Hidden size of the model that model.path=random makes (a multiple of 32).");
  t.integer<S, std::int64_t>("model.random_layers", at, &S::random_layers, 1, 64, "blocks", "Its number of blocks.");
  t.integer<S, std::int64_t>("model.random_vocabulary", at, &S::random_vocabulary, 300, 100000, "tokens",
                             "Its vocabulary, learned from the demo task's texts.");
}

void task_options(Table& t) {
  using S = TaskSection;
  const auto at = &RunConfig::task;
  t.choice(
      "task.name", at, &S::name, {"ddxplus", "hotpotqa", "mbpp", "demo", "jsonl"},
      "ddxplus: differential diagnosis; hotpotqa: questions with paragraphs; mbpp: Python programs judged by tests; "
      "demo: the built-in diagnosis task; jsonl: own problems (docs/own_tasks.md).");
  t.text("task.path", at, &S::path, "Folder of the task's files (all but demo); mbpp: or the file.", Effect::machine);
  t.integer("task.k", at, &S::k, 1, 16, "answers", "Answers a completion gives.");
  t.integer("task.prompts_per_step", at, &S::prompts_per_step, 1, 1 << 20, "problems", "Problems of a training step.");
  t.number("task.min_probability", at, &S::min_probability, 0, 1, "", "Golds below this probability are dropped.");
  t.flag("task.true_pathology_only", at, &S::true_pathology_only, "The only gold is the patient's true condition.");
  t.flag("task.programs", at, &S::programs,
         "jsonl: answers are Python programs, judged by the \"tests\" of each line.");
  t.flag("task.list_options", at, &S::list_options, "Name every possible condition in the prompt.");
  t.integer<S, std::int64_t>("task.max_prompt_tokens", at, &S::max_prompt_tokens, 16, 1 << 24, "tokens",
                             "A longer prompt ends the run with an error that names the problem.");
  t.choice("task.context", at, &S::context, {"modified", "distractor"},
           "hotpotqa: modified: 0 to 2 of the paragraphs that are needed and some others are taken out, 8 remain; "
           "distractor: all ten.");
  t.integer<S, std::int64_t>("task.max_characters", at, &S::max_characters, 0, kMax<std::int64_t>, "characters",
                             "hotpotqa: problems whose paragraphs have this many or more are left out; 0: none.");
}

void reward_options(Table& t) {
  using S = RewardSection;
  const auto at = &RunConfig::reward;
  t.choice("reward.kind", at, &S::kind, {"rlvr", "rlcr"},
           "rlvr: format and correctness; rlcr: also calibration, answers carry confidences.");
  t.choice("reward.preset", at, &S::preset, {"paper", "released"},
           "Values of the 'auto' options: paper: sum, free (at_most_one for tasks with one gold); released: any, "
           "at_most_one.");
  t.choice("reward.correctness", at, &S::correctness, {"auto", "sum", "mean", "any"},
           "Set correctness: sum of y, sum / K, or max.");
  t.number("reward.format_weight", at, &S::format_weight, 0, 1e6, "", "Weight of a well-formed text.");
  t.number("reward.correct_weight", at, &S::correct_weight, 0, 1e6, "", "Weight of the set correctness.");
  t.number("reward.calibration_weight", at, &S::calibration_weight, 0, 1e6, "", "Weight of 1 - Multi-Brier (rlcr).");
  t.number("reward.count_weight", at, &S::count_weight, 0, 1e6, "", "Weight of -(sum q - sum y)^2 / K^2 (rlcr).");
  t.choice("reward.confidence_sum", at, &S::confidence_sum, {"auto", "free", "at_most_one"},
           "at_most_one: the calibration term is lost where the confidences sum to more than 1.");
  t.flag("reward.abstention", at, &S::abstention, "Allow the answer 'none'.");
  t.number("reward.wrong_penalty", at, &S::wrong_penalty, 0, 1e6, "",
           "Cost of a wrong answer where abstention is allowed.");
  t.number("reward.length_weight", at, &S::length_weight, 0, 1e6, "", "Overlong penalty at the length limit.");
  t.number("reward.length_soft", at, &S::length_soft, 0, 1, "",
           "Fraction of rollout.max_new_tokens where the overlong penalty starts.");
}

void verify_options(Table& t) {
  using S = VerifySection;
  const auto at = &RunConfig::verify;
  t.text("verify.external", at, &S::external,
         "External verifier of task jsonl: a command for /bin/sh that reads one JSON request a line and answers each "
         "with one line (docs/own_tasks.md).");
  t.number("verify.external_deadline_s", at, &S::external_deadline_s, 0.01, 86400, "seconds",
           "Longest wait for its answer; it is then killed and started again.", Effect::machine);
  t.integer("verify.external_processes", at, &S::external_processes, 1, 256, "processes",
            "Copies of it that a verifier rank runs side by side, one request each at a time.", Effect::machine);
  t.integer("verify.max_failures", at, &S::max_failures, 1, kMax<int>, "requests",
            "So many infrastructure failures of it without a good answer between them end the run.", Effect::machine);
  t.choice("verify.sandbox", at, &S::sandbox, {"bubblewrap", "command", "unsafe-none"},
           "Where programs of the policy run (mbpp): bubblewrap; command: behind verify.command; unsafe-none: without "
           "a sandbox, with the rights of this user, behind the system call filter and limits only.",
           Effect::machine);
  t.text("verify.command", at, &S::command,
         "For verify.sandbox=command: the words put before 'python3 ...', such as 'apptainer exec --containall "
         "--net --network none IMAGE.sif'.",
         Effect::machine);
  t.text("verify.python", at, &S::python,
         "Interpreter that runs the programs; auto: /usr/bin/python3, or else python3 on PATH; with verify.command: "
         "python3.",
         Effect::machine);
  t.integer("verify.workers", at, &S::workers, 0, 1024, "programs",
            "Programs that run at a time; 0: as many as this process may use cores.", Effect::machine);
  t.integer("verify.cpu_s", at, &S::cpu_s, 1, 3600, "seconds", "CPU time of one program with its tests.");
  t.number("verify.wall_s", at, &S::wall_s, 0.1, 36000, "seconds",
           "Time on the clock of one program, without the time that it waited for a core.");
  t.integer<S, std::int64_t>("verify.memory_mb", at, &S::memory_mb, 128, 1 << 20, "MiB",
                             "Address space of one program.");
  t.integer<S, std::int64_t>("verify.output_kb", at, &S::output_kb, 1, 1 << 20, "KiB",
                             "Largest results of one program.");
  t.integer("verify.retries", at, &S::retries, 0, 100, "times",
            "Further attempts where a verifier or a sandbox failed (crash, deadline, unreadable answer), before the "
            "completion is left out of the update.",
            Effect::machine);
}

void rollout_options(Table& t) {
  using S = RolloutSection;
  const auto at = &RunConfig::rollout;
  t.integer("rollout.group_size", at, &S::group_size, 1, 4096, "completions", "Completions of one problem (G).");
  t.integer("rollout.max_new_tokens", at, &S::max_new_tokens, 1, 1 << 20, "tokens", "Longest completion.");
  t.number("rollout.temperature", at, &S::temperature, 0.01, 100, "",
           "Sampling temperature; also of the policy that the loss optimises.");
  t.integer("rollout.top_k", at, &S::top_k, 0, 1 << 24, "tokens", "Sample among the k most likely tokens; 0: off.");
  t.number("rollout.top_p", at, &S::top_p, 0.0001, 1, "",
           "Sample among the most likely tokens that hold this probability.");
  t.number("rollout.min_p", at, &S::min_p, 0, 1, "", "Drop tokens less likely than this times the most likely.");
  t.integer("rollout.max_batch", at, &S::max_batch, 1, 4096, "sequences", "Sequences decoded together.",
            Effect::machine);
  t.integer("rollout.tensor_parallel", at, &S::tensor_parallel, 1, 1024, "ranks",
            "So many consecutive rollout ranks hold one model together (a replica). Must divide the rollout ranks, and "
            "the model's heads, key/value heads, inner columns and vocabulary. 1: a whole model on each.",
            Effect::machine);
  t.integer("rollout.replacement_rounds", at, &S::replacement_rounds, 0, 100, "rounds",
            "Extra rounds of a step that replace groups whose rewards are all equal (dynamic sampling).");
  t.integer(
      "rollout.max_staleness", at, &S::max_staleness, 0, 64, "steps",
      "Steps that generation may run ahead of the update: no token that a step trains is of weights that are more "
      "updates older than its own. 0: strictly on-policy. More needs ranks that only generate, and learn.mismatch; "
      "checkpoints then take along what is in flight.");
  t.integer<S, std::int64_t>("rollout.kv_cache_bytes", at, &S::kv_cache_bytes, 0, kMax<std::int64_t>, "bytes",
                             "Most memory of keys and values on a rollout rank; 0: half of what is free at the start. "
                             "Where it runs out the youngest completions wait and are computed again; no text changes.",
                             Effect::machine);
  t.choice("rollout.kv_on_update", at, &S::kv_on_update, {"recompute", "keep"},
           "Keys and values of completions in flight when new weights come.");
  t.flag("rollout.pin", at, &S::pin,
         "Bind each compute thread of the engine to a core, ranks of one host to different ones. For hosts where "
         "nothing else runs and launchers that do not bind.",
         Effect::machine);
  t.text("rollout.stop_text", at, &S::stop_text, "Text that ends a completion where it is written; it is kept.");
  t.flag("rollout.stop_after_answers", at, &S::stop_after_answers,
         "End a completion with the closing tag of its last answer (or confidence), without an end-of-turn token.");
  t.integer("rollout.think_budget", at, &S::think_budget, 0, 1 << 20, "tokens",
            "Close a think block by force that is still open after so many tokens; forced tokens are no loss targets. "
            "0: off.");
}

void learn_options(Table& t) {
  using S = LearnSection;
  const auto at = &RunConfig::learn;
  t.number("learn.learning_rate", at, &S::learning_rate, 0, 10, "", "AdamW's peak learning rate.");
  t.choice("learn.schedule", at, &S::schedule, {"linear", "cosine", "constant"},
           "After the warm-up: to 0 over run.steps, or constant.");
  t.number("learn.warmup_fraction", at, &S::warmup_fraction, 0, 1, "of run.steps", "Linear warm-up.");
  t.number("learn.beta1", at, &S::beta1, 0, 0.999999, "", "AdamW's first moment decay.");
  t.number("learn.beta2", at, &S::beta2, 0, 0.999999, "", "AdamW's second moment decay.");
  t.number("learn.epsilon", at, &S::epsilon, 1e-20, 1, "", "AdamW's epsilon.");
  t.number("learn.weight_decay", at, &S::weight_decay, 0, 10, "", "Decoupled weight decay.");
  t.number("learn.grad_clip", at, &S::grad_clip, 0, kAnyHigh, "", "Largest global gradient norm; 0: no clipping.");
  t.choice("learn.advantage", at, &S::advantage, {"mean", "mean_std", "maxrl", "pass_at_k", "pkpo"},
           "r - m; (r - m)/(s + eps); (r - m)/(m + eps). For groups of single answers, the gradient of the best of "
           "learn.advantage_k completions, averaged over subsets: pass_at_k against the subsets without the "
           "completion, pkpo against the same subset without it.");
  t.integer("learn.advantage_k", at, &S::advantage_k, 2, 4095, "completions",
            "k of pass_at_k and pkpo, below rollout.group_size.");
  t.choice("learn.loss", at, &S::loss, {"token_mean", "sequence_mean", "fixed_length"},
           "Over all tokens (DAPO); mean of sequence means (GRPO); sum / (sequences x max_new_tokens) (Dr. GRPO).");
  t.choice("learn.ratio", at, &S::ratio, {"token", "sequence", "cispo"},
           "Importance ratio: per token; length-normalised per sequence (GSPO); CISPO.");
  t.number("learn.clip_low", at, &S::clip_low, 0, 1, "", "Ratios are clipped below 1 - this.");
  t.number("learn.clip_high", at, &S::clip_high, 0, kAnyHigh, "", "Ratios are clipped above 1 + this.");
  t.number("learn.kl_coefficient", at, &S::kl_coefficient, 0, 1e6, "",
           "Weight of the k3 estimate of the KL to the initial policy.");
  t.choice("learn.mismatch", at, &S::mismatch, {"none", "truncate", "mask"},
           "Rollout/learner mismatch: weight tokens by min(ratio, cap), or mask those outside [1/cap, cap].");
  t.number("learn.mismatch_cap", at, &S::mismatch_cap, 1, kAnyHigh, "", "The cap.");
  t.integer("learn.updates_per_batch", at, &S::updates_per_batch, 1, 1000, "updates", "Optimizer steps on one batch.");
  t.flag("learn.mask_truncated", at, &S::mask_truncated,
         "Leave completions that hit the length limit out of the update.");
  t.flag("learn.drop_zero_variance", at, &S::drop_zero_variance,
         "Leave groups whose rewards are all equal out of the update.");
  t.integer<S, std::int64_t>("learn.micro_batch_tokens", at, &S::micro_batch_tokens, 16, 1LL << 40, "tokens",
                             "Tokens computed together; bounds the memory of activations.");
  t.choice("learn.activation_checkpointing", at, &S::activation_checkpointing, {"none", "block", "selective"},
           "block: keep only the inputs of blocks and compute each again in the backward pass; selective: keep all but "
           "the widest activations, which are one product away. Changes no result.",
           Effect::machine);
  t.flag("learn.reshard_after_forward", at, &S::reshard_after_forward,
         "yes: let a block's gathered weights go after the forward pass and gather them again for the backward; no: "
         "keep them until the update, which saves traffic and costs the whole model in the compute dtype on each rank.",
         Effect::machine);
  t.flag("learn.offload_optimizer", at, &S::offload_optimizer,
         "GPUs: keep master weights and AdamW's moments in pinned host memory and stream them through the GPU at the "
         "update. Changes no result.",
         Effect::machine);
  t.integer("learn.lora_rank", at, &S::lora_rank, 0, 1 << 16, "",
            "Train low-rank adapters (LoRA) of this rank and keep the weights as they are; 0: train all weights.");
  t.number("learn.lora_alpha", at, &S::lora_alpha, 0, 1e6, "", "Adapters count alpha / rank.");
  t.text(
      "learn.lora_targets", at, &S::lora_targets,
      "Modules with adapters, separated by commas: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj; or "
      "'all'.");
  t.integer("learn.max_skipped_steps", at, &S::max_skipped_steps, 0, 1000000, "steps",
            "Consecutive steps with a non-finite loss or gradient before the run stops.");
  t.text("learn.replay", at, &S::replay,
         "Run directory whose stored trajectories are trained on, without any rollout.");
}

void other_options(Table& t) {
  using Sft = SftSection;
  t.integer<Sft, std::int64_t>("sft.cases", &RunConfig::sft, &Sft::cases, 1, kMax<std::int64_t>, "problems",
                               "Gold sets to learn from, spread evenly over the conditions.");
  t.integer("sft.batch", &RunConfig::sft, &Sft::batch, 1, 1 << 20, "problems", "Gold sets of one update.");
  t.integer("sft.epochs", &RunConfig::sft, &Sft::epochs, 1, 10000, "epochs", "Passes over the cases.");
  t.number("sft.learning_rate", &RunConfig::sft, &Sft::learning_rate, 0, 10, "", "Peak learning rate.");
  t.choice("sft.schedule", &RunConfig::sft, &Sft::schedule, {"linear", "cosine", "constant"},
           "After the warm-up: to 0 over the cold start's updates, or constant.");
  t.number("sft.warmup_fraction", &RunConfig::sft, &Sft::warmup_fraction, 0, 1, "of the updates", "Linear warm-up.");

  using Eval = EvalSection;
  t.integer<Eval, std::int64_t>("eval.every", &RunConfig::eval, &Eval::every, 0, kMax<std::int64_t>, "steps",
                                "Evaluate before the first step, every so many steps and at the end; 0: never.");
  t.integer<Eval, std::int64_t>("eval.problems", &RunConfig::eval, &Eval::problems, 1, kMax<std::int64_t>, "problems",
                                "The first so many problems of the split.");
  t.choice("eval.split", &RunConfig::eval, &Eval::split, {"test", "train", "validation"},
           "Split that is evaluated (validation: mbpp).");
  t.choice("eval.mode", &RunConfig::eval, &Eval::mode, {"multi", "single", "best_of_n", "self_consistency"},
           "multi: sets of task.k answers; single: one answer a completion; best_of_n, self_consistency: eval.samples "
           "single answers, of which the task.k most confident, or most frequent, become one set.");
  t.integer("eval.samples", &RunConfig::eval, &Eval::samples, 1, 4096, "completions", "Completions a problem.");
  t.number("eval.temperature", &RunConfig::eval, &Eval::temperature, 0, 100, "", "Sampling temperature; 0: greedy.");
  t.integer("eval.bootstrap", &RunConfig::eval, &Eval::bootstrap, 10, 1000000, "resamples", "For the 95 % intervals.");

  using Store = StoreSection;
  t.integer<Store, std::int64_t>("store.every", &RunConfig::store, &Store::every, 0, kMax<std::int64_t>, "steps",
                                 "Steps between checkpoints; 0: only at the end.", Effect::machine);
  t.integer("store.keep", &RunConfig::store, &Store::keep, 1, 1000000, "checkpoints",
            "Newest checkpoints that are kept.", Effect::machine);
  t.integer<Store, std::int64_t>(
      "store.keep_every", &RunConfig::store, &Store::keep_every, 0, kMax<std::int64_t>, "steps",
      "Checkpoints of steps that are a multiple of this are kept for ever; 0: none.", Effect::machine);
  t.choice("store.layout", &RunConfig::store, &Store::layout, {"per_rank", "shared"},
           "Files of a checkpoint: per_rank: one a learner rank; shared: one that all learner ranks write together "
           "(needs HDF5's parallel build). Read alike.",
           Effect::machine);
  t.flag("store.trajectories", &RunConfig::store, &Store::trajectories, "Write every completion to trajectories/.",
         Effect::machine);

  using Topology = TopologySection;
  const std::string help = "Ranks of this role; 0: chosen from the number of ranks.";
  t.integer("topology.rollout", &RunConfig::topology, &Topology::rollout, 0, 1 << 20, "ranks", help, Effect::machine);
  t.integer("topology.verifier", &RunConfig::topology, &Topology::verifier, 0, 1 << 20, "ranks", help, Effect::machine);
  t.integer("topology.learner", &RunConfig::topology, &Topology::learner, 0, 1 << 20, "ranks", help, Effect::machine);

  using Bench = BenchSection;
  t.text("bench.shape", &RunConfig::bench, &Bench::shape,
         "rollout, learn, sync: random weights of a built-in shape instead of model.path: " + kShapes +
             "; none: model.path.",
         Effect::request);
  t.integer("bench.batch", &RunConfig::bench, &Bench::batch, 1, 4096, "sequences", "rollout: completions in all.",
            Effect::request);
  t.integer("bench.prompts", &RunConfig::bench, &Bench::prompts, 1, 1 << 20, "prompts",
            "learn: prompts of the step; verify: problems.", Effect::request);
  t.integer("bench.prompt", &RunConfig::bench, &Bench::prompt, 1, 1 << 20, "tokens", "Length of each prompt.",
            Effect::request);
  t.integer("bench.new", &RunConfig::bench, &Bench::new_tokens, 1, 1 << 20, "tokens",
            "Length of each completion (verify: of its think block).", Effect::request);
  t.integer("bench.group", &RunConfig::bench, &Bench::group, 1, 4096, "completions", "Completions that share a prompt.",
            Effect::request);
  t.integer("bench.steps", &RunConfig::bench, &Bench::steps, 0, 1000, "steps",
            "learn: steps; the last one is timed; 0: 2, on a GPU 5.", Effect::request);
  t.integer("bench.learners", &RunConfig::bench, &Bench::learners, 0, 1 << 20, "ranks",
            "sync: ranks that hold the weights, the others receive them; 0: half.", Effect::request);
  t.integer("bench.tensor_parallel", &RunConfig::bench, &Bench::tensor_parallel, 1, 1024, "ranks",
            "sync: receiving ranks that hold one model together.", Effect::request);
  t.choice("bench.device", &RunConfig::bench, &Bench::device, {"cpu", "cuda"},
           "learn, rollout: what computes; sync: where the weights are; cuda: one GPU a rank, over NCCL (a build with "
           "SETRL_CUDA=ON).",
           Effect::request);

  using Inspect = InspectSection;
  t.text("inspect.path", &RunConfig::inspect, &Inspect::path, "Run directory, trajectory file or checkpoint folder.",
         Effect::request);
  t.integer<Inspect, std::int64_t>("inspect.step", &RunConfig::inspect, &Inspect::step, -1, kMax<std::int64_t>, "",
                                   "Step of a run directory; -1: the last.", Effect::request);
  t.text("inspect.problem", &RunConfig::inspect, &Inspect::problem, "Only this problem; shows its texts.",
         Effect::request);
  t.number("inspect.min_reward", &RunConfig::inspect, &Inspect::min_reward, -kAnyHigh, kAnyHigh, "",
           "Only completions with at least this reward.", Effect::request);
  t.number("inspect.max_reward", &RunConfig::inspect, &Inspect::max_reward, -kAnyHigh, kAnyHigh, "",
           "Only completions with at most this reward.", Effect::request);
  t.integer("inspect.min_correct", &RunConfig::inspect, &Inspect::min_correct, 0, kMax<int>, "answers",
            "Only completions with at least so many correct answers.", Effect::request);
  t.integer("inspect.max_correct", &RunConfig::inspect, &Inspect::max_correct, 0, kMax<int>, "answers",
            "Only completions with at most so many correct answers.", Effect::request);
  t.choice("inspect.outcome", &RunConfig::inspect, &Inspect::outcome,
           {"any", "graded", "bad_format", "infrastructure_failure"}, "Only completions of this outcome.",
           Effect::request);
  t.flag("inspect.texts", &RunConfig::inspect, &Inspect::texts,
         "Show the texts of what is listed, with answers, confidences and verdicts.", Effect::request);
  t.integer("inspect.limit", &RunConfig::inspect, &Inspect::limit, 1, kMax<int>, "completions",
            "Most completions listed.", Effect::request);

  t.text("report.path", &RunConfig::report, &ReportSection::path, "Run directory; report.html is written into it.",
         Effect::request);
  t.text("check.path", &RunConfig::check, &CheckSection::path, "Run directory, checkpoint folder or file.",
         Effect::request);

  t.text("ask.question", &RunConfig::ask, &AskSection::question, "The question.", Effect::request);
  t.integer("ask.samples", &RunConfig::ask, &AskSection::samples, 1, 4096, "completions", "Answer sets to sample.",
            Effect::request);

  t.text("export.output", &RunConfig::export_, &ExportSection::output,
         "Folder to write; it must not exist, or be empty.", Effect::request);
  t.choice("export.dtype", &RunConfig::export_, &ExportSection::dtype, {"float32", "bfloat16", "float16"},
           "Dtype of the written weights.", Effect::request);
  t.choice("export.format", &RunConfig::export_, &ExportSection::format, {"merged", "peft"},
           "merged: a whole model; peft: only the adapters of a run with learn.lora_rank, as PEFT reads them.",
           Effect::request);
  t.integer<ExportSection, std::int64_t>(
      "export.shard_bytes", &RunConfig::export_, &ExportSection::shard_bytes, 1, kMax<std::int64_t>, "bytes",
      "Largest weight file; more weights are split over several, with an index.", Effect::request);
}

void plan_options(Table& t) {
  using S = PlanSection;
  const auto at = &RunConfig::plan;
  const auto request = Effect::request;
  t.text(
      "plan.machine", at, &S::machine,
      "Description of the machine: a file with a [machine] section (configs/machines/*.cfg). Read before every other "
      "setting.",
      request);
  t.text("plan.model", at, &S::model,
         "Shape of the model: auto: that of model.path; or " + kShapes + ". No weights are needed.", request);
  t.integer("plan.ranks", at, &S::ranks, 0, 1 << 20, "ranks",
            "Ranks of the job; 0: topology.* added up where all three are given, else every rank of plan.nodes.",
            request);
  t.integer(
      "plan.nodes", at, &S::nodes, 0, 1 << 20, "nodes",
      "Nodes of the job; 0: as many as the ranks fill. Given without ranks and topology.*, the best split is chosen.",
      request);
  t.integer("plan.ranks_per_node", at, &S::ranks_per_node, 0, 1 << 16, "ranks", "Ranks of a node; 0: one a device.",
            request);
  t.number("plan.prompt_tokens", at, &S::prompt_tokens, 0, 1e9, "tokens",
           "Mean length of a prompt; 0: the longest (task.max_prompt_tokens).", request);
  t.number("plan.new_tokens", at, &S::new_tokens, 0, 1e9, "tokens",
           "Mean length of a completion; 0: the longest (rollout.max_new_tokens).", request);
  t.flag("plan.json", at, &S::json, "Print one JSON object instead of the table.", request);
  t.flag("plan.check", at, &S::check, "End with code 2 where something does not fit, saying what to change.", request);
}

void machine_options(Table& t) {
  using S = MachineSection;
  const auto at = &RunConfig::machine;
  const auto number = [&](const char* key, double S::*member, double low, const char* unit, const char* help) {
    t.number(std::string("machine.") + key, at, member, low, kAnyHigh, unit, help, Effect::request);
  };
  t.text("machine.name", at, &S::name, "Name in reports.", Effect::request);
  t.choice("machine.device", at, &S::device, {"cpu", "gpu"}, "What computes.", Effect::request);
  t.integer("machine.devices_per_node", at, &S::devices_per_node, 1, 1024, "devices",
            "GPUs of a node; for CPUs the parts (sockets, NUMA domains) whose figures follow.", Effect::request);
  t.integer("machine.cores_per_node", at, &S::cores_per_node, 1, 1 << 16, "cores", "Cores of a node.", Effect::request);
  number("memory_gb", &S::memory_gb, 1e-3, "GB", "Memory of a node.");
  number("device_memory_gb", &S::device_memory_gb, 1e-3, "GB", "Memory of a GPU.");
  number("tflops_bfloat16", &S::tflops_bfloat16, 1e-6, "TFLOP/s", "Matrix products of one device in bfloat16, dense.");
  number("tflops_float32", &S::tflops_float32, 1e-6, "TFLOP/s", "The same in float32.");
  number("memory_gb_s", &S::memory_gb_s, 1e-3, "GB/s", "One device reading its memory.");
  number("link_gb_s", &S::link_gb_s, 1e-3, "GB/s", "One device to others of its node, one direction.");
  number("network_gb_s", &S::network_gb_s, 1e-3, "GB/s", "One node to others, one direction.");
  number("latency_us", &S::latency_us, 0, "microseconds", "A small message between nodes.");
  number("link_latency_us", &S::link_latency_us, 0, "microseconds", "A small message within a node.");
  number("disk_gb_s", &S::disk_gb_s, 1e-6, "GB/s", "One node writing to the shared file system.");
  number("disk_total_gb_s", &S::disk_total_gb_s, 1e-6, "GB/s", "All nodes writing to it together.");
  number("learn_efficiency", &S::learn_efficiency, 1e-6, "of the peak", "Reached by forward and backward.");
  number("prefill_efficiency", &S::prefill_efficiency, 1e-6, "of the peak", "Reached by prompts.");
  number("decode_efficiency", &S::decode_efficiency, 1e-6, "of the peak",
         "Reached by the arithmetic of decoding, beside reading the weights.");
  number("process_gb", &S::process_gb, 0, "GB", "A process before it holds a model.");
}

std::vector<Option> make_table() {
  Table table;
  run_options(table);
  model_options(table);
  task_options(table);
  reward_options(table);
  verify_options(table);
  rollout_options(table);
  learn_options(table);
  other_options(table);
  plan_options(table);
  machine_options(table);
  return table.take();
}

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

const std::vector<Option>& option_table() {
  static const std::vector<Option> table = make_table();
  return table;
}

const Option* find_option(const std::string& key) {
  for (const auto& option : option_table()) {
    if (option.key == key) return &option;
  }
  return nullptr;
}

std::string nearest_key(const std::string& key) {
  const auto& table = option_table();
  // A key without its section ("steps") is nearest to the one that ends so.
  for (const auto& option : table) {
    if (option.key.substr(option.key.find('.') + 1) == key) return option.key;
  }
  return std::min_element(
             table.begin(), table.end(),
             [&](const Option& a, const Option& b) { return edit_distance(key, a.key) < edit_distance(key, b.key); })
      ->key;
}

}  // namespace setrl::config
