// NcclCommunicator over the stand-in: order, kinds of memory, errors, deadlines, abort and the end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "comm/device.h"
#include "comm/nccl_communicator.h"
#include "comm/standin_nccl/standin.h"
#include "support/mpi_world.h"

namespace setrl::comm {
namespace {

using standin::control;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no error";
}

class Nccl : public ::testing::Test {
 protected:
  void SetUp() override {
    standin::reset_control();
    comms_before_ = control().live_comms;
    streams_before_ = control().live_streams;
    events_before_ = control().live_events;
    nccl_ = std::make_unique<NcclCommunicator>(testing::runtime(), testing::world().split(0, "gpus"));
  }
  void TearDown() override {
    nccl_.reset();
    EXPECT_EQ(control().live_comms, comms_before_);
    EXPECT_EQ(control().live_streams, streams_before_);
    EXPECT_EQ(control().live_events, events_before_);
    standin::reset_control();
  }
  int rank() const { return nccl_->rank(); }
  int ranks() const { return nccl_->size(); }
  bool is_last() const { return rank() == ranks() - 1; }
  double sum_of_ranks() const { return ranks() * (ranks() - 1) / 2.0; }

  // Keeps the last rank away from `act` until all others have met their error.
  void without_last(const std::function<void()>& act) {
    const auto signals = testing::world().split(0, "signals");
    testing::runtime().set_deadline(0.3);
    if (!is_last()) {
      act();
      signals->send(ranks() - 1, 1, {});
      return;
    }
    for (int left = ranks() - 1; left > 0;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      while (signals->try_receive(kAnySource, 1)) --left;
    }
  }

  std::unique_ptr<NcclCommunicator> nccl_;

 private:
  int comms_before_ = 0, streams_before_ = 0, events_before_ = 0;
};

TEST_F(Nccl, WorkComesAfterTheCallersOnTheDefaultStream) {
  std::vector<double> values(1000, -1);
  standin::queue_on_default_stream(20, [&] { std::fill(values.begin(), values.end(), nccl_->rank()); });
  nccl_->all_reduce(values.data(), values.size(), Reduction::sum);
  EXPECT_EQ(values, std::vector<double>(1000, sum_of_ranks()));
}

// Collectives, exchanges and requests one upon the other: all see their own data.
TEST_F(Nccl, MixedWorkKeepsItsOrder) {
  const auto n = static_cast<std::size_t>(ranks());
  for (int round = 0; round < 20; ++round) {
    std::vector<float> mine(50, static_cast<float>(rank() + round)), all(50 * n), part(50), whole(50 * n, 1);
    const auto gather = nccl_->start_all_gather(mine.data(), 200, all.data());
    const auto scatter = nccl_->start_reduce_scatter_sum(whole.data(), part.data(), 50);
    double sum = rank();
    nccl_->all_reduce(&sum, 1, Reduction::sum);
    EXPECT_EQ(sum, sum_of_ranks());
    float from_before = -1, to_next = static_cast<float>(rank());
    const int next = (rank() + 1) % ranks(), before = (rank() + ranks() - 1) % ranks();
    nccl_->exchange({{next, &to_next, 4}}, {{before, &from_before, 4}});
    EXPECT_EQ(from_before, static_cast<float>(before));
    scatter->wait();
    gather->wait();
    EXPECT_EQ(part, std::vector<float>(50, static_cast<float>(n)));
    for (std::size_t r = 0; r < n; ++r) EXPECT_EQ(all[r * 50 + 49], static_cast<float>(r) + static_cast<float>(round));
  }
}

// The caller's stream waits for the collectives, the host for none of them: it has queued everything before the first
// of the caller's own work is done.
TEST_F(Nccl, TheDeviceWaitsWhereTheHostGoesOn) {
  std::vector<float> values(1000, static_cast<float>(rank())), seen(1000, -1), all(static_cast<std::size_t>(ranks()));
  bool started = false;
  standin::queue_on_default_stream(50, [&] { started = true; });
  const auto first = nccl_->start_all_reduce_sum(values.data(), values.size());
  first->wait_on_device();
  standin::queue_on_default_stream(0, [&] {
    seen = values;
    std::fill(values.begin(), values.end(), 1);
  });
  const auto second = nccl_->start_all_reduce_sum(values.data(), values.size());
  second->wait_on_device();
  const float mine = static_cast<float>(rank());
  const auto third = nccl_->start_all_gather(&mine, 4, all.data());
  EXPECT_FALSE(started);
  third->wait();
  second->wait();
  first->wait();
  EXPECT_EQ(seen, std::vector<float>(1000, static_cast<float>(sum_of_ranks())));
  EXPECT_EQ(values, std::vector<float>(1000, static_cast<float>(ranks())));
  EXPECT_EQ(all.back(), static_cast<float>(ranks() - 1));
  first->wait_on_device();  // nothing is left to wait for
}

// Memory of the host does not touch NCCL at all, so it still works where that has ended.
TEST_F(Nccl, HostMemoryGoesTheOtherWay) {
  nccl_->abort("for the test");
  control().all_memory_is_device = false;
  double sum = rank();
  nccl_->all_reduce(&sum, 1, Reduction::sum);
  EXPECT_EQ(sum, sum_of_ranks());
  std::vector<int> all(static_cast<std::size_t>(ranks())), expected(all.size());
  std::iota(expected.begin(), expected.end(), 0);
  const int mine = rank();
  nccl_->all_gather(&mine, sizeof mine, all.data());
  EXPECT_EQ(all, expected);
  int in = -1;
  nccl_->exchange({{(rank() + 1) % ranks(), &all[0], 4}}, {{(rank() + ranks() - 1) % ranks(), &in, 4}});
  EXPECT_EQ(in, 0);
  nccl_->send(0, 3, {1});
  if (rank() == 0) {
    for (int i = 0; i < ranks(); ++i) nccl_->receive(kAnySource, 3);
  }
  nccl_->barrier();
}

TEST_F(Nccl, PartsAreCommunicatorsOfTheirOwn) {
  const auto half = nccl_->split(rank() % 2, "half");
  float mine = static_cast<float>(rank()), everyone = mine;
  // The halves work at their own pace.
  for (int i = 0; i < 1 + 3 * (rank() % 2); ++i) {
    mine = static_cast<float>(rank());
    half->all_reduce(&mine, 1, Reduction::sum);
  }
  nccl_->all_reduce(&everyone, 1, Reduction::sum);
  float expected = 0;
  for (int r = rank() % 2; r < ranks(); r += 2) expected += static_cast<float>(r);
  EXPECT_EQ(mine, expected);
  EXPECT_EQ(everyone, static_cast<float>(sum_of_ranks()));
  EXPECT_EQ(nccl_->split(-1, "none"), nullptr);
}

TEST_F(Nccl, FinalizeEndsItInAgreement) {
  float value = 1;
  nccl_->all_reduce(&value, 1, Reduction::sum);
  nccl_->finalize();
  EXPECT_EQ(control().finalized, 1);
  EXPECT_EQ(control().destroyed, 1);
  EXPECT_EQ(control().aborted, 0);
  EXPECT_THAT(error_of([&] { nccl_->all_reduce(&value, 1, Reduction::sum); }),
              HasSubstr("over NCCL, which has ended: it was finalised"));
}

TEST_F(Nccl, WithoutFinalizeNobodyWaitsAtTheEnd) {
  if (rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  nccl_.reset();
  EXPECT_EQ(control().aborted, 1);
  EXPECT_EQ(control().finalized, 0);
}

TEST_F(Nccl, AFailedCallEndsItAndIsRepeated) {
  control().failing_call = "ncclAllGather";
  std::vector<float> values(static_cast<std::size_t>(ranks()));
  const auto gather = [&] { nccl_->all_gather(values.data() + rank(), 4, values.data()); };
  EXPECT_THAT(error_of(gather),
              AllOf(HasSubstr("all_gather #2 of 'gpus' over NCCL"), HasSubstr("unhandled system error")));
  EXPECT_EQ(control().aborted, 1);
  EXPECT_THAT(error_of([&] { nccl_->broadcast(values.data(), 4, 0); }),
              AllOf(HasSubstr("broadcast"), HasSubstr("has ended"), HasSubstr("unhandled system error")));
  nccl_->abort("another reason");
  EXPECT_EQ(control().aborted, 1);
  EXPECT_THAT(error_of(gather), HasSubstr("unhandled system error"));
}

// A call that fails inside a group must not leave the group open, or nothing would ever start.
TEST_F(Nccl, AFailedSendClosesItsGroup) {
  control().failing_call = "ncclSend";
  float value = 0;
  EXPECT_THAT(error_of([&] {
                nccl_->exchange({{rank(), &value, 4}}, {{rank(), &value, 4}});
              }),
              HasSubstr("unhandled system error"));
  NcclCommunicator other(testing::runtime(), testing::world().split(0, "other"));
  float sum = 1;
  other.all_reduce(&sum, 1, Reduction::sum);
  EXPECT_EQ(sum, static_cast<float>(ranks()));
}

TEST_F(Nccl, AnAsynchronousErrorEndsAWait) {
  if (ranks() == 1) GTEST_SKIP() << "one rank waits for nobody";
  without_last([&] {
    testing::runtime().set_deadline(20);
    control().async_error = ncclRemoteError;
    float value = 1;
    EXPECT_THAT(
        error_of([&] { nccl_->all_reduce(&value, 1, Reduction::sum); }),
        AllOf(HasSubstr("all_reduce #2 of 'gpus'"), HasSubstr("remote process exited or there was a network error")));
    EXPECT_EQ(control().aborted, 1);
  });
}

TEST_F(Nccl, ADeadlineNamesTheMissing) {
  if (ranks() == 1) GTEST_SKIP() << "one rank waits for nobody";
  without_last([&] {
    float value = 1;
    EXPECT_THAT(error_of([&] { nccl_->all_reduce(&value, 1, Reduction::sum); }),
                AllOf(HasSubstr("all_reduce #2 of 'gpus' over NCCL waited longer than 0.3 s"),
                      HasSubstr("missing: rank " + std::to_string(ranks() - 1)), HasSubstr("arrived: 0")));
    EXPECT_EQ(control().aborted, 1);
    EXPECT_THAT(error_of([&] { nccl_->all_reduce(&value, 1, Reduction::sum); }), HasSubstr("waited longer than 0.3 s"));
  });
}

TEST_F(Nccl, ADeadlineOfARequestIsMetByItsWait) {
  if (ranks() == 1) GTEST_SKIP() << "one rank waits for nobody";
  without_last([&] {
    std::vector<float> values(static_cast<std::size_t>(ranks()));
    const auto first = nccl_->start_all_gather(values.data() + rank(), 4, values.data());
    const auto second = nccl_->start_all_gather(values.data() + rank(), 4, values.data());
    const auto third = nccl_->start_all_reduce_sum(values.data(), 1);
    EXPECT_THAT(error_of([&] { first->wait(); }), HasSubstr("all_gather #2 of 'gpus' over NCCL waited longer"));
    EXPECT_THAT(error_of([&] { second->wait(); }), AllOf(HasSubstr("has ended"), HasSubstr("all_gather #2")));
    EXPECT_EQ(error_of([&] { second->wait(); }), "no error");  // it has been told
    EXPECT_THAT(error_of([&] { third->wait_on_device(); }), AllOf(HasSubstr("has ended"), HasSubstr("all_reduce #4")));
  });
}

TEST_F(Nccl, AMissingPartnerOfAnExchangeIsNamed) {
  if (ranks() < 3) GTEST_SKIP() << "needs a rank that takes no part";
  without_last([&] {
    if (rank() != 0) return;
    float value = 1;
    const std::string error = error_of([&] {
      nccl_->exchange({{ranks() - 1, &value, 4}}, {{ranks() - 1, &value, 4}});
    });
    EXPECT_THAT(error,
                AllOf(HasSubstr("exchange of 'gpus' over NCCL waited longer"),
                      HasSubstr("missing: rank " + std::to_string(ranks() - 1)), ::testing::Not(HasSubstr("rank 1 "))));
  });
}

// The start is a wait like any other.
TEST_F(Nccl, AMissingRankAtTheStartIsNamed) {
  if (ranks() == 1) GTEST_SKIP() << "one rank waits for nobody";
  auto host = testing::world().split(0, "late");
  if (is_last()) control().failing_call = "ncclCommInitRankConfig";  // the others wait for it in vain
  testing::runtime().set_deadline(0.5);
  const std::string error = error_of([&] { NcclCommunicator late(testing::runtime(), std::move(host)); });
  if (is_last()) {
    EXPECT_THAT(error, HasSubstr("unhandled system error"));
  } else {
    EXPECT_THAT(error, HasSubstr("start #1 of 'late' over NCCL waited longer than 0.5 s"));
  }
}

// Ranks that call different things: the stand-in notices, as the real library would by hanging.
TEST_F(Nccl, ADisagreementIsAnErrorOnAllRanks) {
  if (ranks() == 1) GTEST_SKIP() << "one rank agrees with itself";
  testing::runtime().set_deadline(2);
  std::vector<float> values(2 * static_cast<std::size_t>(ranks()));
  const std::string error = error_of([&] { nccl_->all_gather(values.data(), rank() == 0 ? 8 : 4, values.data()); });
  EXPECT_NE(error, "no error");
  EXPECT_EQ(control().aborted, 1);
}

TEST_F(Nccl, WhatCannotBeExchangedIsRefused) {
  int bytes[2] = {};
  control().host_memory = &bytes[1];
  EXPECT_THAT(error_of([&] {
                nccl_->exchange({{rank(), &bytes[0], 4}}, {{rank(), &bytes[1], 4}});
              }),
              HasSubstr("1 of 2 parcels of an exchange are device memory"));
  EXPECT_THAT(error_of([&] { nccl_->exchange({{ranks(), &bytes[0], 4}}, {}); }), HasSubstr("exchange with rank"));
}

TEST(SelectDevice, GivesEachRankOfAHostItsOwn) {
  standin::reset_control();
  EXPECT_TRUE(has_devices(testing::world()));
  EXPECT_EQ(select_device(testing::world()), testing::world().rank());
  control().devices = testing::world().size() - 1;
  EXPECT_FALSE(has_devices(testing::world()));
  const std::string error = error_of([] { select_device(testing::world()); });
  if (control().devices == 0) {
    EXPECT_THAT(error, HasSubstr("has no GPU that CUDA can use: no CUDA-capable device is detected"));
  } else {
    EXPECT_THAT(error, HasSubstr("start at most one rank a GPU"));
  }
  standin::reset_control();
}

}  // namespace
}  // namespace setrl::comm
