#include "store/save_work.h"

#include <exception>
#include <filesystem>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "store/checkpoint_index.h"
#include "store/crc32c.h"
#include "store/in_flight_file.h"
#include "store/manifest.h"
#include "store/save_agreement.h"
#include "store/shared_file.h"

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

// Rank 0, after all files are on disk.
void complete(const CheckpointFolders& folders, const SaveOrder& order, const std::vector<RankFile>& files) {
  Manifest manifest{order.info.step, {write_index(folders, order.info, files)}};
  for (const auto& file : files) {
    manifest.files.push_back({file.name, file.bytes, file.crc32c});
    verify_entry(folders.temporary, manifest.files.back(), false);
  }
  for (const auto& file : files) {
    for (const auto& entry : file.beside) {
      manifest.files.push_back(entry);
      verify_entry(folders.temporary, entry, false);
    }
  }
  publish_temporary(folders, to_text(manifest));
  // From here on the checkpoint is whole: what fails now is a warning.
  point_latest(folders);
  prune(folders, order.info.step, order.retention);
}

}  // namespace

SaveWork::SaveWork(SaveOrder what, StagingMemory memory)
    : in_flight_(std::move(what.in_flight)), order_(std::move(what)) {
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

// This rank's groups in flight, beside what it has written already.
void SaveWork::add_in_flight(RankFile& file, const std::string& folder, const std::function<void()>& pause) {
  if (!in_flight_.valid()) return;
  const Deadline deadline(order_.deadline_s);
  while (in_flight_.wait_for(std::chrono::milliseconds(2)) != std::future_status::ready) {
    pause();
    if (deadline.passed()) {
      throw_user_error("the groups in flight were not handed over in {} s (run.deadline_s)", deadline.limit());
    }
  }
  const auto groups = in_flight_.get();
  if (!groups.empty()) file.beside.push_back(write_in_flight(folder, order_.rank, groups));
}

// This rank's files: its tensors, then the groups in flight.
RankFile SaveWork::write_own(const std::string& folder, const std::function<void()>& pause) {
  RankFile file = write_rank_file(folder, order_.rank, order_.info.step, copy_.views(), pause);
  add_in_flight(file, folder, pause);
  return file;
}

// Says once, on another rank than 0, that it writes no more. A rank that cannot say it, and for which the others would
// wait, ends the save.
void SaveWork::tell(const SaveAgreement& agreement, const std::string& reason) {
  if (std::exchange(told_, true)) return;
  if (!agreement.report_stop(reason) && bound_) agreement.end();
}

// Opens the shared file with the other ranks, writes this one's slices, and closes it with them. What keeps this rank
// from writing is thrown then.
RankFile SaveWork::write_shared(const CheckpointFolders& folders, const SaveAgreement& agreement, StoreThread& thread) {
  const bool leads = order_.rank == 0;
  SharedFile file(folders.temporary, *order_.writers);
  bound_ = !leads;
  agreement.before_opening();
  bound_ = true;
  try {
    file.open();
  } catch (const std::exception& error) {
    if (!leads) tell(agreement, named(error.what()));
    agreement.end();
    throw;
  }
  RankFile part;
  std::exception_ptr failure;
  const auto stop = [&](const std::string& reason) {
    failure = std::current_exception();
    if (leads) {
      agreement.stop_all();
    } else {
      tell(agreement, reason);
    }
  };
  try {
    if (told_) throw SaveAbandoned();  // in vain: rank 0 was opening already
    const auto pause = [&] {
      if (gives_up() || agreement.stopped() || !agreement.goes_on()) throw SaveAbandoned();
      thread.let_pass();
    };
    part = file.write(copy_.views(), pause);
    add_in_flight(part, folders.temporary, pause);
    if (!leads) agreement.report(part);
    told_ = true;
  } catch (const SaveAbandoned&) {
    stop("");
  } catch (const std::exception& error) {
    stop(named(error.what()));
  }
  try {
    agreement.before_closing();
  } catch (...) {
    if (failure) std::rethrow_exception(failure);
    throw;
  }
  file.close();
  bound_ = false;
  if (failure) std::rethrow_exception(failure);
  return part;
}

// Rank 0: writes its files or its part of the shared one, then makes the checkpoint of all.
void SaveWork::lead(StoreThread& thread) {
  const CheckpointFolders folders(order_.run_dir, order_.info.step);
  const auto pause = [&] {
    if (gives_up() && !bound_) throw SaveAbandoned();
    thread.let_pass();
  };
  const SaveAgreement agreement(folders, 0, order_.ranks, order_.number, order_.deadline_s, pause);
  try {
    std::vector<RankFile> files;
    if (order_.writers == nullptr) {
      agreement.begin();
      files = agreement.collect(write_own(folders.temporary, pause));
    } else {
      agreement.begin([&] { create_shared_file(folders.temporary, order_.info.step, order_.tensors); });
      files = {join_parts(folders.temporary, agreement.collect(write_shared(folders, agreement, thread)))};
    }
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
    if (left_ && !bound_) throw SaveAbandoned();
    if (left_) tell(agreement, "");
    thread.let_pass();
  });
  agreement.begin();
  try {
    if (order_.writers != nullptr) {
      write_shared(folders, agreement, thread);
      return;
    }
    agreement.report(write_own(folders.temporary, [&] {
      if (gives_up() || !agreement.goes_on()) throw SaveAbandoned();
      thread.let_pass();
    }));
  } catch (const SaveAbandoned&) {
    tell(agreement, "");
    throw;
  } catch (const std::exception& error) {
    if (!told_ && !agreement.goes_on()) throw SaveAbandoned();  // the folder was taken away under the work
    tell(agreement, named(error.what()));
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
