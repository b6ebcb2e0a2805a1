// A Python process in a sandbox, seen from outside: its pipes, its end, and how long it had to wait for a core.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "verify/sandbox_command.h"

namespace setrl::verify {

// The sandbox itself did not work: says nothing about the program that was to run in it. What happened is the message.
class SandboxFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// How the processes at the leaves of the tree below `root` fare: the launcher's child is the program.
struct TreeState {
  double without_core_s = 0;  // longest run_delay of a task: ready to run, but without a core; 0 where not counted
  bool runs = false;          // a task runs, waits for a core or for a page: it is at work
};
TreeState tree_state(pid_t root);

// Owns the process and all processes below it. The thread that made it must live as long: bubblewrap ends its sandbox
// when the thread that started it ends. One thread at a time.
class WorkerProcess {
 public:
  // Starts `launch`; throws SandboxFailure where that fails. The process may fail later: receive says so.
  explicit WorkerProcess(const Launch& launch);
  ~WorkerProcess();  // kills the whole tree and waits for it
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // Throws SandboxFailure where the process does not take the message.
  void send(const nlohmann::json& head, const std::string& body = {});

  enum class Wait { answered, late, starved };
  // Waits for one message. `late`: it did not come within `seconds`, time without a core left out, and, where another
  // limit (on CPU time) ends work, the process is not at work either. `starved`: nor within four times as much, waiting
  // for cores included. Throws SandboxFailure where the process ended or wrote
  // something else. What comes on descriptor 3 meanwhile is appended to `output`, `cap` bytes at most (the rest is read
  // and dropped, and `overflow` set).
  Wait receive(double seconds, bool work_is_limited, std::size_t cap, nlohmann::json& head);

  std::string output;
  bool overflow = false;

  std::string complaints() const;  // what the process and its launcher wrote to standard error, shortened

 private:
  bool read_message();
  void read_output(std::size_t cap);

  pid_t pid_ = -1;
  int requests_ = -1;   // socket
  int responses_ = -1;  // pipe
  int results_ = -1;    // pipe of descriptor 3
  int errors_ = -1;     // memory file behind standard error
  std::string incoming_;
};

}  // namespace setrl::verify
