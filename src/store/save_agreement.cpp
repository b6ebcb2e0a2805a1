#include "store/save_agreement.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "store/durable_file.h"

namespace setrl::store {

namespace {

namespace fs = std::filesystem;

const char* const kOpening = "opening";
const char* const kStopping = "stopping";
const char* const kClosing = "closing";

std::string name_of(int rank, const char* ending) {
  return fmt::format("rank-{:04}.{}", rank, ending);
}

// Names of one token sort by number.
std::string session_name(const SaveNumber& save) {
  return fmt::format("session-{}-{:012}", save.token, save.number);
}

// Appears whole: readers may look at any moment. Not fsynced: worthless after a crash.
void place(const std::string& path, const Bytes& bytes) {
  const std::string temporary = path + ".writing";
  File::create(temporary).write(bytes.data(), bytes.size());
  rename_path(temporary, path);
}

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

}  // namespace

SaveAgreement::SaveAgreement(const CheckpointFolders& folders, int rank, int ranks, SaveNumber save, double deadline_s,
                             std::function<void()> pause)
    : folders_(folders),
      rank_(rank),
      ranks_(ranks),
      save_(std::move(save)),
      session_(path(session_name(save_))),
      deadline_s_(deadline_s),
      pause_(std::move(pause)) {}

std::string SaveAgreement::path(const std::string& name) const {
  return (fs::path(folders_.temporary) / name).string();
}

void SaveAgreement::wait_until(const std::function<bool()>& there, const std::string& what) const {
  const Deadline deadline(deadline_s_);
  auto span = std::chrono::microseconds(200);
  while (!there()) {
    pause_();
    if (deadline.passed()) throw_user_error("{} did not appear in {} s (run.deadline_s)", what, deadline.limit());
    std::this_thread::sleep_for(span);
    span = std::min<std::chrono::microseconds>(span * 3 / 2, std::chrono::milliseconds(50));
  }
}

void SaveAgreement::begin(const std::function<void()>& fill) const {
  if (rank_ == 0) {
    prepare_temporary(folders_);
    if (fill) fill();
    place(session_, {});
    return;
  }
  wait_until(
      [&] {
        if (exists(session_)) return true;
        if (later_save_began()) throw SaveAbandoned();
        return false;
      },
      session_ + " of learner rank 0");
}

// A later save needs this rank too, so its folder stays until it is seen.
bool SaveAgreement::later_save_began() const {
  const std::string mine = session_name(save_);
  std::error_code error;
  for (fs::directory_iterator it(folders_.all, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() != ".tmp") continue;
    std::error_code gone;
    for (fs::directory_iterator in(it->path(), gone); !gone && in != end; in.increment(gone)) {
      const std::string name = in->path().filename().string();
      if (name.size() == mine.size() && name.compare(0, mine.size() - 12, mine, 0, mine.size() - 12) == 0 &&
          name > mine) {
        return true;
      }
    }
  }
  return false;
}

bool SaveAgreement::goes_on() const {
  return exists(session_);
}

void SaveAgreement::report(const RankFile& file) const {
  place(path(name_of(rank_, "part")), encode(file));
}

bool SaveAgreement::report_stop(const std::string& reason) const {
  try {
    place(path(name_of(rank_, "stopped")), Bytes(reason.begin(), reason.end()));
    return true;
  } catch (const UserError&) {
    return false;
  }
}

// Files of the folder that end in ".ENDING".
int SaveAgreement::count(const char* ending) const {
  int files = 0;
  std::error_code error;
  for (fs::directory_iterator it(folders_.temporary, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ending) ++files;
  }
  return files;
}

void SaveAgreement::throw_where_stopped() const {
  for (int rank = 1; rank < ranks_; ++rank) {
    const std::string file = path(name_of(rank, "stopped"));
    if (!exists(file)) continue;
    const Bytes reason = read_whole_file(file);
    if (reason.empty()) throw SaveAbandoned();
    throw OtherRankFailed(std::string(reason.begin(), reason.end()));
  }
}

void SaveAgreement::before_opening() const {
  if (rank_ == 0) {
    wait_until(
        [&] {
          throw_where_stopped();
          return count(".ready") == ranks_ - 1;
        },
        "all learner ranks, ready to write, in " + folders_.temporary);
    place(path(kOpening), {});
    return;
  }
  place(path(name_of(rank_, "ready")), {});
  wait_until(
      [&] {
        if (!goes_on()) throw SaveAbandoned();
        return exists(path(kOpening));
      },
      path(kOpening) + " of learner rank 0");
}

void SaveAgreement::stop_all() const {
  if (stopped()) return;
  try {
    place(path(kStopping), {});
  } catch (const UserError&) {  // then they write to their ends
  }
}

bool SaveAgreement::stopped() const {
  return exists(path(kStopping));
}

void SaveAgreement::before_closing() const {
  const bool leads = rank_ == 0;
  wait_until(
      [&] {
        if (!goes_on()) {
          if (leads) throw_where_stopped();
          throw SaveAbandoned();
        }
        if (!leads) return exists(path(kClosing));
        const int failed = count(".stopped");
        if (failed > 0) stop_all();
        return count(".part") + failed == ranks_ - 1;
      },
      leads ? "the reports of all learner ranks in " + folders_.temporary : path(kClosing) + " of learner rank 0");
  if (leads) place(path(kClosing), {});
}

std::vector<RankFile> SaveAgreement::collect(RankFile mine) const {
  wait_until(
      [&] {
        if (count(".stopped") > 0) throw_where_stopped();
        return count(".part") == ranks_ - 1;
      },
      "the files of all learner ranks in " + folders_.temporary);
  std::vector<RankFile> files = {std::move(mine)};
  for (int rank = 1; rank < ranks_; ++rank) {
    files.push_back(decode_rank_file(read_whole_file(path(name_of(rank, "part")))));
  }
  return files;
}

void SaveAgreement::wait_for_files(const std::vector<std::string>& paths) const {
  for (const auto& file : paths) wait_until([&] { return exists(file); }, file);
}

void SaveAgreement::tidy() const {
  std::error_code error;
  for (const auto& name : sorted_names(folders_.temporary)) {
    if (!ends_with(name, ".h5")) fs::remove(path(name), error);
  }
}

void SaveAgreement::end() const {
  std::error_code error;
  fs::remove(session_, error);
}

}  // namespace setrl::store
