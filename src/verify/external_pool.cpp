#include "verify/external_pool.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <optional>

#include "base/clock.h"
#include "base/error.h"

namespace setrl::verify {

namespace {
constexpr std::size_t kLongestAnswer = std::size_t{16} << 20;
constexpr int kPollMilliseconds = 50;  // how late a deadline may be noticed
}  // namespace

struct ExternalPool::Worker {
  explicit Worker(const VerifySection& options) : process(options.external), deadline(options.external_deadline_s) {}

  void begin(std::size_t index, const std::string& line, double deadline_s) {
    if (!process.running()) process.start();
    request = index;
    pending = line + "\n";
    received.clear();
    deadline = Deadline(deadline_s);
  }

  // Moves what can be moved without waiting. Returns the answer's line once it is whole; sets `failure` where there
  // will be none.
  std::optional<std::string> advance(short input_events, short output_events, std::string& failure) {
    if (!pending.empty() && input_events != 0) {
      const auto written = ::write(process.input(), pending.data(), pending.size());
      // EPIPE: it ended, or closed its input; its last words or the deadline tell which.
      if (written > 0) pending.erase(0, static_cast<std::size_t>(written));
      if (written < 0 && errno == EPIPE) pending.clear();
    }
    if (output_events != 0) {
      char buffer[65536];
      const auto count = ::read(process.output(), buffer, sizeof buffer);
      if (count == 0) {
        failure = "it ended: " + process.stop_after_grace();
        return {};
      }
      if (count > 0) received.append(buffer, static_cast<std::size_t>(count));
    }
    const auto end = received.find('\n');
    if (end != std::string::npos) {
      if (end + 1 != received.size()) {
        failure = "it wrote more than one line";
      } else if (!pending.empty()) {
        failure = "it answered before it had read the request";
      } else {
        return received.substr(0, end);
      }
    } else if (received.size() > kLongestAnswer) {
      failure = "its answer is longer than 16 MiB";
    } else if (deadline.passed()) {
      failure = fmt::format("no answer within {} s", deadline.limit());
    }
    return {};
  }

  ExternalProcess process;
  std::optional<std::size_t> request;
  std::string pending;   // of the request, not yet written
  std::string received;  // of the answer
  Deadline deadline;
};

std::vector<std::string> ExternalPool::run(const std::vector<std::string>& requests, const Accept& accept) {
  std::deque<std::size_t> waiting;
  for (std::size_t i = 0; i < requests.size(); ++i) waiting.push_back(i);
  std::vector<int> retries(requests.size(), options_.retries);
  std::vector<std::string> failures(requests.size());
  std::size_t open = requests.size();
  while (workers_.size() <
         std::min<std::size_t>(requests.size(), static_cast<std::size_t>(options_.external_processes))) {
    workers_.push_back(std::make_shared<Worker>(options_));
  }
  while (open > 0) {
    std::vector<pollfd> descriptors;
    std::vector<Worker*> busy;
    for (auto& worker : workers_) {
      if (!worker->request && !waiting.empty()) {
        const auto index = waiting.front();
        waiting.pop_front();
        worker->begin(index, requests[index], options_.external_deadline_s);
      }
      if (!worker->request) continue;
      busy.push_back(worker.get());
      descriptors.push_back({worker->pending.empty() ? -1 : worker->process.input(), POLLOUT, 0});
      descriptors.push_back({worker->process.output(), POLLIN, 0});
    }
    ::poll(descriptors.data(), descriptors.size(), kPollMilliseconds);
    for (std::size_t i = 0; i < busy.size(); ++i) {
      Worker& worker = *busy[i];
      const std::size_t index = *worker.request;
      std::string failure;
      const auto answer = worker.advance(descriptors[2 * i].revents, descriptors[2 * i + 1].revents, failure);
      if (answer) failure = accept(index, *answer);
      if (!answer && failure.empty()) continue;
      worker.request.reset();
      if (failure.empty()) {
        --open;
        continue;
      }
      worker.process.stop();
      if (retries[index]-- > 0) {
        waiting.push_back(index);
      } else {
        failures[index] = failure;
        --open;
      }
    }
  }
  return failures;
}

}  // namespace setrl::verify
