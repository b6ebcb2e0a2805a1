// The push schedule as arithmetic: complete, in order, balanced; the numbers of a 70B model.
#include "sync/push_schedule.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"
#include "learn/unit_layout.h"
#include "model/tensor_parallel.h"
#include "sync/small_spec.h"

namespace setrl::sync {
namespace {

using ::testing::HasSubstr;

// What learn/ gives each of `learners` ranks.
std::vector<std::vector<HeldSlice>> sharded(const std::vector<model::ParameterSpec>& table, int units, int learners) {
  const auto layouts = learn::unit_layouts(table, units, learners);
  std::vector<std::vector<HeldSlice>> held;
  for (int rank = 0; rank < learners; ++rank) held.push_back(learn::held_slices(layouts, table, rank));
  return held;
}

PushMembers members_of(int learners, int replicas, int parts) {
  PushMembers members;
  for (int l = 0; l < learners; ++l) members.learners.push_back(l);
  for (int r = 0; r < replicas; ++r) {
    members.replicas.emplace_back();
    for (int t = 0; t < parts; ++t) members.replicas.back().push_back(learners + r * parts + t);
  }
  return members;
}

PushSchedule small_schedule(int learners, int replicas, int parts, std::int64_t staging = 1 << 30) {
  const auto table = model::parameter_table(small_spec());
  return {table, members_of(learners, replicas, parts), sharded(table, model::unit_count(small_spec()), learners), 2,
          staging};
}

// Every element of every part arrives on every rank that needs it exactly once, from a rank that had it a step before.
void check_complete(const PushSchedule& schedule) {
  struct Range {
    std::int64_t begin, end;
    int step;
  };
  std::map<std::pair<int, int>, std::vector<Range>> arrived;  // by rank and parameter
  schedule.for_each([&](const Transfer& transfer) {
    EXPECT_EQ(transfer.step, schedule.first_step(transfer.unit) + transfer.hop);
    EXPECT_LT(transfer.begin, transfer.end);
    if (transfer.hop > 0) {
      bool had = false;
      for (const auto& range : arrived[{transfer.from, transfer.parameter}]) {
        had = had || (range.begin <= transfer.begin && transfer.end <= range.end && range.step < transfer.step);
      }
      EXPECT_TRUE(had) << "rank " << transfer.from << " sends on what it does not have";
    }
    arrived[{transfer.to, transfer.parameter}].push_back({transfer.begin, transfer.end, transfer.step});
  });
  for (const auto& replica : schedule.members().replicas) {
    for (const int rank : replica) {
      for (std::size_t p = 0; p < schedule.table().size(); ++p) {
        auto& ranges = arrived[{rank, static_cast<int>(p)}];
        std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
        std::int64_t at = 0;
        for (const auto& range : ranges) {
          EXPECT_EQ(range.begin, at);
          at = range.end;
        }
        std::int64_t elements = 1;
        for (const auto extent : model::part_shape(schedule.table()[p], schedule.members().parts())) elements *= extent;
        EXPECT_EQ(at, elements) << "rank " << rank << ", " << schedule.table()[p].name;
      }
    }
  }
}

TEST(PushSchedule, IsCompleteForEverySplit) {
  for (const int learners : {1, 2, 3, 7, 16}) {
    for (const int replicas : {1, 2, 3, 5, 8}) {
      for (const int parts : {1, 2, 4}) {
        SCOPED_TRACE(fmt::format("{} learners, {} replicas of {}", learners, replicas, parts));
        check_complete(small_schedule(learners, replicas, parts));
      }
    }
  }
}

TEST(PushSchedule, HoldsNoMoreThanTheStagingAllows) {
  const auto free = small_schedule(3, 8, 2);
  EXPECT_EQ(free.hops(), 4);
  EXPECT_EQ(free.stride(), 1);
  std::int64_t largest = 0;
  for (int unit = 0; unit < free.units(); ++unit) largest = std::max(largest, free.part_elements(unit) * 2);
  for (const std::int64_t units : {1, 2, 3}) {
    const auto tight = small_schedule(3, 8, 2, units * largest);
    check_complete(tight);
    EXPECT_LE(tight.rollout_staging_bytes(), units * largest);
  }
  EXPECT_EQ(small_schedule(3, 8, 2, 1).rollout_staging_bytes(), largest);  // one unit in any case
}

// Replicas that share a node get their weights from each other: into a node each element comes once.
TEST(PushSchedule, EntersEachNodeOnce) {
  constexpr int kLearners = 4, kReplicas = 16, kPerNode = 4;
  const auto schedule = small_schedule(kLearners, kReplicas, 1);
  std::map<int, std::int64_t> into;  // elements, by node
  schedule.for_each([&](const Transfer& transfer) {
    if (transfer.from / kPerNode != transfer.to / kPerNode)
      into[transfer.to / kPerNode] += transfer.end - transfer.begin;
  });
  ASSERT_EQ(into.size(), 4u);
  for (const auto& [node, elements] : into) EXPECT_EQ(elements, small_spec().parameter_count()) << node;
}

TEST(PushSchedule, RefusesSlicesThatDoNotCoverTheModel) {
  const std::vector<model::ParameterSpec> table = {{"model.norm.weight", {10}, 0}};
  const auto error_of = [&](const std::vector<HeldSlice>& first, const std::vector<HeldSlice>& second) {
    try {
      const PushSchedule schedule(table, members_of(2, 1, 1), {first, second}, 2, 1 << 20);
    } catch (const BugError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(error_of({{0, 0, 5}}, {{0, 5, 10}}), "no error");
  EXPECT_THAT(error_of({{0, 0, 5}}, {{0, 6, 10}}), HasSubstr("of model.norm.weight are held by nobody"));
  EXPECT_THAT(error_of({{0, 0, 6}}, {{0, 5, 10}}), HasSubstr("of model.norm.weight are held by two learners"));
  EXPECT_THAT(error_of({{0, 0, 5}}, {{0, 5, 9}}), HasSubstr("learners hold 9 elements of model.norm.weight"));
}

TEST(PartRange, AgreesWithCountingElements) {
  const std::vector<model::ParameterSpec> parameters = {{"a.q_proj.weight", {8, 6}, 0},
                                                        {"a.o_proj.weight", {6, 8}, 0},
                                                        {"a.norm.weight", {12}, 0},
                                                        {"a.k_proj.bias", {12}, 0}};
  for (const auto& parameter : parameters) {
    for (const int parts : {1, 2, 4}) {
      for (int part = 0; part < parts; ++part) {
        const auto in_part = [&](std::int64_t at) {
          const auto cut = model::cut_of(parameter.name);
          if (cut == model::Cut::whole) return true;
          const bool columns = cut == model::Cut::columns;
          const std::int64_t extent = columns ? 8 : parameter.shape[0];
          const std::int64_t width = parameter.elements() / parameter.shape[0];
          const std::int64_t place = columns ? at % 8 : at / width;
          return place / (extent / parts) == part;
        };
        for (std::int64_t begin = 0; begin <= parameter.elements(); ++begin) {
          for (std::int64_t end = begin; end <= parameter.elements(); ++end) {
            std::int64_t first = 0, count = 0;
            for (std::int64_t at = 0; at < end; ++at) {
              if (!in_part(at)) continue;
              (at < begin ? first : count) += 1;
            }
            const auto range = model::part_range(parameter, part, parts, begin, end);
            if (count == 0) {
              EXPECT_TRUE(range.empty());
            } else {
              EXPECT_EQ(range.begin, first);
              EXPECT_EQ(range.end, first + count);
            }
          }
        }
      }
    }
  }
}

double largest_over_mean(const std::vector<double>& values) {
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  return *std::max_element(values.begin(), values.end()) / mean;
}

// Llama-3 70B from 128 learners on 16 nodes to 8 replicas of 8 on 8 nodes, in bfloat16: the table of
// docs/results/push.md. Time: each step lasts as long as its busiest node needs for what goes out, or in, over a link
// of 50 GB/s (400 Gb/s); what stays in a node costs nothing.
TEST(PushSchedule, Balances70BOver128LearnersAnd8ReplicasOf8) {
  constexpr int kLearners = 128, kReplicas = 8, kParts = 8, kPerNode = 8;
  constexpr double kLink = 50e9, kFloorSeconds = 2.8;
  model::ModelSpec spec;
  spec.vocabulary = 128256;
  spec.hidden = 8192;
  spec.inner = 28672;
  spec.layers = 80;
  spec.heads = 64;
  spec.kv_heads = 8;
  spec.head_size = 128;
  const auto table = model::parameter_table(spec);
  const PushSchedule schedule(table, members_of(kLearners, kReplicas, kParts),
                              sharded(table, model::unit_count(spec), kLearners), 2, std::int64_t{2} << 30);
  const auto ranks = static_cast<std::size_t>(kLearners + kReplicas * kParts);
  std::vector<double> sent(ranks), received(ranks);
  std::vector<std::vector<double>> out(static_cast<std::size_t>(schedule.steps()),
                                       std::vector<double>(ranks / kPerNode)),
      in = out;
  std::int64_t transfers = 0, messages_of_busiest = 0;
  std::vector<std::int64_t> messages(ranks);
  schedule.for_each([&](const Transfer& transfer) {
    const auto from = static_cast<std::size_t>(transfer.from), to = static_cast<std::size_t>(transfer.to);
    const auto bytes = static_cast<double>(2 * (transfer.end - transfer.begin));
    ++transfers;
    ++messages[from];
    sent[from] += bytes;
    received[to] += bytes;
    if (from / kPerNode == to / kPerNode) return;
    out[static_cast<std::size_t>(transfer.step)][from / kPerNode] += bytes;
    in[static_cast<std::size_t>(transfer.step)][to / kPerNode] += bytes;
  });
  messages_of_busiest = *std::max_element(messages.begin(), messages.end());
  double seconds = 0;
  std::vector<double> node_out(ranks / kPerNode), node_in(ranks / kPerNode);
  for (std::size_t step = 0; step < out.size(); ++step) {
    double busiest = 0;
    for (std::size_t node = 0; node < node_out.size(); ++node) {
      busiest = std::max({busiest, out[step][node], in[step][node]});
      node_out[node] += out[step][node];
      node_in[node] += in[step][node];
    }
    seconds += busiest / kLink;
  }
  const auto part = [](const std::vector<double>& all, std::size_t begin, std::size_t end) {
    return std::vector<double>(all.begin() + static_cast<std::ptrdiff_t>(begin),
                               all.begin() + static_cast<std::ptrdiff_t>(end));
  };
  const auto learner_sent = part(sent, 0, kLearners), rollout_sent = part(sent, kLearners, ranks),
             rollout_received = part(received, kLearners, ranks);
  const auto report = [](const char* what, const std::vector<double>& values) {
    fmt::print("{:<34} mean {:8.3f} GB  largest {:8.3f} GB  largest/mean {:.3f}\n", what,
               std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()) / 1e9,
               *std::max_element(values.begin(), values.end()) / 1e9, largest_over_mean(values));
  };
  report("learner rank sends", learner_sent);
  report("rollout rank receives", rollout_received);
  report("rollout rank sends on", rollout_sent);
  report("learner node's link, out", part(node_out, 0, 16));
  report("rollout node's link, in", part(node_in, 16, 24));
  report("rollout node's link, out", part(node_out, 16, 24));
  fmt::print("steps {}, hops {}, transfers {}, most messages of a rank {}\n", schedule.steps(), schedule.hops(),
             transfers, messages_of_busiest);
  fmt::print("staging: rollout rank {:.3f} GB, learner rank {:.3f} GB\n",
             static_cast<double>(schedule.rollout_staging_bytes()) / 1e9,
             static_cast<double>(schedule.learner_staging_bytes()) / 1e9);
  fmt::print("forecast with one 400 Gb/s link a node: {:.2f} s ({:.2f} x the floor of {} s); eight links: {:.2f} s\n",
             seconds, seconds / kFloorSeconds, kFloorSeconds, seconds / 8);

  EXPECT_LT(largest_over_mean(learner_sent), 1.2);
  EXPECT_LT(largest_over_mean(rollout_sent), 1.2);
  EXPECT_LT(largest_over_mean(rollout_received), 1.2);
  // A learner sends its shard once (norms to each part), whatever the number of replicas.
  const double model_bytes = 2.0 * static_cast<double>(spec.parameter_count());
  EXPECT_NEAR(std::accumulate(learner_sent.begin(), learner_sent.end(), 0.0) / model_bytes, 1, 0.001);
  for (std::size_t node = 16; node < 24; ++node) EXPECT_NEAR(node_in[node] / model_bytes, 1, 0.001);
  EXPECT_LT(seconds, 1.2 * kFloorSeconds);
  EXPECT_LT(schedule.rollout_staging_bytes(), std::int64_t{2} << 30);
}

}  // namespace
}  // namespace setrl::sync
