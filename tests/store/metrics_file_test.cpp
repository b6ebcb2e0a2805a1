#include "store/metrics_file.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

std::string line(std::int64_t step) {
  return "{\"step\":" + std::to_string(step) + ",\"loss\":0.25}";
}

void run(const std::string& path, std::int64_t from, std::int64_t to) {
  MetricsFile file(path);
  file.truncate_after(from - 1);
  for (std::int64_t step = from; step <= to; ++step) file.append(line(step));
}

TEST(MetricsFile, ResumedEqualsUninterrupted) {
  const TemporaryFolder folder;
  run(folder / "whole.jsonl", 1, 12);
  run(folder / "parts.jsonl", 1, 9);  // killed after step 9, the last checkpoint is of step 6
  run(folder / "parts.jsonl", 7, 12);
  EXPECT_EQ(read_file(folder / "parts.jsonl"), read_file(folder / "whole.jsonl"));
  run(folder / "parts.jsonl", 1, 12);
  EXPECT_EQ(read_file(folder / "parts.jsonl"), read_file(folder / "whole.jsonl"));
}

TEST(MetricsFile, CutsATornLine) {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  for (const std::string torn : {"{", "{\"step\":3,\"lo", "{\"step\":3,\"loss\":0.25}"}) {
    write_file(path, line(1) + "\n" + line(2) + "\n" + torn);
    MetricsFile(path).append(line(3));
    EXPECT_EQ(read_file(path), line(1) + "\n" + line(2) + "\n" + line(3) + "\n");
  }
  write_file(path, "{\"ste");
  MetricsFile(path).append(line(1));
  EXPECT_EQ(read_file(path), line(1) + "\n");
}

TEST(MetricsFile, LeavesForeignLinesBeforeTheCut) {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  const std::string kept = "no json\n[1]\n" + line(1) + "\n{\"note\":1}\n" + line(2) + "\n";
  write_file(path, kept + line(3) + "\nafter\n");
  MetricsFile(path).truncate_after(2);
  EXPECT_EQ(read_file(path), kept);
  MetricsFile(path).truncate_after(99);
  EXPECT_EQ(read_file(path), kept);
}

TEST(MetricsFile, NamesThePath) {
  const TemporaryFolder folder;
  const std::string path = folder / "absent/metrics.jsonl";
  EXPECT_NE(user_error_of([&] { MetricsFile file(path); }).find(path), std::string::npos);
  EXPECT_THROW(MetricsFile(folder / "m").append("a\nb"), BugError);
}

}  // namespace
}  // namespace setrl::store
