#include "store/save_work.h"

#include <exception>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "store/checkpoint_index.h"
#include "store/crc32c.h"
#include "store/manifest.h"
#include "store/rank_file.h"
#include "store/save_agreement.h"

namespace setrl::store {

namespace {

namespace fs = std::filesystem;

ManifestEntry write_index(const CheckpointFolders& folders, const CheckpointInfo& info,
                          const std::vector<RankFile>& files) {
  const Bytes image = to_image(make_index(info, files));
  File file = File::create((fs::path(folders.temporary) / kIndexName).string());
  file.write(image.data(), image.size());
  file.sync();
  return {kIndexName, static_cast<std::int64_t>(image.size()), crc32c(image.data(), image.size())};
}

// Rank 0, after all rank files are on disk.
void complete(const CheckpointFolders& folders, const SaveOrder& order, const std::vector<RankFile>& files) {
  Manifest manifest{order.info.step, {write_index(folders, order.info, files)}};
  for (const auto& file : files) {
    manifest.files.push_back({file.name, file.bytes, file.crc32c});
    verify_entry(folders.temporary, manifest.files.back(), false);
  }
  publish_temporary(folders, to_text(manifest));
  // From here on the checkpoint is whole: what fails now is a warning.
  point_latest(folders);
  prune(folders, order.info.step, order.retention);
}

}  // namespace

SaveWork::SaveWork(SaveOrder what, StagingMemory memory) : order_(std::move(what)) {
  copy_.prepare(order_.tensors, std::move(memory));
}

void SaveWork::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ended_; });
}

bool SaveWork::wait_for(std::chrono::microseconds span) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, span, [&] { return ended_; });
}

SaveResult SaveWork::result() {
  const std::lock_guard lock(mutex_);
  return ended_ ? result_ : SaveResult{};
}

// Rank 0: writes its file, then makes the checkpoint of all files.
void SaveWork::lead(StoreThread& thread) {
  const CheckpointFolders folders(order_.run_dir, order_.info.step);
  const auto pause = [&] {
    if (abandoned_ || left_) throw SaveAbandoned();
    thread.let_pass();
  };
  const SaveAgreement agreement(folders, 0, order_.ranks, order_.number, order_.deadline_s, pause);
  try {
    agreement.begin();
    RankFile mine = write_rank_file(folders.temporary, 0, order_.info.step, copy_.views(), pause);
    const auto files = agreement.collect(std::move(mine));
    agreement.wait_for_files(order_.after);
    agreement.tidy();
    complete(folders, order_, files);
  } catch (...) {
    agreement.end();
    std::error_code error;
    fs::remove_all(folders.temporary, error);
    if (error) log::warning("{}: cannot remove: {}", folders.temporary, error.message());
    throw;
  }
}

// The others. While rank 0 has not begun, only `leave` ends the wait: rank 0 may be about to wait for this rank's word.
void SaveWork::follow(StoreThread& thread) {
  const CheckpointFolders folders(order_.run_dir, order_.info.step);
  const SaveAgreement agreement(folders, order_.rank, order_.ranks, order_.number, order_.deadline_s, [&] {
    if (left_) throw SaveAbandoned();
    thread.let_pass();
  });
  agreement.begin();
  try {
    agreement.report(write_rank_file(folders.temporary, order_.rank, order_.info.step, copy_.views(), [&] {
      if (abandoned_ || left_ || !agreement.goes_on()) throw SaveAbandoned();
      thread.let_pass();
    }));
  } catch (const SaveAbandoned&) {
    agreement.report_stop("");
    throw;
  } catch (const std::exception& error) {
    if (!agreement.goes_on()) throw SaveAbandoned();  // the folder was taken away under the work
    agreement.report_stop(named(error.what()));
    throw;
  }
}

std::string SaveWork::named(const std::string& problem) const {
  return fmt::format("learner rank {}: {}", order_.rank, problem);
}

void SaveWork::run(StoreThread& thread) {
  SaveResult outcome;
  try {
    copy_.complete();
    if (order_.rank == 0) {
      lead(thread);
    } else {
      follow(thread);
    }
  } catch (const SaveAbandoned&) {
  } catch (const OtherRankFailed& error) {
    outcome.error = error.what();
  } catch (const UserError& error) {
    outcome.error = named(error.what());
  } catch (const std::exception& error) {
    outcome = {named(error.what()), true};
  }
  const std::lock_guard lock(mutex_);
  result_ = outcome;
  ended_ = true;
  changed_.notify_all();
}

}  // namespace setrl::store
