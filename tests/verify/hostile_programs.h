// Programs that try to get out of the sandbox; what a hostile program is.
#pragma once

#include <ostream>
#include <vector>

namespace setrl::verify {

// The number that a forging program would have to know is in its test only.
constexpr const char* kSecretTest = "assert answer() == 8675309";

struct HostileProgram {
  const char* name;
  // Empty: the program tries its attack and returns "contained" where it was denied (any other value: it was not). Else
  // it must not pass for kSecretTest, and this is part of the reason.
  const char* reason;
  const char* code;
};

inline void PrintTo(const HostileProgram& program, std::ostream* stream) {  // for GoogleTest
  *stream << program.name;
}

inline const std::vector<HostileProgram>& programs_that_break_out() {
  static const std::vector<HostileProgram> list = {
      // ---- processes ----------------------------------------------------------------------------------------------
      {"fork", "", R"py(
import os
def answer():
    try:
        return os.fork()
    except OSError:
        return "contained")py"},
      {"fork_bomb", "", R"py(
import os
def answer():
    born = 0
    for _ in range(2000):
        try:
            if os.fork() == 0:
                while True: os.fork()
            born += 1
        except OSError:
            pass
    return born or "contained")py"},
      {"double_fork_with_setsid", "", R"py(
import os
def answer():
    for act in (os.fork, os.setsid, os.fork, os.forkpty):
        try:
            act()
            return act.__name__
        except OSError:
            pass
    return "contained")py"},
      {"sleeping_children", "", R"py(
import subprocess, sys
def answer():
    try:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
        return "started"
    except OSError:
        return "contained")py"},
      {"vfork_by_number", "", R"py(
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def answer():
    # clone (SIGCHLD), fork, vfork, clone3, execve, execveat of x86-64: none may work.
    done = [number for number, a in ((56, 17), (57, 0), (58, 0), (435, 0), (59, 0), (322, 0))
            if libc.syscall(number, a, 0, 0, 0, 0) != -1]
    return done or "contained")py"},
      {"exec", "", R"py(
import os, sys
def answer():
    try:
        os.execv(sys.executable, [sys.executable, "-c", "print('assert')"])
    except OSError:
        return "contained")py"},
      {"multiprocessing", "", R"py(
import multiprocessing
def answer():
    try:
        multiprocessing.Process(target=print).start()
        return "started"
    except OSError:
        return "contained")py"},
      {"signal_to_the_parent", "", R"py(
import os, signal
def answer():
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, 0):
        try:
            os.kill(os.getppid(), number)
            return "sent"
        except OSError:
            pass
    return "contained")py"},
      {"signal_to_everybody", "", R"py(
import os, signal
def answer():
    for act in (lambda: os.kill(-1, 9), lambda: os.kill(1, 9), lambda: os.killpg(0, 9), lambda: os.kill(0, 9)):
        try:
            act()
            return "sent"
        except OSError:
            pass
    return "contained")py"},
      {"signal_by_descriptor", "", R"py(
import fcntl, os
def answer():
    # The kernel sends a signal of choice to the owner of a descriptor: it must not be possible to name another.
    source, sink = os.pipe()
    found = []
    for command, value in ((8, os.getppid()), (8, 1), (10, 9), (1024, 0), (1026, 1), (1031, 4096)):
        try:
            fcntl.fcntl(source, command, value)
            found.append(command)
        except OSError:
            pass
    try:
        fcntl.fcntl(source, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.write(sink, b"x")
    except OSError:
        pass
    return found or "contained")py"},
      {"stop_itself", "", R"py(
import os, signal
def answer():
    for act in (lambda: os.kill(os.getpid(), signal.SIGSTOP), lambda: signal.raise_signal(signal.SIGSTOP)):
        try:
            act()
        except OSError:
            pass
    return "contained")py"},
      {"slows_down_the_parent", "", R"py(
import os
def answer():
    found = []
    for name, act in (("nice", lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)),
                      ("affinity", lambda: os.sched_setaffinity(os.getppid(), [0])),
                      ("group", lambda: os.setpriority(os.PRIO_USER, 0, 19)),
                      ("scheduler", lambda: os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0)))):
        try:
            act()
            found.append(name)
        except OSError:
            pass
    return found or "contained")py"},
      {"limits_of_the_parent", "", R"py(
import os, resource
def answer():
    try:
        resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (4, 4))
        return "set"
    except OSError:
        return "contained")py"},
      {"raises_its_own_limits", "", R"py(
import resource
def answer():
    found = []
    for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_FSIZE"):
        try:
            resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            found.append(name)
        except (ValueError, OSError):
            pass
    return found or "contained")py"},
      {"ptrace", "", R"py(
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def answer():
    # PTRACE_TRACEME, PTRACE_ATTACH and PTRACE_SEIZE of the parent, the sandbox's first process and itself.
    done = [(request, process) for request in (0, 16, 0x4206) for process in (os.getppid(), 1, 0)
            if libc.ptrace(request, process, None, None) != -1]
    return done or "contained")py"},
      {"memory_of_the_parent", "", R"py(
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def answer():
    class Span(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    mine = ctypes.create_string_buffer(8)
    here = Span(ctypes.addressof(mine), 8)
    done = [act.__name__ for act in (libc.process_vm_readv, libc.process_vm_writev)
            if act(os.getppid(), ctypes.byref(here), 1, ctypes.byref(here), 1, 0) != -1]
    return done or "contained")py"},
      {"threads_without_end", "", R"py(
import threading, time
def answer():
    started = 0
    try:
        for _ in range(5000):
            threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
            started += 1
    except (RuntimeError, MemoryError):
        pass
    return "contained" if started < 100 else started)py"},
      {"thread_that_stays", "", R"py(
import threading
def spin():
    while True: pass
def answer():
    threading.Thread(target=spin).start()  # not a daemon: Python would wait for it at exit
    return "contained")py"},
      // ---- files ----------------------------------------------------------------------------------------------------
      {"writes_outside_its_folder", "", R"py(
import os
def answer():
    found = []
    for folder in ("/", "/usr", "/usr/lib", "/lib", "/dev", "/etc", "/root", "/home", "/var/tmp", "/dev/shm"):
        try:
            with open(folder + "/setrl-hostile", "w") as file:
                file.write("x")
            found.append(folder)
        except OSError:
            pass
    return found or "contained")py"},
      {"reads_the_home_directory", "", R"py(
import os
def answer():
    found = [path for path in ("/root", "/home", "/etc/passwd", "/etc/shadow", "/var", "/work", "/mnt", "/srv", "/opt",
                               "/run", "/sys", "/boot") if os.path.exists(path)]
    return found or "contained")py"},
      {"reads_the_environment", "", R"py(
import os
def answer():
    odd = sorted(set(os.environ) - {"PATH", "HOME", "LANG", "LC_CTYPE", "PWD", "PYTHONHASHSEED", "PYTHONUTF8",
                                    "PYTHONDONTWRITEBYTECODE"})
    return odd or "contained")py"},
      {"proc", "", R"py(
import os
def answer():
    found = [path for path in ("/proc", "/proc/self/mem", "/proc/1/root/etc/passwd", "/proc/self/fd/1", "/dev/fd/1",
                               "/dev/stdout", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger")
             if os.path.exists(path)]
    return found or "contained")py"},
      {"symlinks", "", R"py(
import os
def answer():
    found = []
    for target in ("/etc/passwd", "/root", "../etc/passwd", "/proc/1/root"):
        os.symlink(target, "link")
        try:
            os.stat("link")
            found.append(target)
        except OSError:
            pass
        os.unlink("link")
    return found or "contained")py"},
      {"hard_links", "", R"py(
import os
def answer():
    try:
        os.link(os.__file__, "/tmp/os.py")
        return "linked"
    except OSError:
        return "contained")py"},
      {"changes_the_library", "", R"py(
import os
def answer():
    found = []
    for act in (lambda: os.chmod(os.__file__, 0o777), lambda: open(os.__file__, "a"), lambda: os.unlink(os.__file__),
                lambda: os.rename(os.__file__, "/tmp/os.py"), lambda: os.truncate(os.__file__, 0)):
        try:
            act()
            found.append("changed")
        except OSError:
            pass
    return found or "contained")py"},
      {"deletes_its_own_sandbox", "", R"py(
import os, shutil
def answer():
    for folder in (os.path.dirname(os.__file__) + "/json", "/dev", "/tmp"):
        shutil.rmtree(folder, ignore_errors=True)
    for path in ("/tmp", "/usr", "/"):
        try:
            os.rmdir(path)
        except OSError:
            pass
    return "contained" if os.path.exists(os.path.dirname(os.__file__) + "/json/decoder.py") else "gone")py"},
      {"locks_its_folder", "", R"py(
import os
def answer():
    os.chmod("/tmp", 0)  # its own; the next program must not be hurt
    return "contained")py"},
      {"leaves_files_behind", "", R"py(
import os
def answer():
    for i in range(100):
        os.makedirs(f"/tmp/a/{i}/b")
        open(f"/tmp/a/{i}/b/c", "w").write("sitecustomize")
    open("/tmp/json.py", "w").write("raise SystemExit")
    return "contained")py"},
      {"fills_the_disk", "", R"py(
def answer():
    written = 0
    try:
        for i in range(1000):
            with open(f"/tmp/{i}", "wb") as file:
                for _ in range(4):
                    written += file.write(bytes(1 << 20))
    except OSError:
        pass
    return "contained" if written <= 16 << 20 else written)py"},
      {"one_big_file", "", R"py(
def answer():
    try:
        with open("/tmp/big", "wb") as file:
            for _ in range(100): file.write(bytes(1 << 20)); file.flush()
        return "written"
    except OSError:
        return "contained")py"},
      {"sparse_file", "", R"py(
import os
def answer():
    try:
        os.truncate(os.open("/tmp/sparse", os.O_CREAT | os.O_WRONLY), 1 << 40)
        return "made"
    except OSError:
        return "contained")py"},
      {"devices", "", R"py(
import os
def answer():
    found = sorted(set(os.listdir("/dev")) - {"null", "zero", "urandom"})
    try:
        os.mknod("/tmp/mem", 0o20666, os.makedev(1, 1))
        found.append("mknod")
    except OSError:
        pass
    return found or "contained")py"},
      // ---- kernel
      // -------------------------------------------------------------------------------------------------------
      {"network", "", R"py(
import socket
def answer():
    found = []
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                socket.socket(family, kind)
                found.append((int(family), int(kind)))
            except OSError:
                pass
    try:
        socket.socketpair()
        found.append("pair")
    except OSError:
        pass
    return found or "contained")py"},
      {"downloads", "", R"py(
import urllib.request
def answer():
    try:
        return urllib.request.urlopen("http://127.0.0.1:80/", timeout=1).status
    except OSError:
        return "contained")py"},
      {"mounts_and_namespaces", "", R"py(
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def answer():
    done = []
    for flag in (0x00020000, 0x10000000, 0x20000000, 0x40000000):  # CLONE_NEWNS, NEWUSER, NEWPID, NEWNET
        if libc.unshare(flag) != -1: done.append(flag)
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) != -1: done.append("mount")
    if libc.umount2(b"/usr/lib", 2) != -1: done.append("umount")
    if libc.chroot(b"/tmp") != -1: done.append("chroot")
    if libc.setns(0, 0) != -1: done.append("setns")
    return done or "contained")py"},
      {"changes_its_filter", "", R"py(
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def answer():
    # prctl: PR_SET_SECCOMP, PR_SET_DUMPABLE, PR_SET_PDEATHSIG 0, PR_SET_CHILD_SUBREAPER; seccomp(2).
    done = [option for option, value in ((22, 2), (4, 1), (1, 0), (36, 1)) if libc.prctl(option, value, 0, 0, 0) != -1]
    if libc.syscall(317, 1, 0, 0) != -1: done.append("seccomp")
    return done or "contained")py"},
      {"rare_system_calls", "", R"py(
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def answer():
    # rt_sigqueueinfo, tkill, tgkill, keyctl, add_key, perf_event_open, bpf, userfaultfd, io_uring_setup, memfd_create, shmget, msgget, semget, mq_open,
    # personality, kcmp, open_by_handle_at, pidfd_open, pidfd_getfd, init_module, kexec_load, iopl (x86-64).
    numbers = (129, 200, 234, 250, 248, 298, 321, 323, 425, 319, 29, 68, 64, 240, 135, 312, 304, 434, 438, 175, 246, 172)
    # Refused as such (EPERM), not for its arguments.
    done = [number for number in numbers if libc.syscall(number, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1]
    return done or "contained")py"},
      {"privileges", "", R"py(
import os
def answer():
    found = []
    for act in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.setresuid(0, 0, 0)):
        try:
            act()
            found.append("changed")
        except OSError:
            pass
    return found or "contained")py"},
      {"descriptors_of_others", "", R"py(
import os
def answer():
    known = {0, 1, 2, 3}  # nothing, nothing, nothing, its own results
    found = []
    for fd in range(0, 4096):
        try:
            os.fstat(fd)
            if fd not in known: found.append(fd)
        except OSError:
            pass
    return found or "contained")py"},
      {"reads_the_next_request", "", R"py(
import os, sys
def answer():
    return (os.read(0, 1000) or sys.stdin.read()) or "contained")py"},
  };
  return list;
}

}  // namespace setrl::verify
