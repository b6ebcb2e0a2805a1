#include "roles/station.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/memory.h"
#include "base/system.h"
#include "comm/failure.h"
#include "learn/advantage.h"
#include "roles/signals.h"

namespace setrl::roles {

namespace {

constexpr int kRoot = 0;

}  // namespace

Station::Station(const Session& session, RolloutRole* rollout, VerifierRole* verifier, LearnerRole* learner,
                 std::int64_t first_step, std::int64_t last_step, std::vector<Group> restored)
    : session_(session),
      rollout_(rollout),
      verifier_(verifier),
      learner_(learner),
      followers_(session.plan.followers_of(session.world.rank())),
      follows_(session.plan.follows(session.world.rank())),
      mail_(session.world),
      restored_(std::move(restored)) {
  if (rollout == nullptr || session.plan.rollout_ranks.front() != mail_.rank()) return;
  const RunConfig& config = session.config;
  Dispenser::Plan plan;
  plan.first_step = first_step;
  plan.last_step = last_step;
  plan.prompts_per_step = config.task.prompts_per_step;
  plan.replacement_rounds = config.rollout.replacement_rounds;
  plan.max_staleness = session.max_staleness();
  plan.samples = config.rollout.group_size;
  plan.rollout_ranks = session.plan.leads();
  dispenser_ =
      std::make_unique<Dispenser>(plan, [this](std::int64_t step, int round, std::int64_t first_index, int count) {
        return items_of_round(step, round, first_index, count);
      });
}

// A restored group stands for an item of its place if it is of the same problem: which ones replace groups without
// signal depends on how many there were.
std::vector<WorkItem> Station::items_of_round(std::int64_t step, int round, std::int64_t first_index, int count) {
  auto items = training_items(session_, step, round, first_index, count);
  for (auto& item : items) {
    const Group* group = restored_.find(step, item.index);
    if (group == nullptr) continue;
    const bool fits =
        group->problem.id == session_.task->problem(training_order(session_, step).split, item.problem).id;
    if (fits && stage_of(*group) == Stage::begun) continue;  // goes with its item
    auto taken = restored_.take(step, item.index);
    if (!fits) continue;
    item.generated = true;
    generated_.push_back(std::move(*taken));
  }
  return items;
}

void Station::turn() {
  session_.store->check();
  if (learner_ == nullptr && !stop_told_ && signal_received()) {
    mail_.send(kRoot, StopNote{});
    stop_told_ = true;
  }
  if (auto letter = mail_.try_receive()) {
    receive(*letter);
    take_letters();
    return;
  }
  const bool grades = !to_grade_.empty(), generates = may_generate();
  if (grades) {
    Group group = std::move(to_grade_.front());
    to_grade_.pop_front();
    grade(std::move(group));
  }
  if (generates) generate();
  if (grades || generates) return;
  const Stopwatch idle;
  const Letter letter = mail_.receive();
  report_.idle_s += idle.seconds();
  receive(letter);
}

void Station::take_letters() {
  while (!ended_) {
    const auto letter = mail_.try_receive();
    if (!letter) return;
    receive(*letter);
  }
}

bool Station::may_generate() const {
  if (follows_) return step_begun_;
  return rollout_ != nullptr && !rollout_->idle();
}

void Station::generate() {
  if (follows_) {
    step_begun_ = false;
    rollout_->step(report_, [](const Group&) {});  // its lead delivers
    return;
  }
  tell_followers(StepNote{});
  const int dispenser = session_.plan.rollout_ranks.front();
  rollout_->step(report_, [&](const Group& group) {
    mail_.send(owner(session_.plan.verifier_ranks, group.index), GeneratedNote{}, &group);
    FinishedNote note;
    note.step = group.step;
    for (const auto& completion : group.completions) {
      note.longest = std::max(note.longest, static_cast<std::int64_t>(completion.tokens.size()));
    }
    note.standing = rollout_->standing();
    mail_.send(dispenser, note);
  });
  if (rollout_->has_more_room()) tell_standing();
}

void Station::tell_standing() {
  if (follows_) return;
  mail_.send(session_.plan.rollout_ranks.front(), rollout_->standing());
}

void Station::receive(const Letter& letter) {
  switch (letter.kind) {
    case LetterKind::item: {
      const auto note = letter.note<ItemNote>();
      const auto begun = letter.group_if_any<ItemNote>();
      const Group* group = begun ? &*begun : nullptr;
      rollout_->take(note, group);  // first: an item that is refused is refused once
      tell_followers(note, group);
      return;
    }
    case LetterKind::step: step_begun_ = true; return;
    case LetterKind::standing:
      dispenser_->standing(letter.source, letter.note<StandingNote>());
      dispense();
      return;
    case LetterKind::finished:
      dispenser_->finished(letter.source, letter.note<FinishedNote>(), clock_.seconds());
      dispense();
      return;
    case LetterKind::generated: to_grade_.push_back(letter.group<GeneratedNote>()); return;
    case LetterKind::verified: {
      Group group = letter.group<VerifiedNote>();
      if (group.step == 0)
        evaluated_.push_back(std::move(group));
      else
        learner_->collect(std::move(group));
      return;
    }
    case LetterKind::summary: {
      Group group = letter.group<SummaryNote>();
      const std::int64_t step = group.step;
      summaries_[step].push_back(std::move(group));
      return;
    }
    case LetterKind::graded:
      dispenser_->graded(letter.note<GradedNote>());
      dispense();
      return;
    case LetterKind::closed: {
      const auto note = letter.note<ClosedNote>();
      if (learner_ != nullptr) closed_[note.step] = note;
      if (verifier_ != nullptr) verifier_->write_trajectory(note.step, report_);
      return;
    }
    case LetterKind::published: take_weights(letter.note<PublishedNote>()); return;
    case LetterKind::evaluate: {
      const WorkOrder order = evaluation_order(session_);
      dispenser_->open_evaluation(letter.note<EvaluateNote>().version, evaluation_items(session_), order.samples);
      dispense();
      return;
    }
    case LetterKind::cut:
      if (letter.source == kRoot)
        pass_on_cut(letter.note<CutNote>());
      else
        tell_what_is_begun(letter.note<CutNote>().step);
      return;
    case LetterKind::flushed: tell_what_is_not_graded(letter.note<FlushedNote>().step); return;
    case LetterKind::held: learner_->hold(letter.note<HeldNote>().step, letter.group<HeldNote>()); return;
    case LetterKind::told: learner_->told(letter.note<ToldNote>().step); return;
    case LetterKind::stop: stop_asked_ = true; return;
    case LetterKind::end: {
      const auto note = letter.note<EndNote>();
      tell_followers(note);
      ended_ = true;
      stopped_ = note.stopped;
      return;
    }
  }
}

void Station::dispense() {
  for (const auto& assignment : dispenser_->assign()) {
    const auto begun = restored_.take(assignment.item.step, assignment.item.index);
    mail_.send(assignment.rank, assignment.item, begun ? &*begun : nullptr);
  }
  for (const auto& group : std::exchange(generated_, {})) {
    mail_.send(owner(session_.plan.verifier_ranks, group.index), GeneratedNote{}, &group);
  }
  for (const auto& note : dispenser_->take_closed()) {
    restored_.drop_until(note.step);
    for (int rank = 0; rank < session_.world.size(); ++rank) {
      const auto& role = session_.plan.ranks[static_cast<std::size_t>(rank)];
      if (role.learner || role.verifier) mail_.send(rank, note);
    }
  }
}

void Station::grade(Group group) {
  // A restored one may be graded already.
  if (group.verdicts.empty()) group = verifier_->grade(std::move(group), report_);
  if (group.step == 0) {
    mail_.send(kRoot, VerifiedNote{}, &group);
    return;
  }
  mail_.send(owner(session_.plan.learner_ranks, group.index), VerifiedNote{}, &group);
  const Group summary = summary_of(group);
  mail_.send(kRoot, SummaryNote{}, &summary);
  GradedNote note;
  note.step = group.step;
  note.signal = learn::prepare(session_.config.learn, group).signal;
  verifier_->keep(std::move(group));
  mail_.send(session_.plan.rollout_ranks.front(), note);
}

int Station::tellers() const {
  return session_.plan.replicas() + static_cast<int>(session_.plan.verifier_ranks.size());
}

void Station::ask_what_is_in_flight(std::int64_t step) {
  mail_.send(session_.plan.rollout_ranks.front(), CutNote{step});
}

// The dispenser has groups in flight where a run was continued a short while ago.
void Station::pass_on_cut(const CutNote& note) {
  for (const auto& [place, group] : restored_.by_place()) {
    mail_.send(owner(session_.plan.learner_ranks, group.index), HeldNote{note.step}, &group);
  }
  for (const int rank : session_.plan.leads()) mail_.send(rank, note);
}

void Station::tell_what_is_begun(std::int64_t step) {
  for (const Group& group : rollout_->in_flight()) {
    mail_.send(owner(session_.plan.learner_ranks, group.index), HeldNote{step}, &group);
  }
  for (const int rank : session_.plan.verifier_ranks) mail_.send(rank, FlushedNote{step});
  tell_all_told(step);
}

// Graded ones are with the learners, or on their way before this rank's last word.
void Station::tell_what_is_not_graded(std::int64_t step) {
  if (++flushed_[step] < session_.plan.replicas()) return;
  flushed_.erase(step);
  for (const Group& group : to_grade_) {
    mail_.send(owner(session_.plan.learner_ranks, group.index), HeldNote{step}, &group);
  }
  tell_all_told(step);
}

void Station::tell_all_told(std::int64_t step) {
  for (const int rank : session_.plan.learner_ranks) mail_.send(rank, ToldNote{step});
}

void Station::take_weights(const PublishedNote& note) {
  tell_followers(note);
  comm::set_place(session_.role().role_name(), note.version + 1);
  if (rollout_ != nullptr) {
    rollout_->pull_weights(note.version);
    tell_standing();
  }
  if (!note.step_done) return;
  release_fragmented_memory();
  gather_reports(session_.world, take_report());
}

bool Station::complete(std::int64_t step) const {
  const auto note = closed_.find(step);
  if (note == closed_.end()) return false;
  if (learner_ != nullptr && !learner_->holds(step, note->second.groups)) return false;
  if (!session_.is_root()) return true;
  const auto summaries = summaries_.find(step);
  return summaries != summaries_.end() && static_cast<std::int64_t>(summaries->second.size()) == note->second.groups;
}

ClosedNote Station::take_closed(std::int64_t step) {
  const ClosedNote note = closed_.at(step);
  closed_.erase(step);
  return note;
}

std::vector<Group> Station::take_summaries(std::int64_t step) {
  std::vector<Group> groups = std::move(summaries_[step]);
  summaries_.erase(step);
  return groups;
}

std::vector<Group> Station::evaluate(std::int64_t version) {
  const std::size_t count = evaluation_items(session_).size();
  mail_.send(session_.plan.rollout_ranks.front(), EvaluateNote{version});
  work_until([&] { return evaluated_.size() == count; });
  std::sort(evaluated_.begin(), evaluated_.end(), [](const Group& a, const Group& b) { return a.index < b.index; });
  return std::exchange(evaluated_, {});
}

template <typename Note>
void Station::tell_assistants(const Note& note) {
  for (int rank = 0; rank < session_.world.size(); ++rank) {
    const bool learns = session_.plan.ranks[static_cast<std::size_t>(rank)].learner;
    if (!learns && !session_.plan.follows(rank)) mail_.send(rank, note);
  }
}

template <typename Note>
void Station::tell_followers(const Note& note, const Group* group) {
  for (const int rank : followers_) mail_.send(rank, note, group);
}

void Station::publish(const PublishedNote& note) {
  tell_assistants(note);
}

void Station::end(bool stopped) {
  tell_assistants(EndNote{stopped});
}

StepReport Station::take_report() {
  StepReport report = std::exchange(report_, StepReport{});
  report.window_s = report_clock_.restart();
  report.rollout_rank = rollout_ != nullptr;
  report.peak_rss_bytes = static_cast<double>(peak_rss_bytes());
  return report;
}

}  // namespace setrl::roles
