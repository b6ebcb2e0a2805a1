#include "roles/trainer.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "comm/failure.h"
#include "roles/evaluation.h"
#include "roles/evaluation_record.h"
#include "roles/in_flight.h"
#include "roles/learner_role.h"
#include "roles/policy_push.h"
#include "roles/progress.h"
#include "roles/rollout_role.h"
#include "roles/run_directory.h"
#include "roles/signals.h"
#include "roles/station.h"
#include "roles/step_metrics.h"
#include "roles/verifier_role.h"
#include "store/in_flight_file.h"
#include "store/metrics_file.h"

namespace setrl::roles {

namespace {

// Seconds that training waits for the groups in flight of a checkpoint, at most: so many, or so large a part of the
// step before. At a stop there is nothing else to do.
constexpr double kCutPatience = 0.1, kCutPatienceShare = 0.01, kLastCutPatience = 5;

// One rank's part of a GRPO run. Learners go from step to step; all other ranks work at their station until the root
// ends it. The weights after step s are version s.
class Trainer {
 public:
  explicit Trainer(const Session& session)
      : session_(session), config_(session.config), replay_(!session.config.learn.replay.empty()) {
    if (session.role().learner) learner_ = std::make_unique<LearnerRole>(session);
    if (session.role().rollout && !replay_) rollout_ = std::make_unique<RolloutRole>(session);
    if (session.role().verifier && !replay_) verifier_ = std::make_unique<VerifierRole>(session);
    if (learner_) {
      push_.emplace(session, &learner_->learner(), rollout_ ? &rollout_->engine() : nullptr);
    }
  }

  int run() {
    const auto resume = open_run_directory(session_, "train", [this](const ResumePoint& point) {
      if (learner_) learner_->load(point.folder, point.info);
      if (dispenses()) restored_ = load_in_flight(point);
    });
    std::int64_t done = 0;
    if (resume) {
      done = resume->info.step;
      SETRL_CHECK(resume->info.policy_version == done, "the checkpoint of step {} holds version {}", done,
                  resume->info.policy_version);
      if (session_.is_root()) evaluations_ = evaluations_of(resume->info);
    }
    if (session_.is_root()) {
      metrics_ = std::make_unique<store::MetricsFile>(config_.run.dir + "/metrics.jsonl");
      metrics_->truncate_after(done);
      progress_ = std::make_unique<Progress>("step", done + 1, config_.run.steps);
    }
    station_ = std::make_unique<Station>(session_, rollout_.get(), verifier_.get(), learner_.get(), done + 1,
                                         config_.run.steps, std::move(restored_));
    if (!learner_) return assist();
    if (session_.is_root()) say_what_staleness_means();
    push_weights(done, false);
    if (config_.eval.every > 0) evaluate(done);

    std::int64_t saved = resume && resume->of_this_run ? done : -1;
    bool stopped = false;
    for (std::int64_t step = done + 1; step <= config_.run.steps && !stopped; ++step) {
      run_step(step);
      done = step;
      if (config_.eval.every > 0 && (step % config_.eval.every == 0 || step == config_.run.steps)) evaluate(step);
      station_->take_letters();
      stopped = stop_requested(*session_.groups.learners, station_->stop_asked()) && step < config_.run.steps;
      if (!stopped && config_.store.every > 0 && step % config_.store.every == 0) {
        begin_save(step);
        saved = step;
      }
    }
    if (saved != done) {
      // A save on its way is of an earlier step: on a signal there is no time for both.
      if (stopped) learner_->abandon_save();
      begin_save(done);
      close_cut(kLastCutPatience);
    }
    if (session_.is_root()) station_->end(stopped);
    session_.store->drain();
    learner_->finish_saves();
    station_->close();
    if (stopped) {
      if (session_.is_root()) {
        progress_->clear();
        log::info("stopped on a signal after step {}; continue with --run.resume=auto", done);
      }
      return kExitResumable;
    }
    if (session_.is_root()) print_comparison();
    return kExitDone;
  }

 private:
  // A rank that is no learner.
  int assist() {
    station_->work_until([this] { return station_->ended(); });
    session_.store->drain();
    station_->close();
    return station_->stopped() ? kExitResumable : kExitDone;
  }

  void say_what_staleness_means() const {
    const int wanted = config_.rollout.max_staleness;
    if (replay_ || wanted == 0) return;
    if (session_.max_staleness() == 0) {
      log::warning("rollout.max_staleness={} has no effect in one process, where generating and learning take turns",
                   wanted);
    } else if (config_.learn.mismatch == "none") {
      log::warning(
          "rollout.max_staleness={} with learn.mismatch=none: tokens of older policies are trained on as if they were "
          "new; set it to truncate or mask",
          wanted);
    }
  }

  void gather_experience(StepRecord& record) {
    if (replay_) {
      record.groups = learner_->collect_stored(record.step);
      return;
    }
    station_->work_until([&] { return station_->complete(record.step); });
    record.straggler = station_->take_closed(record.step).straggler;
    if (session_.is_root()) record.groups = station_->take_summaries(record.step);
    const Staleness staleness = staleness_of(record);
    SETRL_CHECK(staleness.largest <= session_.max_staleness(), "step {} got tokens that are {} versions old",
                record.step, staleness.largest);
  }

  void run_step(std::int64_t step) {
    const Stopwatch clock;
    comm::set_place(session_.role().role_name(), step);
    session_.store->check();
    learner_->check_saves();
    StepRecord record;
    record.step = step;
    record.policy_version = step - 1;
    gather_experience(record);
    close_cut(std::max(kCutPatience, kCutPatienceShare * last_step_s_));
    record.stats = learner_->update(step, station_->report());
    release_fragmented_memory();
    push_weights(step, true);
    station_->report().checkpoint_s = learner_->take_stall() + std::exchange(cut_stall_s_, 0.0);
    last_step_s_ = clock.seconds();
    const auto reports = gather_reports(session_.world, station_->take_report());
    if (!session_.is_root()) return;
    record.report = merged(reports);
    if (record.straggler.rank >= 0) {
      record.straggler_idle = reports[static_cast<std::size_t>(record.straggler.rank)].idle_share();
      log::debug(
          "step {}: rollout rank {} was the last to finish, {:.3f} s after the others, with a completion of {} tokens; "
          "it was idle for {:.0f} % of the time, all rollout ranks for {:.0f} %",
          step, record.straggler.rank, record.straggler.lag_s, record.straggler.longest, 100 * record.straggler_idle,
          100 * record.report.idle_share());
    }
    record.step_s = clock.seconds();
    const StepLine line = describe_step(record, config_.task.k);
    metrics_->append(line.json);
    if (record.stats.skipped) log::warning("step {}: loss or gradient was not finite; the update was skipped", step);
    progress_->step(step, line.progress);
  }

  // The learners' part.
  void push_weights(std::int64_t version, bool step_done) {
    const Stopwatch clock;
    if (session_.is_root()) station_->publish({version, step_done});
    if (!replay_) push_->run(version);
    if (rollout_) station_->tell_standing();
    station_->report().sync_s += clock.seconds();
  }

  // The step's line of metrics.jsonl is on disk before its checkpoint is: a continuation appends to it. What the save
  // keeps this thread from is counted in the next step's line.
  void begin_save(std::int64_t step) {
    nlohmann::json notes;
    if (session_.is_root()) {
      notes = nlohmann::json::parse(settle_metrics(*metrics_));
      notes["evaluations"] = nlohmann::json::parse(evaluations_.to_json());
    }
    const bool ahead = !replay_ && session_.max_staleness() > 0 && step < config_.run.steps;
    learner_->save(step, step, "train", notes.is_null() ? "" : notes.dump(), ahead ? station_->tellers() : 0);
    if (ahead && session_.is_root()) station_->ask_what_is_in_flight(step);
  }

  // Ranks answer between two steps of their engines. Where the learners had to wait for groups anyhow, all have by now;
  // else training waits a moment. What is not told then is generated again after a crash.
  void close_cut(double patience_s) {
    const Stopwatch clock;
    while (learner_->cut_waits_for() > 0 && clock.seconds() < patience_s) {
      station_->take_letters();
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    cut_stall_s_ += clock.seconds();
    learner_->close_cut();
  }

  // The dispenser's rank.
  bool dispenses() const { return rollout_ && session_.plan.rollout_ranks.front() == session_.world.rank(); }

  std::vector<Group> load_in_flight(const ResumePoint& point) const {
    std::vector<Group> groups;
    session_.store->call([&] { groups = store::read_in_flight(point.folder); });
    if (groups.empty()) return groups;
    const ContinuationBounds bounds{point.info.step, config_.run.steps, session_.max_staleness(),
                                    config_.rollout.group_size};
    groups = usable_groups(std::move(groups), bounds);
    log::info("groups in flight that the checkpoint brings along: {}", describe_in_flight(groups));
    return groups;
  }

  static EvaluationRecord evaluations_of(const store::CheckpointInfo& info) {
    const auto extra = nlohmann::json::parse(info.extra, nullptr, false);
    if (!extra.is_object() || !extra.contains("evaluations")) return {};
    return EvaluationRecord::from_json(extra.at("evaluations").dump());
  }

  // The root waits for it with the next step, and so do the other learners with the root. Rollout ranks go on with what
  // they have.
  void evaluate(std::int64_t step) {
    if (replay_ || !session_.is_root()) return;
    // A continued run has evaluated its first policy already.
    if (evaluations_.last() && evaluations_.last()->step == step) return;
    const auto groups = station_->evaluate(step);
    evaluate::Report report = report_of(session_, groups);
    write_evaluation(session_, config_.run.dir, fmt::format("eval-{:06}", step), step, groups, report);
    evaluation_title_ = describe(report);
    const auto& last = report.metrics;
    evaluations_.add(step, last);
    progress_->clear();
    log::info("evaluation after step {}: correct per set {:.3f} [{:.3f}, {:.3f}], format {:.1f} %, Brier {:.3f}", step,
              last.at("correct_per_set").value, last.at("correct_per_set").low, last.at("correct_per_set").high,
              100 * last.at("format_rate").value, last.at("brier").value);
  }

  void print_comparison() {
    progress_->clear();
    if (!evaluations_.first() || evaluations_.first()->step == evaluations_.last()->step) return;
    const auto& [first_step, first] = *evaluations_.first();
    const auto& [last_step, last] = *evaluations_.last();
    fmt::print("\n{}\n{}", evaluation_title_,
               evaluate::table({fmt::format("after step {}", first_step), fmt::format("after step {}", last_step)},
                               {first, last}));
    const auto& best = *evaluations_.best();
    fmt::print("best by {}: after step {} ({:.3f})\n", EvaluationRecord::kBestBy, best.step,
               best.metrics.at(EvaluationRecord::kBestBy).value);
    std::fflush(stdout);
  }

  const Session& session_;
  const RunConfig& config_;
  const bool replay_;
  std::unique_ptr<LearnerRole> learner_;
  std::unique_ptr<RolloutRole> rollout_;
  std::unique_ptr<VerifierRole> verifier_;
  std::optional<PolicyPush> push_;  // learners
  std::vector<Group> restored_;     // until the station has them
  std::unique_ptr<Station> station_;
  std::unique_ptr<store::MetricsFile> metrics_;
  std::unique_ptr<Progress> progress_;
  EvaluationRecord evaluations_;  // root
  double last_step_s_ = 0, cut_stall_s_ = 0;
  std::string evaluation_title_ = "evaluations of this run, 95 % intervals by bootstrap";
};

}  // namespace

int run_training(const Session& session) {
  return Trainer(session).run();
}

}  // namespace setrl::roles
