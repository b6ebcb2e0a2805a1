#include "base/stack.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <fmt/format.h>
#include <semaphore.h>

#include <csignal>
#include <cstdlib>
#include <ctime>

namespace setrl {

namespace {

constexpr int kMostFrames = 48;

// What the handler writes and capture() reads, one at a time.
struct Captured {
  void* frames[kMostFrames];
  int count = 0;
  sem_t done;
};
Captured captured;

int probe_signal() {
  return SIGRTMIN + 4;
}

extern "C" void capture_here(int) {
  captured.count = backtrace(captured.frames, kMostFrames);
  sem_post(&captured.done);
}

void (*fatal_report)(const char*, void* const*, int) = nullptr;
constexpr int kFatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
constexpr const char* kFatalNames[] = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT"};
struct sigaction before[sizeof kFatal / sizeof *kFatal];

extern "C" void fatal(int number) {
  void* frames[kMostFrames];
  const int count = backtrace(frames, kMostFrames);
  for (std::size_t i = 0; i < sizeof kFatal / sizeof *kFatal; ++i) {
    if (kFatal[i] != number) continue;
    sigaction(number, &before[i], nullptr);
    fatal_report(kFatalNames[i], frames, count);
  }
  raise(number);
}

}  // namespace

std::vector<std::string> describe_frames(void* const* frames, int count) {
  std::vector<std::string> lines;
  for (int i = 0; i < count; ++i) {
    Dl_info info{};
    if (dladdr(frames[i], &info) == 0) {
      lines.push_back(fmt::format("{}", frames[i]));
      continue;
    }
    const char* file = info.dli_fname == nullptr ? "" : info.dli_fname;
    const std::string path = file;
    const std::string name = path.substr(path.rfind('/') + 1);
    if (info.dli_sname == nullptr) {
      const auto offset = static_cast<char*>(frames[i]) - static_cast<char*>(info.dli_fbase);
      lines.push_back(fmt::format("{} + {:#x}", name, offset));
      continue;
    }
    int status = 0;
    char* const plain = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
    lines.push_back(fmt::format("{} ({})", plain != nullptr ? plain : info.dli_sname, name));
    std::free(plain);
  }
  return lines;
}

StackProbe::StackProbe() : thread_(pthread_self()) {
  sem_init(&captured.done, 0, 0);
  // The first call loads a library, which must not happen in the handler.
  captured.count = backtrace(captured.frames, kMostFrames);
  struct sigaction action = {};
  action.sa_handler = capture_here;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(probe_signal(), &action, nullptr);
}

std::vector<std::string> StackProbe::capture(double seconds) const {
  while (sem_trywait(&captured.done) == 0) continue;  // of a capture that came too late
  if (pthread_kill(thread_, probe_signal()) != 0) return {};
  timespec until{};
  clock_gettime(CLOCK_REALTIME, &until);
  const auto ns = static_cast<std::int64_t>(seconds * 1e9) + until.tv_nsec;
  until.tv_sec += ns / 1'000'000'000;
  until.tv_nsec = ns % 1'000'000'000;
  if (sem_timedwait(&captured.done, &until) != 0) return {};
  // The handler and the kernel's frame above it say nothing.
  constexpr int kOwnFrames = 2;
  return describe_frames(captured.frames + kOwnFrames, captured.count - kOwnFrames);
}

void on_fatal_signal(void (*report)(const char*, void* const*, int)) {
  fatal_report = report;
  void* frame = nullptr;
  backtrace(&frame, 1);
  for (std::size_t i = 0; i < sizeof kFatal / sizeof *kFatal; ++i) {
    struct sigaction action = {};
    action.sa_handler = fatal;
    sigemptyset(&action.sa_mask);
    sigaction(kFatal[i], &action, &before[i]);
  }
}

}  // namespace setrl
