// Where the time of forward passes goes: seconds of each stage, as thread 0 sees it (its own work and its waiting).
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace setrl::rollout {

enum class Stage { embedding, norm, qkv, rotate, attention, out, gate_up, down, head, draw, communicate, count };

inline constexpr std::size_t kStages = static_cast<std::size_t>(Stage::count);
inline constexpr std::array<const char*, kStages> kStageNames = {
    "embedding", "norm", "qkv", "rotate", "attention", "out", "gate_up", "down", "head", "draw", "communicate"};

using StageSeconds = std::array<double, kStages>;

class StageClock {
 public:
  void start() { last_ = Clock::now(); }
  // Ends a stage and starts the next.
  void lap(Stage stage) {
    const auto now = Clock::now();
    seconds_[static_cast<std::size_t>(stage)] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  const StageSeconds& seconds() const { return seconds_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_;
  StageSeconds seconds_{};
};

}  // namespace setrl::rollout
