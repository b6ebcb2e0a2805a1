// What an engine computes with: the weights, the KV cache and the forward pass on one kind of device. The scheduler
// above it is the same for all kinds.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "model/model_spec.h"
#include "rollout/batch.h"
#include "rollout/page_pool.h"
#include "rollout/profile.h"

namespace setrl::rollout {

struct EngineOptions;

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;

  // See Engine.
  virtual void begin_update() = 0;
  virtual void update(const std::string& name, const at::Tensor& whole) = 0;
  virtual void update_part(const std::string& name, const at::Tensor& part) = 0;
  virtual void end_update() = 0;
  virtual bool ready() const = 0;  // a whole set of weights came

  virtual PagePool& pages() = 0;
  // Rows of prompts in one pass: enough that reading the weights is paid by arithmetic.
  virtual std::int64_t prefill_rows() const = 0;
  // Most rows of an attention tile of sequences of up to `length` positions.
  virtual std::int64_t tile_rows(std::int64_t length) const = 0;
  // Stores keys and values of all rows, then draws: results[i] is that of batch.draws[i]. Throws what the communicator
  // or the device throws.
  virtual void run(const Batch& batch, std::vector<Drawn>& results) = 0;
  virtual const StageSeconds& stage_seconds() const = 0;  // of all passes; zero where the device does not tell
};

// `ranks`: as Engine has it.
std::unique_ptr<ModelRunner> make_cpu_runner(const model::ModelSpec& spec, bool bf16, const EngineOptions& options,
                                             comm::Communicator* ranks);
// On the GPU options.device. Throws UserError in a build without GPUs, and where the model does not fit the kernels or
// the memory.
std::unique_ptr<ModelRunner> make_gpu_runner(const model::ModelSpec& spec, bool bf16, const EngineOptions& options,
                                             comm::Communicator* ranks);

}  // namespace setrl::rollout
