// For tests with the real model of launch/setup.sh and the prompts of fixtures/rollout/smollm2_greedy.json.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/weight_source.h"
#include "rollout/engine.h"

namespace setrl::rollout {

class WithSmolLm2 : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = std::string(std::getenv("SETRL_SOURCE_DIR")) + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!std::filesystem::exists(path)) {
      std::cerr << "*** SKIPPED: " << path << " is missing; launch/setup.sh fetches it ***\n";
      GTEST_SKIP() << path << " is missing";
    }
    source_ = model::open_weights(path);
    std::ifstream file(std::string(std::getenv("SETRL_FIXTURES")) + "/rollout/smollm2_greedy.json");
    cases_ = nlohmann::json::parse(file);
  }

  // The first `count` prompts, each with so many samples.
  std::vector<GenerationRequest> requests(std::size_t count, int samples) const {
    std::vector<GenerationRequest> result;
    for (std::size_t i = 0; i < count; ++i) {
      result.push_back({static_cast<std::int64_t>(i), std::to_string(i),
                        cases_[i].at("prompt").get<std::vector<std::int32_t>>(), samples, 0});
    }
    return result;
  }

  std::unique_ptr<model::WeightSource> source_;
  nlohmann::json cases_;
};

}  // namespace setrl::rollout
