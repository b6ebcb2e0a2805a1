#include "verify/seccomp_filter.h"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "base/error.h"

namespace setrl::verify {

namespace {

// What a Python program needs that computes, and reads and writes files.
constexpr const char* kProgramCalls[] = {"access",
                                         "alarm",
                                         "arch_prctl",
                                         "brk",
                                         "chdir",
                                         "chmod",
                                         "clock_getres",
                                         "clock_gettime",
                                         "clock_nanosleep",
                                         "close",
                                         "close_range",
                                         "creat",
                                         "dup",
                                         "dup2",
                                         "dup3",
                                         "epoll_create1",
                                         "epoll_ctl",
                                         "epoll_pwait",
                                         "epoll_wait",
                                         "eventfd2",
                                         "exit",
                                         "exit_group",
                                         "faccessat",
                                         "fchdir",
                                         "fchmod",
                                         "fchmodat",
                                         "fdatasync",
                                         "flock",
                                         "fstat",
                                         "fstatfs",
                                         "fsync",
                                         "ftruncate",
                                         "futex",
                                         "getcpu",
                                         "getcwd",
                                         "getdents",
                                         "getdents64",
                                         "getegid",
                                         "geteuid",
                                         "getgid",
                                         "getgroups",
                                         "getitimer",
                                         "getpgid",
                                         "getpgrp",
                                         "getpid",
                                         "getppid",
                                         "getpriority",
                                         "getrandom",
                                         "getresgid",
                                         "getresuid",
                                         "getrlimit",
                                         "getrusage",
                                         "getsid",
                                         "gettid",
                                         "gettimeofday",
                                         "getuid",
                                         "link",
                                         "linkat",
                                         "lseek",
                                         "lstat",
                                         "madvise",
                                         "membarrier",
                                         "mincore",
                                         "mkdir",
                                         "mkdirat",
                                         "mmap",
                                         "mprotect",
                                         "mremap",
                                         "msync",
                                         "munmap",
                                         "nanosleep",
                                         "newfstatat",
                                         "open",
                                         "openat",
                                         "pause",
                                         "pipe",
                                         "pipe2",
                                         "poll",
                                         "ppoll",
                                         "pread64",
                                         "preadv",
                                         "pselect6",
                                         "pwrite64",
                                         "pwritev",
                                         "read",
                                         "readlink",
                                         "readlinkat",
                                         "readv",
                                         "rename",
                                         "renameat",
                                         "renameat2",
                                         "restart_syscall",
                                         "rmdir",
                                         "rseq",
                                         "rt_sigaction",
                                         "rt_sigpending",
                                         "rt_sigprocmask",
                                         "rt_sigreturn",
                                         "rt_sigsuspend",
                                         "rt_sigtimedwait",
                                         "sched_getaffinity",
                                         "sched_getparam",
                                         "sched_getscheduler",
                                         "sched_yield",
                                         "select",
                                         "set_robust_list",
                                         "set_tid_address",
                                         "setitimer",
                                         "sigaltstack",
                                         "stat",
                                         "statfs",
                                         "statx",
                                         "symlink",
                                         "symlinkat",
                                         "sysinfo",
                                         "time",
                                         "times",
                                         "truncate",
                                         "umask",
                                         "uname",
                                         "unlink",
                                         "unlinkat",
                                         "utimensat",
                                         "wait4",
                                         "waitid",
                                         "write",
                                         "writev"};

// What the processes around it need on top: to fork, to put limits in place, and to start Python in the first place.
constexpr const char* kServerCalls[] = {"execve",  "fork",      "kill",   "prctl",  "prlimit64",
                                        "seccomp", "setrlimit", "setsid", "tgkill", "vfork"};

// Newer calls for which the C library has a fallback where they do not exist.
constexpr const char* kUnknownCalls[] = {"clone3", "openat2", "faccessat2", "fchmodat2", "epoll_pwait2", "futex_waitv"};

constexpr unsigned long kNewNamespace =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
constexpr unsigned long kTerminalRequests[] = {0x5401 /* TCGETS */,   0x5413 /* TIOCGWINSZ */, 0x5451 /* FIOCLEX */,
                                               0x5450 /* FIONCLEX */, 0x541B /* FIONREAD */,   0x5421 /* FIONBIO */};

// Commands of fcntl but for those that make the kernel send signals to others (F_SETOWN, F_SETSIG, leases,
// notification) or change a pipe that outlives the program (F_SETPIPE_SZ).
constexpr int kFileCommands[] = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL,
                                 F_SETFL, F_GETLK,         F_SETLK, F_SETLKW};

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release) {
    SETRL_CHECK(context_ != nullptr, "libseccomp: no memory");
  }

  void allow(const char* name, const std::vector<scmp_arg_cmp>& arguments = {}) {
    add(SCMP_ACT_ALLOW, name, arguments);
  }
  void unknown(const char* name) { add(SCMP_ACT_ERRNO(ENOSYS), name, {}); }

  std::string program() const {
    const int file = ::memfd_create("seccomp", MFD_CLOEXEC);
    SETRL_CHECK(file >= 0, "memfd_create: errno {}", errno);
    std::string bytes;
    const int failure = seccomp_export_bpf(context_.get(), file);
    if (failure == 0) {
      bytes.resize(static_cast<std::size_t>(::lseek(file, 0, SEEK_END)));
      const auto read = ::pread(file, bytes.data(), bytes.size(), 0);
      if (read != static_cast<ssize_t>(bytes.size())) bytes.clear();
    }
    ::close(file);
    SETRL_CHECK(!bytes.empty(), "libseccomp: the filter cannot be compiled ({})", failure);
    return bytes;
  }

 private:
  void add(std::uint32_t action, const char* name, const std::vector<scmp_arg_cmp>& arguments) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) return;  // not known to this libseccomp: stays forbidden
    const int failure = seccomp_rule_add_array(context_.get(), action, number, static_cast<unsigned>(arguments.size()),
                                               arguments.data());
    // EDOM: the call does not exist on this architecture.
    SETRL_CHECK(failure == 0 || failure == -EDOM, "libseccomp: rule for {}: {}", name, failure);
  }

  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
};

void allow_common(Filter& filter) {
  for (const auto* name : kProgramCalls) filter.allow(name);
  for (const auto* name : kUnknownCalls) filter.unknown(name);
  for (const auto request : kTerminalRequests) {
    filter.allow("ioctl", {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xFFFFFFFFUL, request)});
  }
  for (const auto command : kFileCommands) {
    filter.allow("fcntl", {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xFFFFFFFFUL, static_cast<unsigned long>(command))});
  }
}

}  // namespace

std::string outer_filter() {
  Filter filter;
  allow_common(filter);
  for (const auto* name : kServerCalls) filter.allow(name);
  filter.allow("clone", {SCMP_A0(SCMP_CMP_MASKED_EQ, kNewNamespace, 0)});
  return filter.program();
}

std::string inner_filter() {
  Filter filter;
  allow_common(filter);
  filter.allow("clone", {SCMP_A0(SCMP_CMP_MASKED_EQ, kNewNamespace | CLONE_THREAD, CLONE_THREAD)});
  filter.allow("prlimit64", {SCMP_A0(SCMP_CMP_EQ, 0)});  // its own limits, which it cannot raise
  return filter.program();
}

}  // namespace setrl::verify
