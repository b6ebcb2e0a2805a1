// The file that all ranks write together: what is in it, and that damage to it is found.
#include "store/shared_file.h"

#include <gtest/gtest.h>

#include "store/check.h"
#include "store/checkpoint_folders.h"
#include "store/shared_folder.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

using testing::SharedFolder;
using testing::world;

class SharedFileRanks : public testing::EachLayout {
 protected:
  // Collective.
  std::string save(std::int64_t step, Layout layout, comm::Communicator& ranks) {
    const SampleState state(ranks.rank(), ranks.size(), static_cast<std::uint64_t>(step));
    return save_checkpoint(run_.path(), sample_info(step), state.views(), {100}, ranks, layout);
  }
  static std::vector<std::string> problems_of(const std::string& folder) {
    CheckReport report;
    check_checkpoint(folder, report);
    return report.problems;
  }

  SharedFolder run_;
};

TEST_P(SharedFileRanks, HasTheContentOfRankFiles) {
  const std::string shared = save(7, Layout::shared, world());
  const std::string moved = run_.path() + "/moved";
  world().barrier();
  if (world().rank() == 0) fs::rename(shared, moved);
  world().barrier();
  const std::string apart = save(7, Layout::per_rank, world());
  EXPECT_EQ(sorted_names(moved), (std::vector<std::string>{"DONE", "index.h5", "shared.h5"}));
  const CheckpointReader a(moved), b(apart);
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (std::size_t t = 0; t < a.tensors().size(); ++t) {
    EXPECT_EQ(a.tensors()[t].name, b.tensors()[t].name);
    EXPECT_EQ(a.tensors()[t].shape, b.tensors()[t].shape);
  }
  EXPECT_EQ(a.info().files, b.info().files);
  const SampleState one(0, 1, 0, false), other(0, 1, 1, false);
  a.load(one.views());
  b.load(other.views());
  EXPECT_TRUE(one.equals(other));
  EXPECT_TRUE(one.equals(SampleState(0, 1, 7)));
  EXPECT_TRUE(problems_of(moved).empty());
  world().barrier();
}

// Whatever number of ranks wrote it.
TEST_P(SharedFileRanks, HasTheSameBytesFromAnyNumberOfRanks) {
  std::string first;
  for (int writers = 1; writers <= world().size(); ++writers) {
    const auto learners = world().split(world().rank() < writers ? 0 : -1, "learners");
    if (learners) save(5, Layout::shared, *learners);
    world().barrier();
    const std::string bytes = read_file(run_.path() + "/checkpoints/step-000005/" + kSharedName);
    if (first.empty()) first = bytes;
    EXPECT_GT(bytes.size(), 700u * 1000 * 4);
    EXPECT_TRUE(bytes == first) << writers;
    world().barrier();
  }
}

TEST_P(SharedFileRanks, FlipsAndCutsAreFound) {
  const std::string folder = save(3, Layout::shared, world());
  if (world().rank() == 0) {
    const std::string path = folder + "/" + kSharedName;
    const std::string good = read_file(path);
    RandomStream random(11, 6);
    for (int i = 0; i < 20; ++i) {
      std::string bad = good;
      // The first ones in HDF5's own bytes, the next in the data.
      const std::size_t at = i < 5 ? random.below(2000) : random.below(good.size());
      if (i % 5 == 0) {
        bad.resize(at);
      } else {
        bad[at] = static_cast<char>(bad[at] ^ (1 << random.below(8)));
      }
      write_file(path, bad);
      const auto problems = problems_of(folder);
      ASSERT_EQ(problems.size(), 1u) << at;
      EXPECT_NE(problems[0].find(kSharedName), std::string::npos) << problems[0];
    }
    // A load names the tensor.
    std::string bad = good;
    bad[bad.size() / 2] = static_cast<char>(bad[bad.size() / 2] ^ 1);
    write_file(path, bad);
    const SampleState loaded(0, 1, 0, false);
    const std::string error = user_error_of([&] { load_checkpoint(folder, loaded.views()); });
    EXPECT_NE(error.find("shared.h5"), std::string::npos) << error;
    EXPECT_NE(error.find("(tensor parameters/embedding.weight)"), std::string::npos) << error;
    write_file(path, good);
    EXPECT_TRUE(problems_of(folder).empty());
  }
  world().barrier();
}

INSTANTIATE_TEST_SUITE_P(Layouts, SharedFileRanks, ::testing::Values(Layout::shared), testing::name_of_layout);

}  // namespace
}  // namespace setrl::store
