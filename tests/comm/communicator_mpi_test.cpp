// What every communicator of several ranks must do; which one, is up to the program that this is linked into.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "comm/under_test.h"
#include "support/mpi_world.h"

namespace setrl::comm {
namespace {

using testing::runtime;
using under_test::world;

// Every size is run with the standard limits and with tiny ones, so that all ways through the code are taken, the
// pieces beyond MPI's int counts too.
class AnyLimits : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!GetParam()) return;
    if (!under_test::has_limits()) GTEST_SKIP() << "not of this communicator";
    runtime().set_limits({100, 16, 64});
  }
};
INSTANTIATE_TEST_SUITE_P(Limits, AnyLimits, ::testing::Values(false, true),
                         [](const auto& param) { return param.param ? "Tiny" : "Standard"; });

const std::vector<std::size_t> kSizes{0, 1, 3, 7, 64, 1000, 5001, 100003};

// The bytes of rank `rank` in exchange number `salt`.
std::vector<std::uint8_t> pattern(int rank, std::size_t salt, std::size_t size) {
  std::vector<std::uint8_t> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::uint8_t>(i * 31 + i / 251 + salt * 7 + static_cast<std::size_t>(rank) * 101);
  }
  return bytes;
}

// Values of very different size: a sum of them shows in which order it was made.
template <typename T>
std::vector<T> rough_values(int rank, std::size_t count) {
  std::vector<T> values(count);
  RandomStream random(5, static_cast<std::uint64_t>(rank) + 1);
  for (auto& value : values) value = static_cast<T>(random.normal() * std::exp(8 * random.normal()));
  return values;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

TEST_P(AnyLimits, BroadcastsFromEveryRoot) {
  for (int root = 0; root < world().size(); ++root) {
    for (const std::size_t size : kSizes) {
      auto bytes = pattern(world().rank(), size, size);
      world().broadcast(bytes.data(), size, root);
      EXPECT_TRUE(same_bits(bytes, pattern(root, size, size))) << size << " bytes from " << root;
    }
  }
}

TEST_P(AnyLimits, GathersInTheOrderOfRanks) {
  const auto ranks = static_cast<std::size_t>(world().size());
  const auto me = static_cast<std::size_t>(world().rank());
  for (const std::size_t size : kSizes) {
    std::vector<std::uint8_t> expected;
    for (int r = 0; r < world().size(); ++r) {
      const auto part = pattern(r, size, size);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    const auto mine = pattern(world().rank(), size, size);
    std::vector<std::uint8_t> all(ranks * size, 0xee);
    world().all_gather(mine.data(), size, all.data());
    EXPECT_TRUE(same_bits(all, expected)) << size << " bytes";

    std::vector<std::uint8_t> in_place(ranks * size, 0xee);
    std::copy(mine.begin(), mine.end(), in_place.begin() + static_cast<std::ptrdiff_t>(me * size));
    world().all_gather(in_place.data() + me * size, size, in_place.data());
    EXPECT_TRUE(same_bits(in_place, expected)) << size << " bytes in place";
  }
}

TEST_P(AnyLimits, GathersTextsOfDifferentLength) {
  const auto mine = pattern(world().rank(), 1, static_cast<std::size_t>(world().rank()) * 700000);
  const auto all = all_gather_bytes(world(), mine);
  ASSERT_EQ(all.size(), static_cast<std::size_t>(world().size()));
  for (int r = 0; r < world().size(); ++r) {
    EXPECT_TRUE(same_bits(all[static_cast<std::size_t>(r)], pattern(r, 1, static_cast<std::size_t>(r) * 700000)));
  }
}

template <typename T>
void check_all_reduce() {
  for (const std::size_t count : kSizes) {
    std::vector<T> sum = rough_values<T>(0, count), max = sum, min = sum;
    for (int r = 1; r < world().size(); ++r) {
      const auto values = rough_values<T>(r, count);
      for (std::size_t i = 0; i < count; ++i) {
        sum[i] += values[i];
        max[i] = std::max(max[i], values[i]);
        min[i] = std::min(min[i], values[i]);
      }
    }
    auto mine = rough_values<T>(world().rank(), count);
    world().all_reduce(mine.data(), count, Reduction::sum);
    EXPECT_TRUE(same_bits(mine, sum)) << count;
    mine = rough_values<T>(world().rank(), count);
    world().all_reduce(mine.data(), count, Reduction::max);
    EXPECT_TRUE(same_bits(mine, max)) << count;
    mine = rough_values<T>(world().rank(), count);
    world().all_reduce(mine.data(), count, Reduction::min);
    EXPECT_TRUE(same_bits(mine, min)) << count;
  }
}

TEST_P(AnyLimits, ReducesInTheOrderOfRanksToTheBit) {
  check_all_reduce<float>();
  check_all_reduce<double>();
}

TEST_P(AnyLimits, NanOfAnyRankStaysInMaxAndMin) {
  for (int sick = 0; sick < world().size(); ++sick) {
    for (const Reduction reduction : {Reduction::sum, Reduction::max, Reduction::min}) {
      float value = world().rank() == sick ? std::numeric_limits<float>::quiet_NaN() : 1.0f;
      world().all_reduce(&value, 1, reduction);
      EXPECT_TRUE(std::isnan(value));
    }
  }
}

TEST_P(AnyLimits, ReduceScatterIsAPartOfTheSum) {
  const auto ranks = static_cast<std::size_t>(world().size());
  for (const std::size_t count : kSizes) {
    auto whole = rough_values<float>(world().rank(), count * ranks);
    std::vector<float> part(count);
    world().reduce_scatter_sum(whole.data(), part.data(), count);
    world().all_reduce(whole.data(), whole.size(), Reduction::sum);
    const auto begin = whole.begin() + world().rank() * static_cast<std::ptrdiff_t>(count);
    EXPECT_TRUE(same_bits(part, std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(count)))) << count;
  }
}

// Requests started one after another, with other verbs in between, give what the verbs give.
TEST_P(AnyLimits, RequestsEqualTheirVerbs) {
  const auto ranks = static_cast<std::size_t>(world().size());
  struct Both {
    std::vector<float> whole, part, gathered, sum;
    std::unique_ptr<Request> scatter, gather, reduce;
  };
  std::vector<Both> running(kSizes.size());
  for (std::size_t i = 0; i < kSizes.size(); ++i) {
    Both& both = running[i];
    both.whole = rough_values<float>(world().rank(), kSizes[i] * ranks);
    both.part.resize(kSizes[i]);
    both.gathered.resize(both.whole.size());
    both.scatter = world().start_reduce_scatter_sum(both.whole.data(), both.part.data(), kSizes[i]);
    both.gather = world().start_all_gather(both.whole.data(), kSizes[i] * sizeof(float), both.gathered.data());
    both.sum = both.whole;
    both.reduce = world().start_all_reduce_sum(both.sum.data(), kSizes[i]);
    double one = 1;
    world().all_reduce(&one, 1, Reduction::sum);
    EXPECT_EQ(one, world().size());
  }
  for (std::size_t i = kSizes.size(); i-- > 0;) {
    Both& both = running[i];
    both.reduce->wait_on_device();  // memory of the host: as wait()
    both.gather->wait();
    both.scatter->wait();
    both.scatter->wait();
    std::vector<float> part(kSizes[i]), gathered(both.whole.size()), sum = both.whole;
    world().all_reduce(sum.data(), kSizes[i], Reduction::sum);
    EXPECT_TRUE(same_bits(both.sum, sum)) << kSizes[i];
    world().reduce_scatter_sum(both.whole.data(), part.data(), kSizes[i]);
    world().all_gather(both.whole.data(), kSizes[i] * sizeof(float), gathered.data());
    EXPECT_TRUE(same_bits(both.part, part)) << kSizes[i];
    EXPECT_TRUE(same_bits(both.gathered, gathered)) << kSizes[i];
  }
}

// A request goes on while its caller does something else, and may be left to itself.
TEST(Requests, MakeProgressWithoutTheirCaller) {
  const auto ranks = static_cast<std::size_t>(world().size());
  const std::size_t count = 3'000'000;
  const std::vector<float> mine(count, static_cast<float>(world().rank() + 1));
  std::vector<float> all(count * ranks);
  const auto request = world().start_all_gather(mine.data(), count * sizeof(float), all.data());
  std::vector<float> unused(count * ranks, 1), part(count);
  world().start_reduce_scatter_sum(unused.data(), part.data(), count).reset();
  EXPECT_EQ(part.back(), static_cast<float>(ranks));
  // Requests are served in order: this one is done before wait() is called.
  EXPECT_EQ(all.back(), static_cast<float>(ranks));
  request->wait();
}

TEST(Traffic, CountsTheBytesThatLeaveThisRank) {
  const auto ranks = static_cast<std::uint64_t>(world().size());
  const std::vector<float> values(1000 * ranks, 1);
  std::vector<float> out(1000 * ranks);
  const auto sent_by = [&](const auto& verb) {
    const std::uint64_t before = world().bytes_sent();
    verb();
    return world().bytes_sent() - before;
  };
  EXPECT_EQ(sent_by([&] { world().all_gather(values.data(), 4000, out.data()); }), (ranks - 1) * 4000);
  EXPECT_EQ(sent_by([&] { world().start_all_gather(values.data(), 4000, out.data())->wait(); }), (ranks - 1) * 4000);
  EXPECT_EQ(sent_by([&] { world().reduce_scatter_sum(values.data(), out.data(), 1000); }), (ranks - 1) * 4000);
  EXPECT_EQ(sent_by([&] { world().all_reduce(out.data(), 1000 * ranks, Reduction::sum); }), 2 * (ranks - 1) * 4000);
  EXPECT_EQ(sent_by([&] { world().start_all_reduce_sum(out.data(), 1000 * ranks)->wait(); }), 2 * (ranks - 1) * 4000);
  EXPECT_EQ(sent_by([&] { world().broadcast(out.data(), 4000, 0); }), world().rank() == 0 ? (ranks - 1) * 4000 : 0);
  const int next = (world().rank() + 1) % world().size(),
            before = (world().rank() + world().size() - 1) % world().size();
  EXPECT_EQ(sent_by([&] {
              world().exchange({{next, out.data(), 400}}, {{before, out.data() + 100, 400}});
            }),
            ranks == 1 ? 0 : 400);
  EXPECT_EQ(sent_by([&] { world().send((world().rank() + 1) % world().size(), 3, std::vector<std::uint8_t>(77)); }),
            ranks == 1 ? 0 : 77);
  world().receive(kAnySource, 3);
}

TEST_P(AnyLimits, MessagesArriveWholeAndInOrder) {
  const int ranks = world().size(), me = world().rank();
  for (std::size_t nth = 0; nth < kSizes.size(); ++nth) {
    for (int to = 0; to < ranks; ++to) {
      world().send(to, 5, pattern(me, nth, kSizes[nth]));
      world().send(to, 6, pattern(me, nth + 100, 10));
    }
  }
  for (int from = 0; from < ranks; ++from) {
    for (std::size_t nth = 0; nth < kSizes.size(); ++nth) {
      const Envelope other_tag = world().receive(from, 6);
      EXPECT_TRUE(same_bits(other_tag.bytes, pattern(from, nth + 100, 10)));
      const Envelope envelope = world().receive(from, 5);
      EXPECT_EQ(envelope.source, from);
      EXPECT_EQ(envelope.tag, 5);
      EXPECT_TRUE(same_bits(envelope.bytes, pattern(from, nth, kSizes[nth]))) << kSizes[nth] << " from " << from;
    }
  }
  EXPECT_FALSE(world().try_receive(kAnySource, 5).has_value());
}

// Everyone gives everyone, itself included, two parcels of sizes that differ by pair; some are empty.
TEST_P(AnyLimits, ParcelsArriveInTheirPlaces) {
  const int ranks = world().size(), me = world().rank();
  const auto size_of = [](int from, int to, std::size_t nth) {
    return kSizes[(static_cast<std::size_t>(from) * 3 + static_cast<std::size_t>(to) + nth) % kSizes.size()];
  };
  std::vector<std::vector<std::uint8_t>> out, in;
  Parcels sends, receives;
  for (std::size_t nth : {0, 1}) {
    for (int other = 0; other < ranks; ++other) {
      out.push_back(pattern(me, nth + static_cast<std::size_t>(other), size_of(me, other, nth)));
      in.emplace_back(size_of(other, me, nth), 0xee);
      sends.push_back({other, out.back().data(), out.back().size()});
      receives.push_back({other, in.back().data(), in.back().size()});
    }
  }
  world().exchange(sends, receives);
  for (std::size_t i = 0; i < in.size(); ++i) {
    const int from = static_cast<int>(i) % ranks;
    const std::size_t nth = i / static_cast<std::size_t>(ranks);
    EXPECT_TRUE(same_bits(in[i], pattern(from, nth + static_cast<std::size_t>(me), size_of(from, me, nth)))) << i;
  }
}

// Only who has something to give or take is there; a relay sends on what it got.
TEST(Parcels, PassAlongAChain) {
  const int me = world().rank(), last = world().size() - 1;
  auto bytes = me == 0 ? pattern(0, 1, 700'000) : std::vector<std::uint8_t>(700'000);
  if (me > 0) world().exchange({}, {{me - 1, bytes.data(), bytes.size()}});
  if (me < last) world().exchange({{me + 1, bytes.data(), bytes.size()}}, {});
  EXPECT_TRUE(same_bits(bytes, pattern(0, 1, 700'000)));
}

TEST(Parcels, ToOneselfMustMatch) {
  std::uint8_t bytes[4] = {1, 2, 3, 4}, out[4] = {};
  const int me = world().rank();
  world().exchange({{me, bytes, 4}}, {{me, out, 4}});
  EXPECT_EQ(out[3], 4);
}

TEST(Messages, FromAnySourceNameTheirs) {
  world().send(0, 9, pattern(world().rank(), 0, 20));
  if (world().rank() != 0) return;
  std::vector<int> seen(static_cast<std::size_t>(world().size()));
  for (int i = 0; i < world().size(); ++i) {
    const Envelope envelope = world().receive(kAnySource, 9);
    EXPECT_TRUE(same_bits(envelope.bytes, pattern(envelope.source, 0, 20)));
    ++seen[static_cast<std::size_t>(envelope.source)];
  }
  EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
}

// A send returns although nobody receives yet, whatever its size: everyone sends first, then everyone receives.
TEST(Messages, SendIsBuffered) {
  const int next = (world().rank() + 1) % world().size();
  const int previous = (world().rank() + world().size() - 1) % world().size();
  for (int i = 0; i < 4; ++i) world().send(next, i, pattern(world().rank(), 3, 5'000'000));
  for (int i = 3; i >= 0; --i) {
    EXPECT_TRUE(same_bits(world().receive(previous, i).bytes, pattern(previous, 3, 5'000'000)));
  }
}

TEST(Messages, ATagOfAnotherCommunicatorIsNotSeen) {
  const auto other = world().split(0, "other");
  other->send(0, 1, {1});
  world().barrier();
  EXPECT_FALSE(world().try_receive(kAnySource, 1).has_value());
  if (world().rank() == 0) {
    for (int i = 0; i < world().size(); ++i) EXPECT_EQ(other->receive(kAnySource, 1).bytes.size(), 1u);
  }
}

TEST(Split, GroupsByColourInTheOrderOfRanks) {
  const int me = world().rank(), ranks = world().size();
  const auto half = world().split(me % 2, "half");
  ASSERT_NE(half, nullptr);
  EXPECT_EQ(half->name(), "half");
  EXPECT_EQ(half->size(), (ranks + 1 - me % 2) / 2);
  EXPECT_EQ(half->rank(), me / 2);
  float sum = static_cast<float>(me);
  half->all_reduce(&sum, 1, Reduction::sum);
  float expected = 0;
  for (int r = me % 2; r < ranks; r += 2) expected += static_cast<float>(r);
  EXPECT_EQ(sum, expected);

  const auto none = world().split(me == 0 ? 4 : -1, "first");
  EXPECT_EQ(none == nullptr, me != 0);
}

TEST(Split, CanBeSplitAgain) {
  const auto outer = world().split(0, "outer");
  const auto inner = outer->split(outer->rank() == 0 ? -1 : 0, "inner");
  if (outer->rank() == 0) {
    EXPECT_EQ(inner, nullptr);
    return;
  }
  EXPECT_EQ(inner->size(), world().size() - 1);
  inner->barrier();
}

// Two threads with a communicator each.
TEST(Threads, MayUseDifferentCommunicators) {
  const auto a = world().split(0, "a"), b = world().split(0, "b");
  const auto work = [](Communicator& communicator, double& sum) {
    for (int i = 0; i < 50; ++i) {
      double value = communicator.rank() + i;
      communicator.all_reduce(&value, 1, Reduction::sum);
      sum += value;
    }
  };
  double sum_a = 0, sum_b = 0;
  std::thread other([&] { work(*b, sum_b); });
  work(*a, sum_a);
  other.join();
  EXPECT_EQ(sum_a, sum_b);
}

}  // namespace
}  // namespace setrl::comm
