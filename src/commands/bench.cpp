#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/system.h"
#include "comm/device.h"
#include "commands/bench_weights.h"
#include "commands/commands.h"
#include "commands/rounded.h"
#include "learn/bench.h"
#include "model/decoder.h"
#include "rollout/bench.h"
#include "rollout/from_config.h"
#include "rollout/kv_cache.h"
#include "rollout/load.h"

namespace setrl::commands {

namespace {

// What another program needs to know to do the same work (tools/gpu_peers.py).
nlohmann::ordered_json shape_json(const model::ModelSpec& spec) {
  return {{"vocabulary", spec.vocabulary},
          {"hidden", spec.hidden},
          {"inner", spec.inner},
          {"layers", spec.layers},
          {"heads", spec.heads},
          {"kv_heads", spec.kv_heads},
          {"head_size", spec.head_size},
          {"tied_embeddings", spec.tied_embeddings},
          {"qkv_bias", spec.qkv_bias},
          {"qk_norm", spec.qk_norm},
          {"rope_theta", spec.rope_theta},
          {"norm_epsilon", spec.norm_epsilon},
          {"parameters", spec.parameter_count()}};
}

int bench_rollout(const RunConfig& config, comm::Communicator& world) {
  at::set_num_threads(config.run.threads > 0 ? config.run.threads : available_cores());
  const auto weights = bench_weights(config);
  const auto& spec = weights->spec();
  rollout::BenchOptions options;
  options.batch = config.bench.batch;
  options.prompt = config.bench.prompt;
  options.new_tokens = config.bench.new_tokens;
  options.group = config.bench.group;
  options.seed = config.run.seed;
  const bool cuda = config.bench.device == "cuda";
  if (cuda) options.device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(comm::select_device(world)));
  const at::ScalarType dtype = model::choose_dtype(config.model.dtype, options.device);
  auto engine_options = rollout::engine_options(config, options.device);
  engine_options.max_batch = options.batch;
  rollout::Engine engine(spec, dtype, engine_options);
  rollout::load(*weights, engine);
  const auto result = rollout::bench_rollout(engine, spec, dtype, options);
  const bool bfloat16 = dtype == at::kBFloat16;
  const auto stages = [](const rollout::StageSeconds& seconds) {
    nlohmann::ordered_json object;
    for (std::size_t i = 0; i < rollout::kStages; ++i) object[rollout::kStageNames[i]] = rounded(seconds[i], 1000);
    return object;
  };
  const char* kernels = cuda ? "cuda" : rollout::kernels_of(rollout::best_isa(bfloat16), bfloat16).name;
  nlohmann::ordered_json line = {{"bench", "rollout"},
                                 {"peer", "setrl"},
                                 {"device", config.bench.device},
                                 {"cpu", cpu_name()},
                                 {"kernels", kernels},
                                 {"threads", at::get_num_threads()},
                                 {"dtype", bfloat16 ? "bfloat16" : "float32"},
                                 {"model", bench_model(config)},
                                 {"shape", shape_json(spec)},
                                 {"batch", options.batch},
                                 {"prompt", options.prompt},
                                 {"new", options.new_tokens},
                                 {"group", options.group},
                                 {"seconds", rounded(result.seconds, 1e5)},
                                 {"tokens_per_s", rounded(result.tokens_per_s, 10)},
                                 {"decode_tokens_per_s", rounded(result.decode_tokens_per_s, 10)},
                                 {"prefill_tokens_per_s", rounded(result.prefill_tokens_per_s, 10)},
                                 {"limit_tokens_per_s", rounded(result.limit_tokens_per_s, 10)},
                                 {"fraction_of_limit", rounded(result.fraction_of_limit, 1000)},
                                 {"kv_bytes_per_token", rollout::kv_bytes_per_token(spec, bfloat16)},
                                 {"kv_cache_bytes", engine_options.kv_cache_bytes},
                                 {"preemptions", engine.stats().preemptions},
                                 {"peak_rss_bytes", peak_rss_bytes()}};
  if (cuda) {
    line["memory_gb_per_s"] = rounded(result.memory_bytes_per_s / 1e9, 10);
  } else {
    line["prefill_stage_s"] = stages(result.prefill_stages);
    line["decode_stage_s"] = stages(result.decode_stages);
  }
  fmt::print("{}\n", line.dump());
  return kExitDone;
}

int bench_learn(const RunConfig& config, comm::MpiRuntime& runtime) {
  comm::Communicator& world = runtime.world();
  at::Device device = at::kCPU;
  std::unique_ptr<comm::Communicator> on_devices;
  if (config.bench.device == "cuda") {
    device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(comm::select_device(world)));
    on_devices = comm::make_device_communicator(runtime, world.split(0, "learners"));
  }
  at::set_num_threads(config.run.threads > 0 ? config.run.threads : available_cores());
  const auto weights = bench_weights(config);
  const auto result = learn::bench_learn(config, *weights, on_devices ? *on_devices : world, device);
  const nlohmann::ordered_json line = {{"bench", "learn"},
                                       {"peer", "setrl"},
                                       {"device", config.bench.device},
                                       {"threads", at::get_num_threads()},
                                       {"dtype", result.bfloat16 ? "BFloat16" : "Float"},
                                       {"model", bench_model(config)},
                                       {"shape", shape_json(weights->spec())},
                                       {"ranks", world.size()},
                                       {"prompts", config.bench.prompts},
                                       {"group", config.bench.group},
                                       {"prompt_tokens", config.bench.prompt},
                                       {"new", config.bench.new_tokens},
                                       {"steps", result.steps},
                                       {"micro_batch_tokens", config.learn.micro_batch_tokens},
                                       {"activation_checkpointing", config.learn.activation_checkpointing},
                                       {"offload_optimizer", config.learn.offload_optimizer},
                                       {"learn_s", rounded(result.learn_s, 1e5)},
                                       {"tokens_per_s", rounded(result.tokens_per_s, 10)},
                                       {"gemm_gflops", rounded(result.gemm_flops / 1e9, 1)},
                                       {"fraction_of_limit", rounded(result.fraction_of_limit, 1000)},
                                       {"peak_rss_bytes", result.peak_rss_bytes},
                                       {"state_bytes", result.state_bytes},
                                       {"measured_state_bytes", result.measured_state_bytes},
                                       {"communicator_bytes", result.communicator_bytes},
                                       {"device_peak_bytes", result.device_peak_bytes},
                                       {"device_reserved_bytes", result.device_reserved_bytes},
                                       {"device_growth_bytes", result.device_growth_bytes},
                                       {"sent_bytes", result.sent_bytes},
                                       {"planned_sent_bytes", result.planned_sent_bytes}};
  if (world.rank() == 0) fmt::print("{}\n", line.dump());
  return kExitDone;
}

}  // namespace

int bench(const config::ParsedCommand& command, comm::MpiRuntime& runtime) {
  comm::Communicator& world = runtime.world();
  if (command.subcommand == "learn") return bench_learn(command.config, runtime);
  if (command.subcommand == "verify") return bench_verify(command.config, runtime);
  if (command.subcommand == "sync") return bench_sync(command.config, runtime);
  if (command.subcommand == "store") return bench_store(command.config, world);
  if (world.size() > 1) throw_user_error("setrl bench rollout runs in one process: start it without mpirun");
  SETRL_CHECK(command.subcommand == "rollout", "no code for bench {}", command.subcommand);
  return bench_rollout(command.config, world);
}

}  // namespace setrl::commands
