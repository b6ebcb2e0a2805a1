// Bits that flip, files that are cut, disks that fill, processes that are killed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <set>
#include <thread>

#include "base/error.h"
#include "store/check.h"
#include "store/manifest.h"
#include "store/outside_tools.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

bool content_is_good(const std::string& folder) {
  return user_error_of([&] {
           for (const auto& entry : read_manifest(folder).files) verify_entry(folder, entry, true);
         })
      .empty();
}

class DamagedCheckpoint : public ::testing::Test {
 protected:
  // What a resume does. Damage is either named or had no effect on any value; a full check finds it in any case.
  void expect_safe(const std::string& name, const std::string& what) {
    const std::string error = user_error_of([&] {
      if (!holds_sample(folder_, 10)) ADD_FAILURE() << what << ": other values were loaded";
    });
    if (error.empty()) {
      ++harmless_;
      EXPECT_EQ(name, "rank-0000.h5") << what;
    } else {
      EXPECT_NE(error.find(name == "DONE" ? "DONE" : folder_), std::string::npos) << error;
    }
    EXPECT_FALSE(content_is_good(folder_)) << what;
    if (name != "rank-0000.h5") {
      EXPECT_EQ(find_newest_checkpoint(run_.path()), "") << what;
    }
  }

  std::string path_of(const std::string& name) const { return folder_ + "/" + name; }

  TemporaryFolder run_;
  std::string folder_ = save_sample(run_.path(), 10);
  RandomStream random_{4, 4};
  int harmless_ = 0;
};

TEST_F(DamagedCheckpoint, FlippedBits) {
  for (const std::string name : {"DONE", "index.h5", "rank-0000.h5"}) {
    const std::string good = read_file(path_of(name));
    for (int i = 0; i < 80; ++i) {
      // Every other flip in the first part, where HDF5 keeps its own data.
      const std::size_t at = random_.below(i % 2 == 0 ? std::min<std::size_t>(good.size(), 8192) : good.size());
      const char bad = static_cast<char>(good[at] ^ (1 << random_.below(8)));
      const auto put = [&](char byte) {
        std::fstream file(path_of(name), std::ios::binary | std::ios::in | std::ios::out);
        file.seekp(static_cast<std::streamoff>(at));
        file.put(byte);
      };
      put(bad);
      expect_safe(name, name + " byte " + std::to_string(at));
      put(good[at]);
    }
  }
  // HDF5's own data in a rank file are not read by load_checkpoint; about half of that file's flips were put there.
  EXPECT_GT(harmless_, 0);
  EXPECT_TRUE(holds_sample(folder_, 10));
  EXPECT_TRUE(content_is_good(folder_));
}

TEST_F(DamagedCheckpoint, Truncations) {
  for (const std::string name : {"DONE", "index.h5", "rank-0000.h5"}) {
    const std::string good = read_file(path_of(name));
    for (int i = 0; i < 40; ++i) {
      const std::size_t size = random_.below(good.size());
      fs::resize_file(path_of(name), size);
      EXPECT_NE(user_error_of([&] { holds_sample(folder_, 10); }), "") << name << " cut to " << size;
      EXPECT_EQ(find_newest_checkpoint(run_.path()), "");
      write_file(path_of(name), good);
    }
    fs::remove(path_of(name));
    EXPECT_NE(user_error_of([&] { holds_sample(folder_, 10); }), "") << name << " is missing";
    write_file(path_of(name), good);
  }
  EXPECT_TRUE(holds_sample(folder_, 10));
}

// A file system of a few megabytes, where this process may mount one.
class SmallDisk {
 public:
  explicit SmallDisk(const char* size) { mounted_ = mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, size) == 0; }
  ~SmallDisk() {
    if (mounted_) umount(folder_.path().c_str());
  }
  bool mounted() const { return mounted_; }
  const std::string& path() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
  bool mounted_ = false;
};

TEST(DiskFull, CheckpointFailsOlderOnesStay) {
  const SmallDisk disk("size=8m");
  if (!disk.mounted()) GTEST_SKIP() << "NOT TESTED: a full disk (no right to mount a tmpfs; run as root)";
  save_sample(disk.path(), 5);
  save_sample(disk.path(), 10);
  for (int i = 0; i < 3; ++i) {
    const std::string error = user_error_of([&] { save_sample(disk.path(), 15); });
    EXPECT_NE(error.find("No space left on device"), std::string::npos) << error;
    EXPECT_NE(error.find("rank-0000.h5"), std::string::npos) << error;
  }
  EXPECT_FALSE(fs::exists(disk.path() + "/checkpoints/step-000015.tmp"));
  EXPECT_TRUE(holds_sample(find_newest_checkpoint(disk.path()), 10));
  EXPECT_EQ(find_checkpoints(disk.path()).size(), 2u);
  fs::remove_all(disk.path() + "/checkpoints/step-000005");
  EXPECT_TRUE(holds_sample(save_sample(disk.path(), 15), 15));
}

// A disk of 8 MiB filled but for `free` bytes, while this lives.
class Ballast {
 public:
  Ballast(const std::string& disk, std::int64_t free) : path_(disk + "/ballast") {
    const int file = open(path_.c_str(), O_CREAT | O_WRONLY, 0600);
    const auto available = static_cast<std::int64_t>(fs::space(disk).available);
    EXPECT_EQ(posix_fallocate(file, 0, available - free), 0);
    close(file);
  }
  ~Ballast() { fs::remove(path_); }

 private:
  std::string path_;
};

// With ever more space, so that every file and every flush is the one that fails: steps of a page where the last data,
// HDF5's own data, the index and DONE are written.
TEST(DiskFull, AtEveryPlaceOfASave) {
  const SmallDisk disk("size=8m");
  if (!disk.mounted()) GTEST_SKIP() << "NOT TESTED: a full disk (no right to mount a tmpfs; run as root)";
  save_sample(disk.path(), 5);
  int failed = 0;
  bool saved = false;
  for (std::int64_t free = 4096; !saved; free += free < 2780000 ? 65536 : 4096) {
    std::string error;
    {
      const Ballast ballast(disk.path(), free);
      error = user_error_of([&] { save_sample(disk.path(), 10, 2); });
    }
    saved = error.empty();
    if (saved) break;
    ++failed;
    EXPECT_NE(error.find("No space left on device"), std::string::npos) << error;
    ASSERT_EQ(find_checkpoints(disk.path()).size(), 1u) << free;
    ASSERT_EQ(read_checkpoint_info(find_newest_checkpoint(disk.path())).step, 5);
    ASSERT_LT(free, 4000000);
  }
  EXPECT_GT(failed, 50);
  EXPECT_TRUE(holds_sample(disk.path() + "/checkpoints/step-000005", 5));
  EXPECT_TRUE(holds_sample(find_newest_checkpoint(disk.path()), 10));
}

TEST(DiskFull, TrajectoryFailsAndCanBePublishedLater) {
  const SmallDisk disk("size=8m");
  if (!disk.mounted()) GTEST_SKIP() << "NOT TESTED: a full disk (no right to mount a tmpfs; run as root)";
  TrajectoryWriter writer(trajectory_path(disk.path(), 1, 0), TrajectoryInfo());
  for (int i = 0; i < 4; ++i) {
    const auto stored = sample_group(1, i, 8, 2000);
    writer.append(stored.group, stored.texts);
  }
  for (const std::int64_t free : {4096, 40960, 81920}) {
    const Ballast ballast(disk.path(), free);
    EXPECT_NE(user_error_of([&] { writer.publish(); }).find("No space left on device"), std::string::npos);
    EXPECT_TRUE(fs::is_empty(disk.path() + "/trajectories"));
  }
  writer.publish();
  EXPECT_EQ(read_trajectory(trajectory_path(disk.path(), 1, 0)).groups.size(), 4u);
}

TEST(DiskFull, UnwritableFolderIsNamed) {
  const TemporaryFolder run;
  write_file(run / "checkpoints", "a file where the folder should be");
  EXPECT_NE(user_error_of([&] { save_sample(run.path(), 5); }).find(run / "checkpoints"), std::string::npos);
}

TEST(Killed, MarkOfADeadProcessGoesWithTheNextSave) {
  const TemporaryFolder run;
  fs::create_directories(run / "checkpoints");
  const std::string mark = run / "checkpoints/.shared-0011223344556677";
  std::ofstream{mark};
  ASSERT_TRUE(fs::exists(mark));
  save_sample(run.path(), 1, 2);
  EXPECT_FALSE(fs::exists(mark));
}

// SIGKILL at any moment of saving, publishing and pruning: a whole checkpoint is always there, and the next save works.
TEST(Killed, AtAnyMoment) {
  const TemporaryFolder run;
  save_sample(run.path(), 1, 2);
  // Moments are spread over the time of two saves and a half, on whatever machine.
  const auto begun = std::chrono::steady_clock::now();
  save_sample(run.path(), 1, 2);
  const std::chrono::duration<double, std::micro> save_us = std::chrono::steady_clock::now() - begun;
  const auto longest = static_cast<std::uint64_t>(2.5 * save_us.count()) + 1;
  RandomStream random(9, 9);
  std::int64_t newest = 1;
  const std::string count = environment("SETRL_KILL_COUNT");  // default 30
  for (int round = 0; round < (count.empty() ? 30 : std::stoi(count)); ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // The same step again now and then, so that replacing is interrupted too.
      for (std::int64_t step = newest + round % 2;; ++step) save_sample(run.path(), step, 2);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(2000 + random.below(longest)));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    const auto whole = find_checkpoints(run.path());
    ASSERT_FALSE(whole.empty()) << round;
    const std::int64_t step = read_checkpoint_info(whole[0]).step;
    ASSERT_GE(step, newest);
    for (const auto& folder : whole) {
      EXPECT_TRUE(content_is_good(folder));
      EXPECT_TRUE(holds_sample(folder, read_checkpoint_info(folder).step));
    }
    newest = step;
  }
  EXPECT_GT(newest, 1);
  EXPECT_TRUE(holds_sample(save_sample(run.path(), newest + 1, 2), newest + 1));
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints")) names.insert(entry.path().filename().string());
  const auto name = [](std::int64_t step) { return fmt::format("step-{:06}", step); };
  EXPECT_EQ(names, (std::set<std::string>{name(newest), name(newest + 1), "latest"}));
}

}  // namespace
}  // namespace setrl::store
