#include "comm/mpi_session.h"

#include <csignal>

#include <algorithm>
#include <chrono>
#include <map>
#include <sstream>

#include "base/clock.h"
#include "base/error.h"
#include "comm/failure.h"
#include "comm/mpi_datatype.h"

namespace setrl::comm {

namespace {

constexpr int kQuestionTag = 1;
constexpr int kAnswerTag = 2;

std::vector<std::uint8_t> to_bytes(const std::string& text) {
  return {text.begin(), text.end()};
}

// Takes a message that a probe has seen: it is complete or about to be, small, and nobody else takes it.
std::string take_text(MPI_Message message, const MPI_Status& probed) {
  int count = 0;
  check_mpi(MPI_Get_count(&probed, MPI_BYTE, &count), "MPI_Get_count");
  std::string text(static_cast<std::size_t>(count), '\0');
  check_mpi(MPI_Mrecv(text.data(), count, MPI_BYTE, &message, MPI_STATUS_IGNORE), "MPI_Mrecv");
  return text;
}

}  // namespace

void check_mpi(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw BugError(fmt::format("{} failed: {}", what, text));
}

OwnedComm& OwnedComm::operator=(OwnedComm&& other) noexcept {
  if (this != &other) {
    reset();
    comm_ = other.release();
  }
  return *this;
}

MPI_Comm OwnedComm::release() {
  return std::exchange(comm_, MPI_COMM_NULL);
}

void OwnedComm::reset() {
  if (comm_ != MPI_COMM_NULL) MPI_Comm_free(&comm_);
  comm_ = MPI_COMM_NULL;
}

Session::Session(double deadline, OwnedComm watch) : deadline_s(deadline), watch_(std::move(watch)) {}

void Session::wait(const std::function<Operation()>& describe, Backoff::Pace pace, const std::function<bool()>& poll) {
  Backoff backoff(pace);
  while (!backoff.asleep()) {
    {
      const std::lock_guard lock(mutex);
      SETRL_CHECK(alive, "{} after MPI was finalised", describe().text);
      if (poll()) return;
    }
    backoff.pause();
  }
  // A long wait: from here on others may ask what this rank is doing.
  const Operation operation = describe();
  const Deadline deadline(deadline_s);
  struct Listed {
    Session& session;
    const Operation* operation;
    ~Listed() {
      const std::lock_guard lock(session.mutex);
      auto& list = session.waiting_;
      list.erase(std::find(list.begin(), list.end(), operation));
    }
  };
  {
    const std::lock_guard lock(mutex);
    waiting_.push_back(&operation);
  }
  const Listed listed{*this, &operation};
  for (;;) {
    {
      const std::lock_guard lock(mutex);
      if (poll()) return;
      if (!reap()) backoff.hurry();
      answer_questions();
    }
    if (deadline.passed()) give_up(operation, deadline.limit());
    backoff.pause();
  }
}

void Session::post(std::vector<std::uint8_t> bytes, int destination, int tag, MPI_Comm comm) {
  sends_.emplace_back();
  Sending& sending = sends_.back();
  sending.bytes = std::move(bytes);
  const WideBytes wide(sending.bytes.size(), limits.piece_bytes);
  const int code = MPI_Isend(sending.bytes.data(), wide.count(), wide.type(), destination, tag, comm, &sending.request);
  if (code != MPI_SUCCESS) sends_.pop_back();
  check_mpi(code, "MPI_Isend");
  reap();
}

bool Session::reap() {
  for (auto sending = sends_.begin(); sending != sends_.end();) {
    int done = 0;
    check_mpi(MPI_Test(&sending->request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    sending = done != 0 ? sends_.erase(sending) : std::next(sending);
  }
  return sends_.empty();
}

void Session::drain() {
  wait(
      [] {
        return Operation{"", "delivery of the last sends", 0, {}, {}};
      },
      Backoff::Pace::idle, [this] { return reap(); });
}

void Session::close() {
  const std::lock_guard lock(mutex);
  alive = false;
  watch_.reset();
}

void Session::abandon() {
  const std::lock_guard lock(mutex);
  alive = false;
  watch_.release();
}

void Session::post_sentry() {
  const StackProbe probe;
  sentry_ = std::thread([this, probe] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are the working thread's
    std::unique_lock lock(mutex);
    while (!sentry_called_off_.wait_for(lock, std::chrono::milliseconds(500), [this] { return off_duty_; })) {
      try {
        if (alive) answer_questions(&probe);
      } catch (const BugError&) {
        return;  // the working thread meets the same error
      }
    }
  });
}

void Session::dismiss_sentry() {
  if (!sentry_.joinable()) return;
  {
    const std::lock_guard lock(mutex);
    off_duty_ = true;
  }
  sentry_called_off_.notify_all();
  sentry_.join();
}

// A question is a number; an answer repeats it. Then come lines: P, the rank's place; W, for each operation that it
// waits in: path, tab, collective number, tab, text; or S, frames of its stack where it waits in none.
void Session::answer_questions(const StackProbe* probe) {
  for (;;) {
    int found = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    check_mpi(MPI_Improbe(MPI_ANY_SOURCE, kQuestionTag, watch_.get(), &found, &message, &status), "MPI_Improbe");
    if (found == 0) return;
    std::string answer = take_text(message, status) + "\nP" + current_place() + "\n";
    for (const Operation* operation : waiting_) {
      answer += fmt::format("W{}\t{}\t{}\n", operation->path, operation->number, operation->text);
    }
    if (waiting_.empty() && probe != nullptr) {
      for (const auto& frame : probe->capture(0.3)) answer += "S" + frame + "\n";
    }
    post(to_bytes(answer), status.MPI_SOURCE, kAnswerTag, watch_.get());
  }
}

namespace {

// What another rank said it is doing.
struct Answer {
  std::string place, waits;  // waits: "barrier #1 of 'world' and ...", or empty
  std::string stack;
  bool in_collective = false;  // the one asked about, or a later one of its communicator
};

Answer parse_answer(const std::string& text, const Operation& operation) {
  Answer answer;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    const char kind = line.front();
    line.erase(0, 1);
    if (kind == 'P') answer.place = line;
    if (kind == 'S') answer.stack += "\n      " + line;
    if (kind != 'W') continue;
    std::istringstream parts(line);
    std::string path, number, what;
    if (!std::getline(parts, path, '\t') || !std::getline(parts, number, '\t') || !std::getline(parts, what)) continue;
    if (operation.number != 0 && path == operation.path && std::stoull(number) >= operation.number) {
      answer.in_collective = true;
    }
    answer.waits += (answer.waits.empty() ? "" : " and ") + what;
  }
  return answer;
}

}  // namespace

void Session::give_up(const Operation& operation, double waited_s) {
  constexpr double kGraceSeconds = 2.0;  // a sentry looks twice a second, and takes a moment for the stack
  const std::string question = std::to_string(++questions_);
  std::map<int, std::string> answers;  // by world rank, without the question's number
  std::size_t asked = 0;
  int me = 0;
  {
    const std::lock_guard lock(mutex);
    check_mpi(MPI_Comm_rank(watch_.get(), &me), "MPI_Comm_rank");
    for (const int other : operation.world_ranks) {
      if (other == me) continue;
      post(to_bytes(question), other, kQuestionTag, watch_.get());
      ++asked;
    }
  }
  const Deadline grace(kGraceSeconds);
  Backoff backoff(Backoff::Pace::idle);
  while (answers.size() < asked && !grace.passed()) {
    backoff.pause();
    const std::lock_guard lock(mutex);
    answer_questions();
    int found = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    check_mpi(MPI_Improbe(MPI_ANY_SOURCE, kAnswerTag, watch_.get(), &found, &message, &status), "MPI_Improbe");
    if (found == 0) continue;
    const std::string text = take_text(message, status);
    if (text.substr(0, text.find('\n')) != question) continue;  // the answer to an earlier question, too late
    answers[status.MPI_SOURCE] = text.substr(text.find('\n') + 1);
  }

  std::string arrived, missing;
  for (std::size_t i = 0; i < operation.partners.size(); ++i) {
    const int other = operation.world_ranks[i];
    if (other == me && operation.number == 0) continue;
    const auto found = answers.find(other);
    const Answer answer = parse_answer(found == answers.end() ? "" : found->second, operation);
    if (other == me || answer.in_collective) {
      arrived += fmt::format("{}{}", arrived.empty() ? "" : ", ", operation.partners[i]);
      continue;
    }
    const std::string doing = !answer.waits.empty()    ? "waits in " + answer.waits
                              : found != answers.end() ? "busy outside communication"
                                                       : "busy outside communication, or dead";
    missing += fmt::format("{}rank {} ({})", missing.empty() ? "" : ", ", operation.partners[i], doing);
    const auto index = static_cast<std::size_t>(other);
    if (index < hosts.size()) missing += " on host " + hosts[index];
    if (!answer.place.empty()) missing += " [" + answer.place + "]";
    if (!answer.stack.empty()) missing += ", its stack:" + answer.stack + "\n   ";
  }
  throw BugError(fmt::format("{} waited longer than {} s; missing: {}{}", operation.text, waited_s,
                             missing.empty() ? "nobody, the transfer itself hangs" : missing,
                             arrived.empty() ? "" : "; arrived: " + arrived));
}

}  // namespace setrl::comm
