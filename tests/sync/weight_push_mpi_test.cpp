// A push between ranks: what arrives equals the gathered weights cut into parts, to the bit.
#include "sync/weight_push.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/error.h"
#include "base/random.h"
#include "learn/learner.h"
#include "learn/tiny_model.h"
#include "learn/unit_layout.h"
#include "support/mpi_world.h"
#include "sync/small_spec.h"

namespace setrl::sync {
namespace {

using ::testing::HasSubstr;
using testing::world;

// The same on every rank; with values that only survive where bytes do: NaN payloads, infinities, -0, denormals.
at::Tensor weights(const model::ParameterSpec& parameter, std::int64_t version, at::ScalarType dtype) {
  RandomStream random(static_cast<std::uint64_t>(version) + 3, stable_hash(parameter.name));
  std::vector<float> values(static_cast<std::size_t>(parameter.elements()));
  for (auto& value : values) value = static_cast<float>(random.normal() * std::exp(5 * random.normal()));
  const float odd[] = {-0.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e-42f};
  std::copy(std::begin(odd), std::end(odd), values.begin());
  return at::tensor(values).reshape(parameter.shape).to(dtype);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const at::Tensor left = a.contiguous(), right = b.contiguous();
  return std::memcmp(left.data_ptr(), right.data_ptr(), static_cast<std::size_t>(left.nbytes())) == 0;
}

// What a rank that holds `part` of `parts` needs of a whole tensor, as the rollout engine cuts it.
at::Tensor part_of(const std::string& name, const at::Tensor& whole, int part, int parts) {
  const auto cut = [&](std::int64_t dimension) {
    const std::int64_t size = whole.size(dimension) / parts;
    return whole.narrow(dimension, part * size, size);
  };
  if (name.find("norm") != std::string::npos) return whole;
  const bool columns = name.find("o_proj") != std::string::npos || name.find("down_proj") != std::string::npos;
  return cut(columns ? 1 : 0);
}

// Which ranks do what: the first `learners` learn, and `replicas` of `parts` ranks each begin at rank `first_rollout`.
struct Split {
  int learners, replicas, parts, first_rollout;
};

std::vector<Split> splits_of(int ranks) {
  if (ranks == 1) return {{1, 1, 1, 0}};
  if (ranks == 2) return {{1, 1, 1, 1}, {2, 2, 1, 0}, {2, 1, 2, 0}, {1, 1, 2, 0}};
  if (ranks == 4) {
    return {{1, 3, 1, 1}, {2, 2, 1, 2}, {2, 1, 2, 2}, {3, 1, 1, 3},
            {4, 1, 4, 0}, {4, 4, 1, 0}, {3, 2, 1, 2}, {2, 1, 1, 2}};
  }
  return {{2, 3, 2, 2}, {4, 2, 2, 4}, {4, 1, 4, 4}, {3, 5, 1, 3},
          {1, 7, 1, 1}, {7, 1, 1, 7}, {8, 2, 4, 0}, {6, 1, 2, 6}};
}

PushRole role_of(const Split& split, int rank, const std::vector<model::ParameterSpec>& table, int units) {
  PushRole role;
  role.learner = rank < split.learners;
  const int place = rank - split.first_rollout;
  if (place >= 0 && place < split.replicas * split.parts) {
    role.replica = place / split.parts;
    role.part = place % split.parts;
  }
  if (role.learner) role.held = learn::held_slices(learn::unit_layouts(table, units, split.learners), table, rank);
  return role;
}

class WeightPushTest : public ::testing::TestWithParam<std::tuple<at::ScalarType, std::int64_t>> {};
INSTANTIATE_TEST_SUITE_P(Wire, WeightPushTest,
                         ::testing::Combine(::testing::Values(at::kFloat, at::kBFloat16),
                                            ::testing::Values<std::int64_t>(1, 1 << 30)),
                         [](const auto& param) {
                           return std::string(c10::toString(std::get<0>(param.param))) +
                                  (std::get<1>(param.param) == 1 ? "_OneUnitAtATime" : "_Pipelined");
                         });

TEST_P(WeightPushTest, GivesEachRankItsPartToTheBit) {
  const auto [dtype, staging] = GetParam();
  const auto table = model::parameter_table(small_spec());
  const int units = model::unit_count(small_spec());
  for (const auto& split : splits_of(world().size())) {
    SCOPED_TRACE(fmt::format("{} learners, {} replicas of {} from rank {}", split.learners, split.replicas, split.parts,
                             split.first_rollout));
    const PushRole role = role_of(split, world().rank(), table, units);
    const auto group = world().split(role.learner || role.replica >= 0 ? 0 : -1, "push");
    if (!group) continue;
    PushOptions options;
    options.wire = dtype;
    options.staging_bytes = staging;
    WeightPush push(*group, role, table, options);
    for (std::int64_t version = 0; version < 2; ++version) {
      std::vector<std::string> names;
      const std::uint64_t before = group->bytes_sent();
      push.run(
          version,
          [&, dtype = dtype](int unit) {
            std::vector<at::Tensor> values;
            for (const auto& slice : role.held) {
              const auto& parameter = table[static_cast<std::size_t>(slice.parameter)];
              if (parameter.unit != unit) continue;
              values.push_back(
                  weights(parameter, version, dtype).view(-1).narrow(0, slice.begin, slice.end - slice.begin));
            }
            return values;
          },
          [&, dtype = dtype](const model::ParameterSpec& parameter, const at::Tensor& part) {
            names.push_back(parameter.name);
            EXPECT_TRUE(
                same_bits(part, part_of(parameter.name, weights(parameter, version, dtype), role.part, split.parts)))
                << parameter.name;
          });
      ASSERT_EQ(names.size(), role.replica >= 0 ? table.size() : 0);
      for (std::size_t p = 0; p < names.size(); ++p) EXPECT_EQ(names[p], table[p].name);
      // Nothing is gathered: a learner that does not generate sends each of its elements once, norms to every part.
      if (role.learner && role.replica < 0) {
        std::uint64_t elements = 0;
        for (const auto& slice : role.held) {
          const bool whole = table[static_cast<std::size_t>(slice.parameter)].name.find("norm") != std::string::npos;
          elements += static_cast<std::uint64_t>((slice.end - slice.begin) * (whole ? split.parts : 1));
        }
        const std::uint64_t versions = 8 * static_cast<std::uint64_t>(group->size() - 1);
        EXPECT_EQ(group->bytes_sent() - before, elements * c10::elementSize(dtype) + versions);
      }
    }
    const std::int64_t planned = role.replica >= 0 ? push.schedule().rollout_staging_bytes() : 0;
    EXPECT_EQ(push.peak_staging_bytes(), planned);
  }
}

// A real learner's own slices, adapters merged in, against its gathered weights.
class LearnerPush : public ::testing::TestWithParam<std::tuple<std::string, bool>> {};
INSTANTIATE_TEST_SUITE_P(Learner, LearnerPush,
                         ::testing::Combine(::testing::Values("float32", "bfloat16"), ::testing::Bool()),
                         [](const auto& param) {
                           return std::get<0>(param.param) + (std::get<1>(param.param) ? "_adapters" : "_all");
                         });

TEST_P(LearnerPush, EqualsTheGatheredWeights) {
  auto config = learn::testing::tiny_config();
  config.model.dtype = std::get<0>(GetParam());
  if (std::get<1>(GetParam())) {
    config.learn.lora_rank = 3;
    config.learn.lora_alpha = 6;
    config.learn.lora_targets = "all";
  }
  const learn::testing::TinyWeights source(learn::testing::tiny_spec("qwen2"));
  learn::Learner learner(config, source, world());
  for (const auto& view : learner.state()) {  // B of an adapter begins as zero
    auto* const data = static_cast<float*>(view.data);
    if (view.name.rfind("parameters/", 0) != 0) continue;
    for (std::int64_t i = view.begin; i < view.end; ++i) {
      data[i - view.begin] += 0.1f * std::sin(static_cast<float>(i * 7 + 3));
    }
  }
  std::map<std::string, at::Tensor> gathered;
  learner.for_each_parameter([&](const model::ParameterSpec& parameter, const at::Tensor& tensor) {
    gathered[parameter.name] = tensor.clone();
  });
  // All ranks learn, all generate.
  PushRole role;
  role.learner = true;
  role.replica = world().rank();
  role.held = learner.own_slices();
  const auto table = model::parameter_table(source.spec());
  PushOptions options;
  options.wire = gathered.begin()->second.scalar_type();
  WeightPush push(world(), role, table, options);
  push.run(
      1, [&](int unit) { return learner.own_values(unit); },
      [&](const model::ParameterSpec& parameter, const at::Tensor& part) {
        const at::Tensor& whole = gathered.at(parameter.name);
        if (std::get<1>(GetParam()) && parameter.shape.size() == 2) {
          // Products of fewer rows may be summed in another order.
          EXPECT_TRUE(at::allclose(part.to(at::kFloat), whole.to(at::kFloat), 1e-2, 1e-5)) << parameter.name;
        } else {
          EXPECT_TRUE(same_bits(part, whole)) << parameter.name;
        }
      });
}

// All ranks learn and generate a model of one parameter; `table` and `wire` are this rank's.
std::string error_of(const std::vector<model::ParameterSpec>& table, at::ScalarType wire) {
  PushRole role;
  role.learner = true;
  role.replica = world().rank();
  PushOptions options;
  options.wire = wire;
  try {
    const WeightPush push(world(), role, table, options);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(WeightPushRefuses, AnotherModel) {
  if (world().size() < 2) GTEST_SKIP() << "needs two ranks";
  const bool other = world().rank() == 1;
  for (const auto& theirs : {model::ParameterSpec{"b", {3}, 0}, model::ParameterSpec{"a", {4}, 0}}) {
    const model::ParameterSpec mine{"a", {3}, 0};
    EXPECT_THAT(error_of({other ? theirs : mine}, at::kFloat),
                HasSubstr("rank 1 of the weight push has another model than rank 0"));
  }
  std::vector<model::ParameterSpec> longer = {{"a", {3}, 0}};
  if (other) longer.push_back({"b", {3}, 0});
  EXPECT_THAT(error_of(longer, at::kFloat), HasSubstr("rank 1 of the weight push has another model than rank 0"));
}

TEST(WeightPushRefuses, AnotherType) {
  if (world().size() < 2) GTEST_SKIP() << "needs two ranks";
  EXPECT_THAT(error_of({{"a", {3}, 0}}, world().rank() == 1 ? at::kBFloat16 : at::kFloat),
              HasSubstr("rank 1 of the weight push works in BFloat16, rank 0 in Float: set model.dtype"));
}

TEST(WeightPushRefuses, AnotherVersion) {
  if (world().size() < 2) GTEST_SKIP() << "needs two ranks";
  const std::vector<model::ParameterSpec> table = {{"model.norm.weight", {8}, 0}};
  const Split split{1, world().size() - 1, 1, 1};
  WeightPush push(world(), role_of(split, world().rank(), table, 1), table, {});
  try {
    push.run(
        world().rank() == 0 ? 7 : 6, [](int) { return std::vector<at::Tensor>{at::zeros({8})}; },
        [](const auto&, const at::Tensor&) {});
    FAIL() << "no error";
  } catch (const BugError& error) {
    EXPECT_THAT(error.what(), HasSubstr("of the weight push is at version"));
  }
}

// A learner that does not come is named, like in every other wait.
TEST(WeightPushRefuses, ToWaitForEver) {
  if (world().size() < 2) GTEST_SKIP() << "needs two ranks";
  const std::vector<model::ParameterSpec> table = {{"model.norm.weight", {8}, 0}};
  const Split split{1, world().size() - 1, 1, 1};
  WeightPush push(world(), role_of(split, world().rank(), table, 1), table, {});
  const auto signals = world().split(0, "signals");
  testing::runtime().set_deadline(0.3);
  if (world().rank() > 0) {
    try {
      push.run(1, nullptr, [](const auto&, const at::Tensor&) {});
      ADD_FAILURE() << "no error";
    } catch (const BugError& error) {
      EXPECT_THAT(error.what(), HasSubstr("missing: rank 0"));
    }
    signals->send(0, 1, {});
    return;
  }
  for (int left = world().size() - 1; left > 0;) {
    if (signals->try_receive(comm::kAnySource, 1)) --left;
  }
}

}  // namespace
}  // namespace setrl::sync
