#include "verify/sandbox_command.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "verify/seccomp_filter.h"

namespace setrl::verify {

namespace {

namespace fs = std::filesystem;

constexpr const char* kTemporaryBytes = "16777216";  // of the folder that programs may write to
constexpr int kNobody = 65534;

// The first executable file of this name on PATH, or "".
std::string on_path(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = folder + "/" + name;
    if (!folder.empty() && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

// The interpreter's real file: a link cannot be followed once only its target is visible.
std::string interpreter(const VerifySection& verify) {
  std::string python = verify.python;
  if (python == "auto") python = ::access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : on_path("python3");
  std::error_code failure;
  const fs::path real = fs::canonical(python, failure);
  if (failure || ::access(real.c_str(), X_OK) != 0) {
    throw_user_error("verify.python = {}: '{}' is no program that can be run; name a Python 3.10 or later",
                     verify.python, python);
  }
  return real.string();
}

void add(std::vector<std::string>& words, std::initializer_list<std::string> more) {
  words.insert(words.end(), more);
}

// A folder of the host's root: shown as it is, a folder or a link ("lib -> usr/lib").
void show_top(std::vector<std::string>& words, const std::string& path) {
  std::error_code failure;
  const fs::path target = fs::read_symlink(path, failure);
  if (!failure) {
    add(words, {"--symlink", target.string(), path});
  } else if (fs::is_directory(path, failure)) {
    add(words, {"--ro-bind", path, path});
  }
}

std::vector<std::string> bubblewrap(const std::string& python) {
  const std::string program = on_path("bwrap");
  if (program.empty()) throw_user_error("verify.sandbox = bubblewrap: there is no bwrap on PATH; install bubblewrap");
  std::vector<std::string> words;
  if (::geteuid() == 0) {
    // Not even outside of its namespaces should a sandbox belong to root; limits on processes do not hold for root.
    const std::string setpriv = on_path("setpriv");
    if (setpriv.empty()) throw_user_error("verify.sandbox = bubblewrap, started by root, needs setpriv (util-linux)");
    const std::string nobody = std::to_string(kNobody);
    add(words, {setpriv, "--reuid", nobody, "--regid", nobody, "--clear-groups", "--"});
  }
  add(words, {program, "--unshare-all", "--new-session", "--die-with-parent", "--cap-drop", "ALL", "--hostname",
              "sandbox", "--clearenv", "--seccomp", std::to_string(kFilterDescriptor)});
  for (const auto* folder : {"/usr/lib", "/usr/lib64"}) {
    if (fs::is_directory(folder)) add(words, {"--ro-bind", folder, folder});
  }
  for (const auto* folder : {"/lib", "/lib64"}) show_top(words, folder);
  const fs::path prefix = fs::path(python).parent_path().parent_path();
  if (prefix == "/usr") {
    add(words, {"--ro-bind", python, python});
  } else {
    add(words, {"--ro-bind", prefix.string(), prefix.string()});  // an own interpreter brings its library along
  }
  for (const auto* device : {"/dev/null", "/dev/zero", "/dev/urandom"}) add(words, {"--dev-bind", device, device});
  add(words, {"--size", kTemporaryBytes, "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"});
  return words;
}

}  // namespace

Launch make_launch(const VerifySection& verify, const std::string& script) {
  Launch launch;
  // Hash seed 0: the order of a set of strings, and with it a program's output, is the same in every run.
  const std::vector<std::string> settings = {"PATH=/usr/bin",    "HOME=/tmp",    "LANG=C.UTF-8",
                                             "PYTHONHASHSEED=0", "PYTHONUTF8=1", "PYTHONDONTWRITEBYTECODE=1"};
  std::string python;
  if (verify.sandbox == "command") {
    std::istringstream words(verify.command);
    for (std::string word; words >> word;) launch.words.push_back(word);
    if (launch.words.empty()) throw_user_error("verify.sandbox = command needs verify.command, which is empty");
    python = verify.python == "auto" ? "python3" : verify.python;
    add(launch.words, {"env"});
    launch.words.insert(launch.words.end(), settings.begin(), settings.end());
  } else if (verify.sandbox == "unsafe-none") {
    python = interpreter(verify);
    add(launch.words, {"/usr/bin/env", "-i", "-C", "/tmp"});
    launch.words.insert(launch.words.end(), settings.begin(), settings.end());
  } else {
    SETRL_CHECK(verify.sandbox == "bubblewrap", "verify.sandbox = {}", verify.sandbox);
    python = interpreter(verify);
    launch.words = bubblewrap(python);
    for (const auto& setting : settings) {
      const auto equals = setting.find('=');
      add(launch.words, {"--setenv", setting.substr(0, equals), setting.substr(equals + 1)});
    }
    add(launch.words, {"--"});
    launch.filter = outer_filter();
    launch.folder = "/tmp";
  }
  add(launch.words, {python, "-s", "-S", "-B", "-c", script});
  return launch;
}

}  // namespace setrl::verify
