#include "verify/worker_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <tuple>

#include "base/clock.h"
#include "base/error.h"

namespace setrl::verify {

namespace {

constexpr std::size_t kHeaderBytes = 8;
constexpr std::size_t kMostMessageBytes = 1 << 24;
constexpr int kPollMilliseconds = 200;    // how often a late process is asked how it fares
constexpr double kStarvedFactor = 4;      // of the time allowed, waiting for a core included
constexpr int kFirstFreeDescriptor = 10;  // below it descriptors are set up for the new process
constexpr double kSendSeconds = 20;

[[noreturn]] void fail(const std::string& what) {
  throw SandboxFailure(what + ": " + std::strerror(errno));
}

// Descriptors above those that the new process gets, so that setting up one does not overwrite another.
int lifted(int descriptor) {
  if (descriptor < 0) fail("no more descriptors");
  const int high = ::fcntl(descriptor, F_DUPFD_CLOEXEC, kFirstFreeDescriptor);
  ::close(descriptor);
  if (high < 0) fail("no more descriptors");
  return high;
}

std::pair<int, int> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
  const int source = lifted(ends[0]);
  return {source, lifted(ends[1])};
}

void close_all(std::initializer_list<int*> descriptors) {
  for (int* descriptor : descriptors) {
    if (*descriptor >= 0) ::close(*descriptor);
    *descriptor = -1;
  }
}

std::string big_endian(std::size_t value) {
  std::string bytes(4, '\0');
  for (int i = 0; i < 4; ++i) bytes[static_cast<std::size_t>(i)] = static_cast<char>((value >> (24 - 8 * i)) & 0xff);
  return bytes;
}

std::size_t from_big_endian(const char* bytes) {
  std::size_t value = 0;
  for (int i = 0; i < 4; ++i) value = (value << 8) | static_cast<unsigned char>(bytes[i]);
  return value;
}

bool is_number(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// State and parent of a process or task; ("", 0) where it has gone.
std::pair<std::string, pid_t> stat_fields(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  const auto after_name = line.rfind(')');  // "pid (name) state parent ..."; the name may hold anything
  if (after_name == std::string::npos) return {"", 0};
  std::istringstream rest(line.substr(after_name + 1));
  std::string state;
  pid_t parent = 0;
  rest >> state >> parent;
  return {state, parent};
}

// Parent of every process of the host.
std::map<pid_t, pid_t> parents() {
  std::map<pid_t, pid_t> result;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", failure)) {
    const std::string name = entry.path().filename().string();
    if (!is_number(name)) continue;
    const pid_t parent = stat_fields(entry.path() / "stat").second;
    if (parent > 0) result[static_cast<pid_t>(std::stol(name))] = parent;
  }
  return result;
}

void add_tasks(pid_t process, TreeState& state) {
  std::error_code failure;
  const std::string folder = "/proc/" + std::to_string(process) + "/task";
  for (const auto& entry : std::filesystem::directory_iterator(folder, failure)) {
    std::ifstream file(entry.path() / "schedstat");
    double on_core = 0, waited = 0;  // nanoseconds
    if (file >> on_core >> waited) state.without_core_s = std::max(state.without_core_s, waited * 1e-9);
    const std::string letter = stat_fields(entry.path() / "stat").first;
    state.runs = state.runs || letter == "R" || letter == "D";
  }
}

}  // namespace

TreeState tree_state(pid_t root) {
  const auto parent_of = parents();
  std::map<pid_t, std::vector<pid_t>> children;
  for (const auto& [process, parent] : parent_of) children[parent].push_back(process);
  std::vector<pid_t> open = {root};
  TreeState state;
  while (!open.empty()) {
    const pid_t process = open.back();
    open.pop_back();
    const auto found = children.find(process);
    if (found == children.end()) {
      add_tasks(process, state);
    } else {
      open.insert(open.end(), found->second.begin(), found->second.end());
    }
  }
  return state;
}

WorkerProcess::WorkerProcess(const Launch& launch) {
  int theirs_request = -1, theirs_response = -1, theirs_result = -1, filter = -1;
  try {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    requests_ = lifted(ends[0]);
    theirs_request = lifted(ends[1]);
    std::tie(responses_, theirs_response) = make_pipe();
    std::tie(results_, theirs_result) = make_pipe();
    errors_ = lifted(::memfd_create("errors", MFD_CLOEXEC));
    ::fcntl(results_, F_SETFL, O_NONBLOCK);
    const timeval patience = {static_cast<time_t>(kSendSeconds), 0};
    ::setsockopt(requests_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (!launch.filter.empty()) {
      filter = lifted(::memfd_create("filter", MFD_CLOEXEC));
      const auto written = ::pwrite(filter, launch.filter.data(), launch.filter.size(), 0);
      if (written != static_cast<ssize_t>(launch.filter.size())) fail("memory file");
    }

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, theirs_request, 0);
    posix_spawn_file_actions_adddup2(&actions, theirs_response, 1);
    posix_spawn_file_actions_adddup2(&actions, errors_, 2);
    posix_spawn_file_actions_adddup2(&actions, theirs_result, kOutputDescriptor);
    if (filter >= 0) posix_spawn_file_actions_adddup2(&actions, filter, kFilterDescriptor);
    // Whatever this process has open (MPI's sockets, the run's files) stays outside.
    posix_spawn_file_actions_addclosefrom_np(&actions, filter >= 0 ? kFilterDescriptor + 1 : kFilterDescriptor);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);  // Ctrl-C reaches this process, which then ends the sandbox
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    std::vector<char*> words;
    for (const auto& word : launch.words) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    const int failure = ::posix_spawnp(&pid_, words[0], &actions, &attributes, words.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (failure != 0) {
      pid_ = -1;
      errno = failure;
      fail(launch.words[0]);
    }
    close_all({&theirs_request, &theirs_response, &theirs_result, &filter});
  } catch (...) {
    close_all(
        {&theirs_request, &theirs_response, &theirs_result, &filter, &requests_, &responses_, &results_, &errors_});
    throw;
  }
}

WorkerProcess::~WorkerProcess() {
  close_all({&requests_, &responses_, &results_});
  if (pid_ > 0) {
    // The group holds the launcher; what is inside the sandbox dies with the launcher (--die-with-parent), or, without
    // a sandbox, with its own parent (PR_SET_PDEATHSIG).
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  close_all({&errors_});
}

void WorkerProcess::send(const nlohmann::json& head, const std::string& body) {
  const std::string text = head.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  const std::string message = big_endian(text.size()) + big_endian(body.size()) + text + body;
  for (std::size_t at = 0; at < message.size();) {
    const auto sent = ::send(requests_, message.data() + at, message.size() - at, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) fail("the sandbox does not take a program" + complaints());
    at += static_cast<std::size_t>(sent);
  }
}

// False at the end of the stream.
bool WorkerProcess::read_message() {
  char buffer[65536];
  const auto count = ::read(responses_, buffer, sizeof buffer);
  if (count < 0) return errno == EINTR;
  incoming_.append(buffer, static_cast<std::size_t>(count));
  return count > 0;
}

void WorkerProcess::read_output(std::size_t cap) {
  char buffer[65536];
  for (;;) {
    const auto count = ::read(results_, buffer, sizeof buffer);
    if (count <= 0) return;
    const std::size_t kept = std::min(static_cast<std::size_t>(count), cap - std::min(cap, output.size()));
    output.append(buffer, kept);
    overflow = overflow || kept < static_cast<std::size_t>(count);
  }
}

WorkerProcess::Wait WorkerProcess::receive(double seconds, bool work_is_limited, std::size_t cap,
                                           nlohmann::json& head) {
  const Stopwatch clock;
  for (;;) {
    if (incoming_.size() >= kHeaderBytes) {
      const std::size_t head_bytes = from_big_endian(incoming_.data());
      const std::size_t total = kHeaderBytes + head_bytes + from_big_endian(incoming_.data() + 4);
      if (total > kMostMessageBytes) throw SandboxFailure("the sandbox wrote no message" + complaints());
      if (incoming_.size() >= total) {
        head = nlohmann::json::parse(incoming_.substr(kHeaderBytes, head_bytes), nullptr, false);
        incoming_.erase(0, total);
        if (head.is_discarded()) throw SandboxFailure("the sandbox wrote no message" + complaints());
        read_output(cap);  // the program's process has ended: what it wrote is all there
        return Wait::answered;
      }
    }
    const double elapsed = clock.seconds();
    if (elapsed > seconds) {
      const TreeState state = tree_state(pid_);
      if (elapsed - state.without_core_s > seconds && !(work_is_limited && state.runs)) return Wait::late;
      if (elapsed > kStarvedFactor * seconds) return Wait::starved;
    }
    pollfd sources[] = {{responses_, POLLIN, 0}, {results_, POLLIN, 0}};
    const double left = elapsed < seconds ? (seconds - elapsed) * 1000 + 1 : kPollMilliseconds;
    const int ready = ::poll(sources, 2, static_cast<int>(std::min<double>(left, 1e9)));
    if (ready < 0 && errno != EINTR) fail("poll");
    if (ready <= 0) continue;
    if ((sources[1].revents & POLLIN) != 0) read_output(cap);
    if ((sources[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !read_message()) {
      throw SandboxFailure("the sandbox ended" + complaints());
    }
    if (sources[0].revents == 0 && (sources[1].revents & POLLIN) == 0) {
      throw SandboxFailure("the sandbox ended" + complaints());  // descriptor 3 was closed by all that had it
    }
  }
}

std::string WorkerProcess::complaints() const {
  std::string text(2000, '\0');
  const auto count = errors_ < 0 ? 0 : ::pread(errors_, text.data(), text.size(), 0);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text.empty() ? "" : " (" + text + ")";
}

}  // namespace setrl::verify
