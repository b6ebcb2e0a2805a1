#include "comm/mpi_session.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "base/clock.h"
#include "base/error.h"
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

// A question is a number; an answer repeats it and lists, a line each, the operations that the rank waits in:
// path, tab, collective number, tab, text.
void Session::answer_questions() {
  for (;;) {
    int found = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    check_mpi(MPI_Improbe(MPI_ANY_SOURCE, kQuestionTag, watch_.get(), &found, &message, &status), "MPI_Improbe");
    if (found == 0) return;
    std::string answer = take_text(message, status) + "\n";
    for (const Operation* operation : waiting_) {
      answer += fmt::format("{}\t{}\t{}\n", operation->path, operation->number, operation->text);
    }
    post(to_bytes(answer), status.MPI_SOURCE, kAnswerTag, watch_.get());
  }
}

void Session::give_up(const Operation& operation, double waited_s) {
  constexpr double kGraceSeconds = 1.0;
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
    bool is_here = other == me && operation.number != 0;
    std::string doing;
    const auto answer = answers.find(other);
    std::istringstream lines(answer == answers.end() ? "" : answer->second);
    for (std::string path, number, text;
         std::getline(lines, path, '\t') && std::getline(lines, number, '\t') && std::getline(lines, text);) {
      if (operation.number != 0 && path == operation.path && std::stoull(number) >= operation.number) is_here = true;
      doing += (doing.empty() ? "" : " and ") + text;
    }
    if (other == me && !is_here) continue;
    if (is_here) {
      arrived += fmt::format("{}{}", arrived.empty() ? "" : ", ", operation.partners[i]);
      continue;
    }
    missing += fmt::format("{}rank {} ({})", missing.empty() ? "" : ", ", operation.partners[i],
                           !doing.empty() ? "waits in " + doing : "busy outside communication, or dead");
  }
  throw BugError(fmt::format("{} waited longer than {} s; missing: {}{}", operation.text, waited_s,
                             missing.empty() ? "nobody, the transfer itself hangs" : missing,
                             arrived.empty() ? "" : "; arrived: " + arrived));
}

}  // namespace setrl::comm
