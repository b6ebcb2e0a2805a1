// The frozen configuration of a run. Defaults here are the defaults of the options; names are `section.key` on the
// command line; option_table.cpp binds every field to its option (type, range, unit, help).
#pragma once

#include <cstdint>
#include <string>

namespace setrl {

struct RunSection {
  std::string dir = "runs/default";
  std::string resume = "never";  // auto | never | PATH of a checkpoint or run directory
  std::uint64_t seed = 43;
  std::int64_t steps = 60;
  int threads = 0;              // compute threads a rank, 0 = share of the host's cores
  std::string device = "auto";  // auto | cpu | cuda
  std::string log_level = "info";
  double deadline_s = 1800;  // longest wait for another rank
};

struct ModelSection {
  std::string path = "models/SmolLM2-135M-Instruct.Q4_1.gguf";  // HF folder, .gguf file, or "random"
  std::string dtype = "auto";                                   // compute dtype: auto | float32 | bfloat16 | float16
  std::string chat_template = "auto";                           // auto | chatml | qwen | llama3
  // Used where path = random: a Llama of this shape with a tokenizer made from the demo task's own texts.
  std::int64_t random_hidden = 128;
  std::int64_t random_layers = 4;
  std::int64_t random_vocabulary = 1024;
};

struct TaskSection {
  std::string name = "demo";  // ddxplus | hotpotqa | mbpp | demo | jsonl
  std::string path;           // folder (or file) of the task's data
  int k = 3;                  // answers a completion
  int prompts_per_step = 8;
  double min_probability = 0;  // DDXPlus: golds below this probability are dropped
  bool true_pathology_only = false;
  std::int64_t max_prompt_tokens = 3072;
  bool programs = false;               // jsonl: answers are programs
  bool list_options = false;           // name the possible answers in the prompt
  std::string context = "modified";    // HotPotQA: modified | distractor
  std::int64_t max_characters = 6000;  // HotPotQA: problems with a longer text are left out, 0 = none is
};

struct RewardSection {
  std::string kind = "rlcr";         // rlvr | rlcr
  std::string preset = "paper";      // paper | released
  std::string correctness = "auto";  // auto (of the preset) | sum | mean | any
  double format_weight = 0.5;
  double correct_weight = 0.5;
  double calibration_weight = 0.5;
  double count_weight = 0;              // weight of -(sum q - sum y)^2 / K^2
  std::string confidence_sum = "auto";  // auto (of the preset) | free | at_most_one
  bool abstention = false;              // allow the answer "none"
  double wrong_penalty = 0;             // cost of a wrong answer where abstention is allowed
  double length_weight = 0;             // overlong penalty at the length limit
  double length_soft = 0.8;             // fraction of rollout.max_new_tokens where the overlong penalty starts
};

// How answers are judged by something else than a comparison.
struct VerifySection {
  // External verifier of task jsonl: a command for /bin/sh. docs/own_tasks.md explains it.
  std::string external;
  double external_deadline_s = 30;
  int external_processes = 1;
  int max_failures = 20;  // infrastructure failures in a row that end the run

  // How programs that the policy writes are run (mbpp). docs/sandbox.md explains every part.
  std::string sandbox = "bubblewrap";  // bubblewrap | command | unsafe-none
  std::string command;            // of sandbox = command: what goes before "python3 ...", such as an Apptainer call
  std::string python = "auto";    // interpreter inside the sandbox; auto: /usr/bin/python3, else python3 on PATH
  int workers = 0;                // programs run at a time, 0 = cores of this process
  int cpu_s = 5;                  // CPU time of one program with its tests
  double wall_s = 15;             // and its time on the clock, waiting for a core left out
  std::int64_t memory_mb = 512;   // address space of one program
  std::int64_t output_kb = 1024;  // results of one program

  int retries = 2;  // of a request or program that met an infrastructure failure
};

struct RolloutSection {
  int group_size = 8;
  int max_new_tokens = 256;
  double temperature = 0.7;
  int top_k = 0;  // 0 = off
  double top_p = 1.0;
  double min_p = 0.0;
  int max_batch = 64;                      // sequences decoded together
  int tensor_parallel = 1;                 // consecutive rollout ranks that hold one model together
  int max_staleness = 0;                   // steps that generation may run ahead of the update
  int replacement_rounds = 0;              // extra rounds that replace groups without signal (dynamic sampling)
  std::int64_t kv_cache_bytes = 0;         // most memory of keys and values a rank, 0 = half of what is free
  std::string kv_on_update = "recompute";  // recompute | keep: of completions in flight when new weights come
  bool pin = false;                        // bind compute threads to cores
  std::string stop_text;                   // ends a completion where it is written
  bool stop_after_answers = false;         // end a completion with its last answer
  int think_budget = 0;                    // tokens after which an open think block is closed, 0 = off
};

struct LearnSection {
  double learning_rate = 1e-5;
  std::string schedule = "linear";  // linear | cosine | constant
  double warmup_fraction = 0.05;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  double grad_clip = 1.0;
  std::string advantage = "mean";   // mean | mean_std | maxrl | pass_at_k | pkpo
  int advantage_k = 4;              // k of pass_at_k and pkpo
  std::string loss = "token_mean";  // token_mean | sequence_mean | fixed_length
  std::string ratio = "token";      // token | sequence | cispo
  double clip_low = 0.2, clip_high = 0.2;
  double kl_coefficient = 0;
  std::string mismatch = "none";  // none | truncate | mask
  double mismatch_cap = 2;
  int updates_per_batch = 1;
  bool mask_truncated = false;
  bool drop_zero_variance = true;  // groups without signal take no part in the update
  std::int64_t micro_batch_tokens = 4096;
  std::string activation_checkpointing = "none";  // none | block | selective
  bool reshard_after_forward = true;              // gather a unit again for the backward pass
  bool offload_optimizer = false;                 // GPUs: masters and moments in host memory
  int lora_rank = 0;                              // 0 = all weights are trained
  double lora_alpha = 16;
  std::string lora_targets = "all";  // modules, separated by commas
  int max_skipped_steps = 5;         // consecutive non-finite steps before the run stops
  std::string replay;                // run directory whose trajectories are trained on
};

struct SftSection {
  std::int64_t cases = 480;
  int batch = 8;
  int epochs = 1;
  double learning_rate = 2e-4;
  std::string schedule = "linear";
  double warmup_fraction = 0.05;
};

struct EvalSection {
  std::int64_t every = 0;  // steps between evaluations inside a run, 0 = off
  std::int64_t problems = 64;
  std::string split = "test";
  std::string mode = "multi";  // multi | single | best_of_n | self_consistency
  int samples = 1;             // completions a problem
  double temperature = 0.7;
  int bootstrap = 2000;  // resamples for the 95 % intervals
};

struct StoreSection {
  std::int64_t every = 10;      // steps between checkpoints, 0 = only at the end
  int keep = 2;                 // newest checkpoints kept
  std::int64_t keep_every = 0;  // besides, those of steps that are multiples of it; 0 = none
  std::string layout = "per_rank";
  bool trajectories = true;
};

struct TopologySection {
  // Ranks of each role. 0 = chosen: one process does everything; with more, one verifier and the rest split evenly.
  int rollout = 0;
  int verifier = 0;
  int learner = 0;
};

struct BenchSection {
  std::string shape = "none";  // none: model.path; otherwise a built-in shape with random weights
  int batch = 32;
  int prompts = 4;
  int prompt = 256;
  int new_tokens = 128;  // --bench.new
  int group = 1;
  int steps = 0;     // of learn; 0 = 2, on a GPU 5
  int learners = 0;  // 0 = half of the ranks
  int tensor_parallel = 1;
  std::string device = "cpu";  // cpu | cuda
};

// Options of the commands that look at files.
struct InspectSection {
  std::string path;
  std::int64_t step = -1;
  std::string problem;
  double min_reward = -1e300;
  double max_reward = 1e300;
  int min_correct = 0;
  int max_correct = 1 << 30;
  std::string outcome = "any";  // any | graded | bad_format | infrastructure_failure
  bool texts = false;           // show texts instead of rows
  int limit = 20;
};

struct ReportSection {
  std::string path;  // run directory
};

struct CheckSection {
  std::string path;
};

struct AskSection {
  std::string question;
  int samples = 1;
};

// Of export and import.
struct ExportSection {
  std::string output;                     // folder to write
  std::string dtype = "float32";          // float32 | bfloat16 | float16
  std::string format = "merged";          // merged | peft
  std::int64_t shard_bytes = 5000000000;  // largest safetensors file
};

// What `setrl plan` is asked.
struct PlanSection {
  std::string machine;         // file with a [machine] section, read before every other setting
  std::string model = "auto";  // auto: of model.path; otherwise a built-in shape
  int ranks = 0;               // 0 = the counts of topology.* added up, else all ranks of `nodes`
  int nodes = 0;               // 0 = as many as the ranks fill
  int ranks_per_node = 0;      // 0 = one a device
  double prompt_tokens = 0;    // mean; 0 = task.max_prompt_tokens
  double new_tokens = 0;       // mean; 0 = rollout.max_new_tokens
  bool json = false;
  bool check = false;
};

// One node of a machine, as its data sheet or a benchmark says. A device is a GPU, or the cores of a CPU that one rank
// uses. GB are 10^9 bytes.
struct MachineSection {
  std::string name = "unnamed";
  std::string device = "cpu";  // cpu | gpu
  int devices_per_node = 1;
  int cores_per_node = 2;
  double memory_gb = 16;                             // of the node
  double device_memory_gb = 16;                      // of one GPU
  double tflops_bfloat16 = 1, tflops_float32 = 0.2;  // dense matrix products, one device
  double memory_gb_s = 25;                           // one device reading its memory
  double link_gb_s = 5;                              // one device to others of its node, one direction
  double network_gb_s = 10;                          // one node to others, one direction
  double latency_us = 20;                            // of a small message between nodes
  double link_latency_us = 2;                        // the same within a node
  double disk_gb_s = 1;                              // one node writing to the shared file system
  double disk_total_gb_s = 1;                        // all nodes together
  double learn_efficiency = 0.3;                     // reached part of the peak: forward and backward
  double prefill_efficiency = 0.3;                   // the same: prompts
  double decode_efficiency = 0.3;  // the same: arithmetic of one decode step beside reading the weights
  double process_gb = 0.3;         // a process before it holds a model: program, libraries, buffers of MPI
};

struct RunConfig {
  RunSection run;
  ModelSection model;
  TaskSection task;
  RewardSection reward;
  VerifySection verify;
  RolloutSection rollout;
  LearnSection learn;
  SftSection sft;
  EvalSection eval;
  StoreSection store;
  TopologySection topology;
  BenchSection bench;
  InspectSection inspect;
  ReportSection report;
  CheckSection check;
  AskSection ask;
  ExportSection export_;  // section "export"
  PlanSection plan;
  MachineSection machine;
};

}  // namespace setrl
