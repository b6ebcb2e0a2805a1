#include "sync/weight_push.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "base/random.h"
#include "support/mpi_world.h"
#include "topology/groups.h"

namespace setrl::sync {
namespace {

using testing::world;

// Empty, one element, a vector, and a matrix large enough for the way of large messages.
std::vector<model::ParameterSpec> table() {
  return {{"model.embed_tokens.weight", {700, 96}, 0},
          {"model.layers.0.input_layernorm.weight", {96}, 1},
          {"model.layers.0.mlp.up_proj.weight", {5, 7}, 1},
          {"model.norm.weight", {1}, 2}};
}

// The same on every rank; with values that only survive where bytes do: NaN payloads, infinities, -0, denormals.
at::Tensor weights(const model::ParameterSpec& parameter, at::ScalarType dtype) {
  RandomStream random(3, stable_hash(parameter.name));
  std::vector<float> values(static_cast<std::size_t>(parameter.elements()));
  for (auto& value : values) value = static_cast<float>(random.normal() * std::exp(5 * random.normal()));
  const float odd[] = {-0.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e-42f};
  for (std::size_t i = 0; i < 4 && i + 1 < values.size(); ++i) values[i] = odd[i];
  return at::tensor(values).reshape(parameter.shape).to(dtype);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const auto bytes = static_cast<std::size_t>(a.numel()) * a.element_size();
  const at::Tensor left = a.contiguous(), right = b.contiguous();
  return std::memcmp(left.data_ptr(), right.data_ptr(), bytes) == 0;
}

// What `visit` saw must be the table, in order, to the bit.
class Seen {
 public:
  Visit visit() {
    return [this](const model::ParameterSpec& parameter, const at::Tensor& tensor) {
      names_.push_back(parameter.name);
      tensors_.push_back(tensor);
    };
  }
  void check(at::ScalarType dtype) const {
    const auto expected = table();
    ASSERT_EQ(names_.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(names_[i], expected[i].name);
      EXPECT_TRUE(same_bits(tensors_[i], weights(expected[i], dtype))) << names_[i];
    }
  }
  std::size_t count() const { return names_.size(); }

 private:
  std::vector<std::string> names_;
  std::vector<at::Tensor> tensors_;
};

ForEachParameter walk(at::ScalarType dtype) {
  return [dtype](const Visit& visit) {
    for (const auto& parameter : table()) visit(parameter, weights(parameter, dtype));
  };
}

class WeightPush : public ::testing::TestWithParam<at::ScalarType> {};
INSTANTIATE_TEST_SUITE_P(Wire, WeightPush, ::testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                         [](const auto& param) { return std::string(c10::toString(param.param)); });

TEST_P(WeightPush, ReachesEveryRolloutRankToTheBit) {
  const auto plan = topology::make_plan(TopologySection{}, world().size());
  const auto groups = topology::make_groups(world(), plan);
  const auto& mine = plan.ranks[static_cast<std::size_t>(world().rank())];
  Seen seen;
  for (int version = 0; version < 2; ++version) {
    seen = Seen();
    if (mine.learner) {
      push(walk(GetParam()), groups.push.get(), groups.push_root, mine.rollout ? seen.visit() : Visit());
    } else if (mine.rollout) {
      pull(table(), GetParam(), *groups.push, groups.push_root, seen.visit());
    }
  }
  if (mine.rollout) {
    seen.check(GetParam());
  } else {
    EXPECT_EQ(seen.count(), 0u);
  }
}

// Rank 0 only generates, the others learn and generate: rank 1 sends, and all see the tensors.
TEST_P(WeightPush, WorksWithColocatedEngines) {
  if (world().size() < 2) GTEST_SKIP() << "needs two ranks";
  topology::Plan plan;
  for (int r = 0; r < world().size(); ++r) {
    plan.ranks.push_back({true, r == 0, r > 0});
    plan.rollout_ranks.push_back(r);
    if (r > 0) plan.learner_ranks.push_back(r);
  }
  plan.verifier_ranks = {0};
  const auto groups = topology::make_groups(world(), plan);
  Seen seen;
  if (world().rank() == 0) {
    pull(table(), GetParam(), *groups.push, groups.push_root, seen.visit());
  } else {
    push(walk(GetParam()), groups.push.get(), groups.push_root, seen.visit());
  }
  seen.check(GetParam());
}

// A slice of something larger travels as what it shows.
TEST(WeightPushTo, SendsViewsThatAreNotContiguous) {
  const model::ParameterSpec parameter{"w", {300, 200}, 0};
  const at::Tensor transposed = weights({"w", {200, 300}, 0}, at::kFloat).t();
  const auto group = world().split(0, "push");
  Seen seen;
  at::Tensor got = transposed;
  if (group->rank() == 0) {
    push([&](const Visit& visit) { visit(parameter, transposed); }, group.get(), 0, Visit());
  } else {
    pull({parameter}, at::kFloat, *group, 0, [&](const auto&, const at::Tensor& tensor) { got = tensor; });
  }
  EXPECT_TRUE(same_bits(got, transposed));
}

// Root sends `sent`; the others expect `expected` in `wire` and must refuse with a text that contains `message`.
void check_refusal(const std::vector<model::ParameterSpec>& expected, at::ScalarType wire, const std::string& message) {
  if (world().size() < 2) GTEST_SKIP() << "needs two ranks";
  const auto group = world().split(0, "push");
  if (group->rank() == 0) {
    // The refusing ranks leave, as they would end the job: the root's sends are small enough to need nobody.
    const model::ParameterSpec parameter{"a", {3}, 0};
    push([&](const Visit& visit) { visit(parameter, at::ones({3})); }, group.get(), 0, Visit());
    return;
  }
  try {
    pull(expected, wire, *group, 0, [](const auto&, const at::Tensor&) {});
    FAIL() << "no error";
  } catch (const BugError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr(message));
  }
}

TEST(WeightPushRefuses, AnotherName) {
  check_refusal({{"b", {3}, 0}}, at::kFloat, "the learner pushed another parameter than b");
}
TEST(WeightPushRefuses, AnotherShape) {
  check_refusal({{"a", {4}, 0}}, at::kFloat, "the learner pushed another parameter than a");
}
TEST(WeightPushRefuses, AnotherDtype) {
  check_refusal({{"a", {3}, 0}}, at::kBFloat16, "a arrives as Float, expected BFloat16");
}
TEST(WeightPushRefuses, FewerParameters) {
  check_refusal({{"a", {3}, 0}, {"b", {3}, 0}}, at::kFloat, "the learner pushed another parameter than b");
}
TEST(WeightPushRefuses, MoreParameters) {
  check_refusal({}, at::kFloat, "the learner pushed more parameters than the 0");
}

}  // namespace
}  // namespace setrl::sync
