#include "verify/external_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"

namespace setrl::verify {

namespace {

constexpr double kGraceSeconds = 0.2;  // from the end of its input to the kill

struct Pipe {
  int read = -1, write = -1;
};

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw_user_error("verify.external: no pipe can be made ({})", std::strerror(errno));
  return {ends[0], ends[1]};
}

void set_non_blocking(int descriptor) {
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}

// Between fork and exec: only calls that are safe in the child of a process with threads.
[[noreturn]] void become(const char* command, int input, int output) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::execl("/bin/sh", "sh", "-c", command, static_cast<char*>(nullptr));
  ::_exit(127);
}

}  // namespace

ExternalProcess::~ExternalProcess() {
  if (!running()) return;
  ::close(input_);
  input_ = -1;
  stop_after_grace();
}

std::string ExternalProcess::stop_after_grace() {
  const Deadline deadline(kGraceSeconds);
  siginfo_t info = {};
  while (running() && !deadline.passed() &&
         ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0) {
    ::usleep(2000);
  }
  return stop();
}

void ExternalProcess::start() {
  SETRL_CHECK(!running(), "the external verifier runs already");
  // A child that ended must show as a failed write, not end this process.
  ::signal(SIGPIPE, SIG_IGN);
  const Pipe to_child = make_pipe(), from_child = make_pipe();
  pid_ = ::fork();
  if (pid_ == 0) become(command_.c_str(), to_child.read, from_child.write);
  const int problem = errno;
  ::close(to_child.read);
  ::close(from_child.write);
  input_ = to_child.write;
  output_ = from_child.read;
  if (pid_ < 0) {
    close_pipes();
    throw_user_error("verify.external: no process can be made ({})", std::strerror(problem));
  }
  ::setpgid(pid_, pid_);  // here as well: whoever comes first
  set_non_blocking(input_);
  set_non_blocking(output_);
}

std::string ExternalProcess::stop() {
  if (!running()) return "";
  siginfo_t info = {};
  ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  const bool had_ended = info.si_pid != 0;
  ::kill(-pid_, SIGKILL);  // also what the child itself started
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  close_pipes();
  if (!had_ended) return "killed";
  return WIFEXITED(status) ? fmt::format("exit code {}", WEXITSTATUS(status))
                           : fmt::format("signal {}", WTERMSIG(status));
}

void ExternalProcess::close_pipes() {
  if (input_ >= 0) ::close(input_);
  if (output_ >= 0) ::close(output_);
  input_ = output_ = -1;
}

}  // namespace setrl::verify
