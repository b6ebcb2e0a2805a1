#include "store/checkpoint_saver.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "store/checkpoint_folders.h"
#include "store/durable_file.h"
#include "store/save_work.h"

namespace setrl::store {

namespace {

namespace fs = std::filesystem;

// Throws the same error on every rank where `mine` is not empty on any. Equal texts are said once.
void agree(comm::Communicator& ranks, const std::string& mine, bool bug) {
  Bytes bytes(mine.begin(), mine.end());
  bytes.push_back(bug ? 1 : 0);
  std::string message;
  std::set<std::string> seen;
  bool any_bug = false;
  for (auto& other : comm::all_gather_bytes(ranks, bytes)) {
    any_bug = any_bug || other.back() != 0;
    const std::string text(other.begin(), other.end() - 1);
    if (!text.empty() && seen.insert(text).second) message += (message.empty() ? "" : "; ") + text;
  }
  if (message.empty()) return;
  if (any_bug) throw BugError("checkpoint not saved: " + message);
  throw UserError("checkpoint not saved: " + message);
}

constexpr const char* kMark = ".shared-";

// Of processes that were killed in the constructor.
void remove_old_marks(const std::string& folder) {
  for (const auto& name : sorted_names(folder)) {
    std::error_code error;
    if (name.rfind(kMark, 0) == 0) fs::remove(fs::path(folder) / name, error);
  }
}

// Every rank must see what rank 0 makes in the folder; a network file system may take a moment.
std::string find_shared_mark(const std::string& mark) {
  const Deadline deadline(60);
  std::error_code error;
  while (!fs::exists(mark, error)) {
    if (deadline.passed()) {
      return fmt::format("does not see '{}' of learner rank 0: run.dir must be on a file system that all ranks share",
                         mark);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return "";
}

}  // namespace

CheckpointSaver::CheckpointSaver(SaverOptions options, comm::Communicator& learners, StoreThread& thread)
    : options_(std::move(options)), learners_(learners), thread_(thread) {
  check_layout(options_.layout);
  if (options_.layout == Layout::shared) writers_ = learners.split(0, learners.name() + " that write");
  std::uint64_t number = static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) ^
                         static_cast<std::uint64_t>(getpid()) << 40;
  learners.broadcast(&number, sizeof number, 0);
  token_ = fmt::format("{:016x}", number);
  const fs::path folder = fs::path(options_.run_dir) / "checkpoints";
  const std::string mark = (folder / (kMark + token_)).string();
  const bool leads = learners.rank() == 0;
  std::string problem;
  try {
    if (leads) {
      make_directories(folder.string());
      remove_old_marks(folder.string());
      File::create(mark);
    }
  } catch (const UserError& error) {
    problem = error.what();
  }
  agree(learners, problem, false);
  if (!leads) problem = find_shared_mark(mark);
  agree(learners, problem.empty() ? "" : fmt::format("learner rank {} {}", learners.rank(), problem), false);
  std::error_code error;
  if (leads) fs::remove(mark, error);
}

CheckpointSaver::~CheckpointSaver() {
  if (!current_) return;
  current_->leave();
  current_->wait();
}

void CheckpointSaver::wait_for_earlier() {
  const Stopwatch clock;
  while (!current_->wait_for(std::chrono::milliseconds(20))) {
    if (options_.urgent && options_.urgent()) current_->abandon();
  }
  if (clock.seconds() > 1) {
    log::warning("waited {:.1f} s for the checkpoint of step {}: the disk is slower than store.every", clock.seconds(),
                 current_->step());
  }
}

void CheckpointSaver::save(const CheckpointInfo& info, const std::vector<TensorView>& tensors,
                           std::vector<std::string> after, std::future<std::vector<Group>> in_flight) {
  SETRL_CHECK(info.schema_version == 1, "schema version {}", info.schema_version);
  if (current_) wait_for_earlier();
  check();
  SaveOrder order = {info,
                     tensors,
                     std::move(after),
                     options_.run_dir,
                     options_.retention,
                     learners_.rank(),
                     learners_.size(),
                     {token_, saves_++},
                     options_.deadline_s,
                     writers_.get(),
                     std::move(in_flight)};
  const auto next = std::make_shared<SaveWork>(std::move(order), current_ ? current_->take_memory() : StagingMemory());
  current_ = next;
  thread_.post_long([next, &thread = thread_] { next->run(thread); });
}

// Rank 0 removes the folder of a save that failed while others may still be leaving it; now none is in it.
void CheckpointSaver::remove_rest() {
  if (learners_.rank() != 0 || !current_) return;
  std::error_code error;
  fs::remove_all(CheckpointFolders(options_.run_dir, current_->step()).temporary, error);
}

void CheckpointSaver::wait_for_copy() {
  if (current_) current_->wait_for_copy();
}

void CheckpointSaver::check() {
  if (!current_) return;
  const SaveResult result = current_->result();
  if (result.error.empty()) return;
  current_.reset();
  if (result.bug) throw BugError("checkpoint not saved: " + result.error);
  throw UserError("checkpoint not saved: " + result.error);
}

void CheckpointSaver::abandon() {
  if (current_) current_->abandon();
}

void CheckpointSaver::finish() {
  // A rank that fails may be unable to tell rank 0's thread (its disk is full), which waits for its file; so the
  // training threads, idle now, ask each other.
  auto span = std::chrono::microseconds(200);
  std::optional<Deadline> patience;  // with others that do not end although one has failed
  for (;;) {
    const bool busy = current_ && !current_->wait_for(span);
    const SaveResult mine = current_ ? current_->result() : SaveResult{};
    double state[2] = {busy ? 1.0 : 0.0, mine.error.empty() ? 0.0 : 1.0};
    learners_.all_reduce(state, 2, comm::Reduction::max);
    if (state[0] == 0) {
      if (state[1] != 0) remove_rest();
      break;
    }
    if (state[1] != 0 && busy) current_->leave();
    if (state[1] != 0 && !patience) patience.emplace(options_.deadline_s);
    // In a call of MPI-IO that waits for the rank that failed: ending the job is all that helps.
    if (patience && patience->passed()) {
      throw BugError("checkpoint not saved: " + (mine.error.empty() ? "another rank failed" : mine.error));
    }
    span = std::min<std::chrono::microseconds>(span * 3 / 2, std::chrono::milliseconds(50));
  }
  const SaveResult mine = current_ ? current_->result() : SaveResult{};
  if (!mine.error.empty()) current_.reset();
  agree(learners_, mine.error, mine.bug);
}

std::string save_checkpoint(const std::string& run_dir, const CheckpointInfo& info,
                            const std::vector<TensorView>& tensors, const Retention& retention,
                            comm::Communicator& learners, Layout layout) {
  StoreThread thread;
  CheckpointSaver saver({run_dir, retention, 0, {}, layout}, learners, thread);
  saver.save(info, tensors);
  saver.finish();
  return CheckpointFolders(run_dir, info.step).whole;
}

}  // namespace setrl::store
