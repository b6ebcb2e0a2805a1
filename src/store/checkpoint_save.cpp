#include <exception>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/log.h"
#include "store/checkpoint.h"
#include "store/checkpoint_folders.h"
#include "store/checkpoint_index.h"
#include "store/crc32c.h"
#include "store/manifest.h"
#include "store/rank_file.h"

namespace setrl::store {

namespace {

namespace fs = std::filesystem;

enum class Outcome : std::uint8_t { done, user_error, bug };

// Runs `work` on every rank and shows everybody all results. Where it failed anywhere, every rank throws the same
// error, so no rank waits for one that gave up.
std::vector<Bytes> exchange(comm::Communicator& ranks, const std::function<Bytes()>& work) {
  Bytes mine;
  const auto report = [&](Outcome outcome, const std::string& text) {
    mine.assign(text.begin(), text.end());
    mine.push_back(static_cast<std::uint8_t>(outcome));
  };
  try {
    mine = work();
    mine.push_back(static_cast<std::uint8_t>(Outcome::done));
  } catch (const UserError& error) {
    report(Outcome::user_error, error.what());
  } catch (const std::exception& error) {
    report(Outcome::bug, error.what());
  }
  auto all = comm::all_gather_bytes(ranks, mine);
  std::string message;
  bool bug = false;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    const auto outcome = static_cast<Outcome>(all[rank].back());
    all[rank].pop_back();
    if (outcome == Outcome::done) continue;
    bug = bug || outcome == Outcome::bug;
    if (!message.empty()) message += "; ";
    message += fmt::format("learner rank {}: {}", rank, std::string(all[rank].begin(), all[rank].end()));
  }
  if (bug) throw BugError("checkpoint not saved: " + message);
  if (!message.empty()) throw UserError("checkpoint not saved: " + message);
  return all;
}

// The collective part for one rank that acts alone.
void on_rank_zero(comm::Communicator& ranks, const std::function<void()>& work) {
  exchange(ranks, [&] {
    if (ranks.rank() == 0) work();
    return Bytes();
  });
}

ManifestEntry write_index(const CheckpointFolders& folders, const CheckpointInfo& info,
                          const std::vector<RankFile>& files) {
  const Bytes image = to_image(make_index(info, files));
  File file = File::create((fs::path(folders.temporary) / kIndexName).string());
  file.write(image.data(), image.size());
  file.sync();
  return {kIndexName, static_cast<std::int64_t>(image.size()), crc32c(image.data(), image.size())};
}

// Rank 0, after all rank files are on disk.
void complete(const CheckpointFolders& folders, const CheckpointInfo& info, const std::vector<RankFile>& files,
              int keep) {
  Manifest manifest{info.step, {write_index(folders, info, files)}};
  for (const auto& file : files) {
    manifest.files.push_back({file.name, file.bytes, file.crc32c});
    // Fails as well where the ranks do not share a file system.
    verify_entry(folders.temporary, manifest.files.back(), false);
  }
  publish_temporary(folders, to_text(manifest));
  // From here on the checkpoint is whole: what fails now is a warning.
  point_latest(folders);
  prune(folders, info.step, keep);
}

}  // namespace

std::string save_checkpoint(const std::string& run_dir, const CheckpointInfo& info,
                            const std::vector<TensorView>& tensors, int keep, comm::Communicator& learners) {
  SETRL_CHECK(info.schema_version == 1, "schema version {}", info.schema_version);
  const CheckpointFolders folders(run_dir, info.step);
  const bool leads = learners.rank() == 0;
  on_rank_zero(learners, [&] { prepare_temporary(folders); });
  try {
    const auto encoded = exchange(
        learners, [&] { return encode(write_rank_file(folders.temporary, learners.rank(), info.step, tensors)); });
    on_rank_zero(learners, [&] {
      std::vector<RankFile> files;
      for (const auto& bytes : encoded) files.push_back(decode_rank_file(bytes));
      complete(folders, info, files, keep);
    });
  } catch (const std::exception&) {
    // Every rank is past its writing, because the verdict was exchanged.
    std::error_code error;
    if (leads) fs::remove_all(folders.temporary, error);
    if (error) log::warning("{}: cannot remove: {}", folders.temporary, error.message());
    throw;
  }
  return folders.whole;
}

}  // namespace setrl::store
