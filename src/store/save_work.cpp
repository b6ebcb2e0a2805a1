#include "store/save_work.h"

#include <cstring>
#include <exception>
#include <filesystem>

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

void SaveWork::wait_for_copy() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return copied_ || ended_; });
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

std::vector<TensorView> SaveWork::copy() {
  std::size_t elements = 0;
  for (const auto& tensor : order.tensors) elements += static_cast<std::size_t>(tensor.end - tensor.begin);
  if (memory.size < elements) {
    memory.floats.reset();
    memory.floats.reset(new float[elements]);
    memory.size = elements;
  }
  std::vector<TensorView> copies = order.tensors;
  float* to = memory.floats.get();
  for (auto& tensor : copies) {
    const auto count = static_cast<std::size_t>(tensor.end - tensor.begin);
    if (count != 0) {
      SETRL_CHECK(tensor.dtype == DType::float32, "{}: checkpoints hold float32", tensor.name);
      SETRL_CHECK(tensor.data != nullptr, "{}: no data", tensor.name);
      std::memcpy(to, tensor.data, count * sizeof(float));
      tensor.data = to;
    }
    to += count;
  }
  {
    const std::lock_guard lock(mutex_);
    copied_ = true;
  }
  changed_.notify_all();
  return copies;
}

// Rank 0: writes its file, then makes the checkpoint of all files.
void SaveWork::lead(StoreThread& thread, const std::vector<TensorView>& tensors) {
  const CheckpointFolders folders(order.run_dir, order.info.step);
  const auto pause = [&] {
    if (abandoned_ || left_) throw SaveAbandoned();
    thread.let_pass();
  };
  const SaveAgreement agreement(folders, 0, order.ranks, order.number, order.deadline_s, pause);
  try {
    agreement.begin();
    RankFile mine = write_rank_file(folders.temporary, 0, order.info.step, tensors, pause);
    const auto files = agreement.collect(std::move(mine));
    agreement.wait_for_files(order.after);
    agreement.tidy();
    complete(folders, order, files);
  } catch (...) {
    agreement.end();
    std::error_code error;
    fs::remove_all(folders.temporary, error);
    if (error) log::warning("{}: cannot remove: {}", folders.temporary, error.message());
    throw;
  }
}

// The others. While rank 0 has not begun, only `leave` ends the wait: rank 0 may be about to wait for this rank's word.
void SaveWork::follow(StoreThread& thread, const std::vector<TensorView>& tensors) {
  const CheckpointFolders folders(order.run_dir, order.info.step);
  const SaveAgreement agreement(folders, order.rank, order.ranks, order.number, order.deadline_s, [&] {
    if (left_) throw SaveAbandoned();
    thread.let_pass();
  });
  agreement.begin();
  try {
    agreement.report(write_rank_file(folders.temporary, order.rank, order.info.step, tensors, [&] {
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
  return fmt::format("learner rank {}: {}", order.rank, problem);
}

void SaveWork::run(StoreThread& thread) {
  SaveResult outcome;
  try {
    const std::vector<TensorView> tensors = copy();
    if (order.rank == 0) {
      lead(thread, tensors);
    } else {
      follow(thread, tensors);
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
