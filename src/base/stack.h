// The call stack of another thread of this process, for reports about ranks that do not answer.
#pragma once

#include <pthread.h>

#include <string>
#include <vector>

namespace setrl {

// "function + offset" of each frame, innermost first; names need a program that exports its symbols.
std::vector<std::string> describe_frames(void* const* frames, int count);

// Watches the thread that makes it. One a process.
class StackProbe {
 public:
  StackProbe();

  // From any other thread: interrupts the watched one for a moment. Empty where it does not react within `seconds`
  // (stopped, or inside of the kernel).
  std::vector<std::string> capture(double seconds) const;

 private:
  pthread_t thread_;
};

// SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT: `report` gets a name and the stack, then the signal takes its course.
// The process is damaged: `report` does as little as it can. Once a process, after libraries have installed their
// handlers.
void on_fatal_signal(void (*report)(const char* signal_name, void* const* frames, int count));

}  // namespace setrl
