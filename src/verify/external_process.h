// A child process that is spoken to over its standard input and output, without ever blocking on it.
#pragma once

#include <sys/types.h>

#include <string>

namespace setrl::verify {

// Owns the child (in a process group of its own) and both pipe ends; not movable. One thread at a time.
class ExternalProcess {
 public:
  explicit ExternalProcess(std::string command) : command_(std::move(command)) {}
  // Closes the child's input, gives it a fifth of a second to end, and kills its whole group.
  ~ExternalProcess();
  ExternalProcess(const ExternalProcess&) = delete;
  ExternalProcess& operator=(const ExternalProcess&) = delete;

  bool running() const { return pid_ > 0; }
  // Runs the command by /bin/sh; its standard error stays ours. The child is killed should this process die. Throws
  // UserError where no process can be made.
  void start();
  // Kills the group and reaps the child. Returns how the child had ended: "exit code 1", "signal 11", or "killed" where
  // it was still running. Does nothing where none runs.
  std::string stop();
  // The same, but waits a fifth of a second for it to end by itself: for a child that is about to.
  std::string stop_after_grace();

  int input() const { return input_; }    // write end of the child's standard input; non-blocking
  int output() const { return output_; }  // read end of its standard output; non-blocking

 private:
  void close_pipes();

  std::string command_;
  pid_t pid_ = -1;
  int input_ = -1;
  int output_ = -1;
};

}  // namespace setrl::verify
