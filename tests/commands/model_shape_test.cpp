#include "commands/model_shape.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "commands/bench_weights.h"
#include "config/option_table.h"

namespace setrl::commands {
namespace {

TEST(ModelShape, EveryBuiltInShapeIsAModelOfThatSize) {
  for (const auto& shape : topology::known_shapes()) {
    const auto spec = spec_of(shape);
    EXPECT_EQ(spec.parameter_count(), shape.parameters()) << shape.name;
    // The configuration is one that can be written, and read back as the same shape.
    const auto back = shape_of(model::parse_hf_config(model::to_hf_config(spec, "float32"), shape.name), shape.name);
    EXPECT_EQ(back.parameters(), shape.parameters()) << shape.name;
    EXPECT_EQ(back.kv_elements(), shape.kv_elements()) << shape.name;
  }
}

TEST(ModelShape, TheOptionsNameThemAll) {
  int options = 0;
  for (const auto& option : config::option_table()) {
    if (option.key != "bench.shape" && option.key != "plan.model") continue;
    ++options;
    for (const auto& shape : topology::known_shapes()) {
      EXPECT_NE(option.help.find(shape.name), std::string::npos) << option.key << " and " << shape.name;
    }
  }
  EXPECT_EQ(options, 2);
}

TEST(BenchWeights, AShapeNeedsNoModelFile) {
  RunConfig config;
  config.model.path = "no such folder";
  config.bench.shape = "qwen2.5-1.5b";
  EXPECT_EQ(bench_model(config), "qwen2.5-1.5b");
  const auto weights = bench_weights(config);
  EXPECT_EQ(weights->spec().parameter_count(), 1'543'714'304);
  float last[2];
  const std::int64_t count = weights->spec().vocabulary * weights->spec().hidden;
  weights->read("model.embed_tokens.weight", count - 2, count, last);
  EXPECT_NE(last[0], last[1]);

  config.bench.shape = "none";
  EXPECT_EQ(bench_model(config), config.model.path);
  EXPECT_THROW(bench_weights(config), UserError);
  config.bench.shape = "llama9";
  EXPECT_THROW(bench_weights(config), UserError);
}

}  // namespace
}  // namespace setrl::commands
