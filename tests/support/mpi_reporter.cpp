#include "support/mpi_reporter.h"

#include <cstdio>

#include "base/error.h"

namespace setrl::testing {

namespace {

std::string full_name(const ::testing::TestInfo& test) {
  return std::string(test.test_suite_name()) + "." + test.name();
}

std::string rank_list(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank" : "ranks";
  for (const int rank : ranks) text += " " + std::to_string(rank);
  return text;
}

}  // namespace

MpiReporter::MpiReporter(comm::MpiRuntime& runtime, double deadline_s)
    : runtime_(runtime),
      deadline_s_(deadline_s),
      rank_(runtime.world().rank()),
      ranks_(runtime.world().size()),
      verdicts_(runtime.world().split(0, "verdicts")),
      watchdog_(rank_, 1.5 * deadline_s) {}

void MpiReporter::say(const std::string& line) const {
  if (rank_ != 0) return;
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void MpiReporter::together(const std::string& what, const std::function<void()>& collective) {
  // A rank may be late by one wait inside the test, which is a third of the deadline.
  runtime_.set_deadline(deadline_s_ / 2);
  try {
    collective();
  } catch (const std::exception& failure) {
    std::printf("[rank %d] %s: not all ranks came to the end of it: %s\n", rank_, what.c_str(), failure.what());
    std::fflush(stdout);
    runtime_.abort(1);
  }
  runtime_.set_deadline(deadline_s_ / 3);
}

std::vector<MpiReporter::Result> MpiReporter::agree(const std::string& place, Result mine) {
  std::vector<std::vector<std::uint8_t>> all;
  std::vector<std::uint8_t> message(place.begin(), place.end());
  message.push_back(mine);
  together(place, [&] { all = comm::all_gather_bytes(*verdicts_, message); });
  std::vector<Result> results;
  for (std::size_t r = 0; r < all.size(); ++r) {
    results.push_back(static_cast<Result>(all[r].back()));
    all[r].pop_back();
    const std::string other(all[r].begin(), all[r].end());
    if (other == place) continue;
    std::printf("[rank %d] is at %s, but rank %zu at %s: all ranks must run the same tests in the same order\n", rank_,
                place.c_str(), r, other.c_str());
    std::fflush(stdout);
    runtime_.abort(1);
  }
  return results;
}

void MpiReporter::OnTestProgramStart(const ::testing::UnitTest& unit_test) {
  say("[==========] Running " + std::to_string(unit_test.test_to_run_count()) + " tests on " + std::to_string(ranks_) +
      " ranks.");
}

void MpiReporter::OnTestStart(const ::testing::TestInfo& test) {
  say("[ RUN      ] " + full_name(test));
  runtime_.set_limits(comm::Limits{});
  together(full_name(test), [&] { test_world_ = runtime_.world().split(0, "world"); });
  watchdog_.start(full_name(test));
}

void MpiReporter::OnTestPartResult(const ::testing::TestPartResult& part) {
  if (!part.failed() && !(part.skipped() && rank_ == 0)) return;
  const std::string text = std::string(part.file_name() == nullptr ? "unknown file" : part.file_name()) + ":" +
                           std::to_string(part.line_number()) + (part.failed() ? ": Failure\n" : ": Skipped\n") +
                           part.message();
  // Every line carries the rank, as the lines of several ranks mix.
  const std::string prefix = "[rank " + std::to_string(rank_) + "] ";
  std::string lines = prefix;
  for (const char c : text) {
    lines += c;
    if (c == '\n') lines += prefix;
  }
  std::printf("%s\n", lines.c_str());
  std::fflush(stdout);
}

void MpiReporter::OnTestEnd(const ::testing::TestInfo& test) {
  watchdog_.stop();
  const auto* result = test.result();
  const auto results = agree(full_name(test), result->Failed() ? failed : result->Skipped() ? skipped : passed);
  test_world_.reset();
  std::vector<int> failed_ranks;
  bool any_skipped = false;
  for (int r = 0; r < ranks_; ++r) {
    if (results[static_cast<std::size_t>(r)] == failed) failed_ranks.push_back(r);
    any_skipped |= results[static_cast<std::size_t>(r)] == skipped;
  }
  const std::string tail = full_name(test) + " (" + std::to_string(result->elapsed_time()) + " ms)";
  if (!failed_ranks.empty()) {
    failures_.push_back(full_name(test) + " (" + rank_list(failed_ranks) + ")");
    say("[  FAILED  ] " + tail + " on " + rank_list(failed_ranks));
  } else if (any_skipped) {
    ++skipped_;
    say("[  SKIPPED ] " + tail);
  } else {
    ++passed_;
    say("[       OK ] " + tail);
  }
}

int MpiReporter::finish(int my_result) {
  const auto results = agree("the end of the program", my_result == 0 ? passed : failed);
  say("[  PASSED  ] " + std::to_string(passed_) + " tests.");
  if (skipped_ != 0) say("[  SKIPPED ] " + std::to_string(skipped_) + " tests.");
  for (const auto& failure : failures_) say("[  FAILED  ] " + failure);
  bool all_passed = failures_.empty();
  for (const Result result : results) all_passed = all_passed && result == passed;
  verdicts_.reset();
  return all_passed ? 0 : 1;
}

}  // namespace setrl::testing
