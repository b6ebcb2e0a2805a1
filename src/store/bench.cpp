#include "store/bench.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "store/checkpoint_saver.h"
#include "store/durable_file.h"
#include "store/in_flight_file.h"
#include "store/rank_file.h"
#include "store/shared_file.h"

namespace setrl::store {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPortion = 8 * kBlockBytes;

double slowest(comm::Communicator& ranks, double seconds) {
  ranks.all_reduce(&seconds, 1, comm::Reduction::max);
  return seconds;
}

// Seconds of the slowest rank, all having begun together.
double timed(comm::Communicator& ranks, const std::function<void()>& work) {
  ranks.barrier();
  const Stopwatch clock;
  work();
  return slowest(ranks, clock.seconds());
}

// The slices' bytes one after the other, in portions.
void for_each_portion(const std::vector<TensorView>& tensors, const std::function<void(char*, std::size_t)>& visit) {
  for (const auto& tensor : tensors) {
    auto* data = static_cast<char*>(tensor.data);
    const std::int64_t bytes = (tensor.end - tensor.begin) * static_cast<std::int64_t>(sizeof(float));
    for (std::int64_t at = 0; at < bytes; at += kPortion) {
      visit(data + at, static_cast<std::size_t>(std::min(kPortion, bytes - at)));
    }
  }
}

void write_plainly(const std::string& path, const std::vector<TensorView>& tensors) {
  File file = File::create(path);
  for_each_portion(tensors, [&](const char* data, std::size_t bytes) { file.write(data, bytes); });
  file.sync();
}

void read_plainly(const std::string& path, const std::vector<TensorView>& tensors) {
  const File file = File::open(path);
  std::int64_t at = 0;
  for_each_portion(tensors, [&](char* data, std::size_t bytes) {
    file.read_at(at, data, bytes);
    at += static_cast<std::int64_t>(bytes);
  });
}

// Has the kernel forget a file that is on the disk.
void forget(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  ::close(descriptor);
}

class StoreBench {
 public:
  StoreBench(const std::string& folder, const std::vector<TensorView>& tensors, Layout layout,
             comm::Communicator& learners)
      : folder_(folder),
        tensors_(tensors),
        layout_(layout),
        learners_(learners),
        plain_(fmt::format("{}/plain-{:04}", folder, learners.rank())),
        saver_({folder, {1, 0}, 0, {}, layout}, learners, thread_) {}

  double write_plain() {
    fs::remove(plain_);
    return timed(learners_, [&] { write_plainly(plain_, tensors_); });
  }

  double save() {
    return timed(learners_, [&] {
      begin_save();
      saver_.finish();
    });
  }

  // `step_s` seconds of waiting stand for a step that leaves the weights alone.
  double stall(double step_s) {
    double seconds = timed(learners_, [&] { begin_save(); });
    std::this_thread::sleep_for(std::chrono::duration<double>(step_s));
    seconds += timed(learners_, [&] { saver_.wait_for_copy(); });
    saver_.finish();
    return seconds;
  }

  double read_plain() {
    forget(plain_);
    return timed(learners_, [&] { read_plainly(plain_, tensors_); });
  }

  double load() {
    const std::string newest = find_newest_checkpoint(folder_);
    forget(newest + "/" + (layout_ == Layout::shared ? kSharedName : rank_file_name(learners_.rank())));
    return timed(learners_, [&] { load_checkpoint(newest, tensors_); });
  }

  // Every rank has the groups in flight.
  double in_flight(const std::vector<StoredGroup>& groups, std::int64_t& bytes) {
    std::vector<Group> plain;
    for (const auto& stored : groups) plain.push_back(stored.group);
    return timed(learners_, [&] { bytes = write_in_flight(folder_, learners_.rank(), plain).bytes; });
  }

  // Every rank writes the groups as its part. Returns the seconds of the handing over.
  double trajectory(const std::vector<StoredGroup>& groups, double& write_s) {
    const std::string path = trajectory_path(folder_, 1, learners_.rank());
    double seconds_of_work = 0;
    const double handed = timed(learners_, [&] {
      thread_.post([&] {
        const Stopwatch clock;
        TrajectoryWriter writer(path, TrajectoryInfo());
        for (const auto& group : groups) writer.append(group.group, group.texts);
        writer.publish();
        seconds_of_work = clock.seconds();
      });
    });
    thread_.drain();
    write_s = slowest(learners_, seconds_of_work);
    return handed;
  }

 private:
  void begin_save() {
    CheckpointInfo info;
    info.step = ++step_;
    saver_.save(info, tensors_);
  }

  const std::string folder_;
  const std::vector<TensorView>& tensors_;
  const Layout layout_;
  comm::Communicator& learners_;
  const std::string plain_;
  std::int64_t step_ = 0;
  StoreThread thread_;
  CheckpointSaver saver_;
};

}  // namespace

BenchResult bench_store(const std::string& folder, const std::vector<TensorView>& tensors,
                        const std::vector<StoredGroup>& groups, double step_s, int repeats, Layout layout,
                        comm::Communicator& learners) {
  make_directories(folder);
  BenchResult best;
  double bytes = 0;
  for (const auto& tensor : tensors) bytes += static_cast<double>(tensor.end - tensor.begin) * sizeof(float);
  learners.all_reduce(&bytes, 1, comm::Reduction::sum);
  best.bytes = static_cast<std::int64_t>(bytes);
  {
    StoreBench bench(folder, tensors, layout, learners);
    const auto keep = [](double& value, double seconds) { value = value == 0 ? seconds : std::min(value, seconds); };
    bench.save();  // touches the copy's memory
    for (int i = 0; i < repeats; ++i) {
      keep(best.plain_write_s, bench.write_plain());
      keep(best.write_s, bench.save());
      keep(best.stall_s, bench.stall(step_s));
      keep(best.stall_at_once_s, bench.stall(0));
      keep(best.plain_read_s, bench.read_plain());
      keep(best.read_s, bench.load());
      double write_s = 0;
      keep(best.trajectory_stall_s, bench.trajectory(groups, write_s));
      keep(best.trajectory_write_s, write_s);
      keep(best.in_flight_write_s, bench.in_flight(groups, best.in_flight_bytes));
    }
    best.trajectory_bytes = File::open(trajectory_path(folder, 1, learners.rank())).size();
  }
  learners.barrier();
  if (learners.rank() == 0) fs::remove_all(folder);
  return best;
}

}  // namespace setrl::store
