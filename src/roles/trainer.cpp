#include "roles/trainer.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/system.h"
#include "comm/failure.h"
#include "records/wire.h"
#include "roles/evaluation.h"
#include "roles/evaluation_record.h"
#include "roles/learner_role.h"
#include "roles/policy_push.h"
#include "roles/progress.h"
#include "roles/rollout_role.h"
#include "roles/run_directory.h"
#include "roles/signals.h"
#include "roles/step_metrics.h"
#include "roles/verifier_role.h"
#include "store/metrics_file.h"

namespace setrl::roles {

namespace {

// One rank's part of a GRPO run.
class Trainer {
 public:
  explicit Trainer(const Session& session)
      : session_(session), config_(session.config), replay_(!session.config.learn.replay.empty()) {
    if (session.role().learner) learner_ = std::make_unique<LearnerRole>(session);
    if (session.role().rollout && !replay_) rollout_ = std::make_unique<RolloutRole>(session);
    if (session.role().verifier && !replay_) verifier_ = std::make_unique<VerifierRole>(session);
    if (!replay_) {
      push_.emplace(session, learner_ ? &learner_->learner() : nullptr, rollout_ ? &rollout_->engine() : nullptr);
    }
  }

  int run() {
    const auto resume = open_run_directory(session_, "train", [this](const ResumePoint& point) {
      if (learner_) learner_->load(point.folder, point.info);
    });
    std::int64_t done = 0;
    if (resume) {
      done = resume->info.step;
      version_ = resume->info.policy_version;
      if (session_.is_root()) evaluations_ = evaluations_of(resume->info);
    }
    if (session_.is_root()) {
      metrics_ = std::make_unique<store::MetricsFile>(config_.run.dir + "/metrics.jsonl");
      metrics_->truncate_after(done);
      progress_ = std::make_unique<Progress>("step", done + 1, config_.run.steps);
    }
    push_weights();
    if (config_.eval.every > 0) evaluate(done);

    std::int64_t saved = resume && resume->of_this_run ? done : -1;
    bool stopped = false;
    for (std::int64_t step = done + 1; step <= config_.run.steps && !stopped; ++step) {
      run_step(step);
      done = step;
      if (config_.eval.every > 0 && (step % config_.eval.every == 0 || step == config_.run.steps)) evaluate(step);
      stopped = stop_requested(session_.world) && step < config_.run.steps;
      if (!stopped && config_.store.every > 0 && step % config_.store.every == 0) {
        begin_save(step);
        saved = step;
      }
    }
    if (saved != done) {
      // A save on its way is of an earlier step: on a signal there is no time for both.
      if (stopped && learner_) learner_->abandon_save();
      begin_save(done);
    }
    session_.store->drain();
    if (learner_) learner_->finish_saves();
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
  // Generates, grades and collects one order; returns the number of its groups without signal, agreed by all ranks.
  int process(const WorkOrder& order) {
    if (rollout_) rollout_->generate(order, report_);
    if (verifier_) verifier_->verify_training(order, report_);
    double without_signal = 0;
    if (learner_) without_signal = static_cast<double>(learner_->collect(order));
    if (session_.is_root()) receive_summaries(order.items.size());
    session_.world.all_reduce(&without_signal, 1, comm::Reduction::sum);
    return static_cast<int>(without_signal);
  }

  void receive_summaries(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) summaries_.push_back(receive_group(session_.world, kSummary));
  }

  void gather_experience(std::int64_t step) {
    if (replay_) {
      if (learner_) learner_->collect_stored(step);
      while (auto envelope = session_.is_root() ? session_.world.try_receive(0, kSummary) : std::nullopt) {
        summaries_.push_back(decode_group(envelope->bytes));
      }
      return;
    }
    int missing = config_.task.prompts_per_step;
    std::int64_t first_index = 0;
    for (int round = 0; round <= config_.rollout.replacement_rounds && missing > 0; ++round) {
      const WorkOrder order = training_order(session_, step, round, first_index, missing);
      first_index += static_cast<std::int64_t>(order.items.size());
      missing = process(order);
    }
    if (verifier_) verifier_->write_trajectory(step, version_, report_);
  }

  void run_step(std::int64_t step) {
    const Stopwatch clock;
    comm::set_place(session_.role().role_name(), step);
    report_ = StepReport{};
    summaries_.clear();
    session_.store->check();
    if (learner_) learner_->check_saves();
    gather_experience(step);
    StepRecord record;
    record.step = step;
    record.policy_version = version_;
    if (learner_) record.stats = learner_->update(step, report_);
    release_fragmented_memory();
    ++version_;
    push_weights();
    if (learner_) report_.checkpoint_s = learner_->take_stall();
    report_.peak_rss_bytes = static_cast<double>(peak_rss_bytes());
    record.report = gather_reports(session_.world, report_);
    if (!session_.is_root()) return;
    record.groups = std::move(summaries_);
    record.step_s = clock.seconds();
    const StepLine line = describe_step(record, config_.task.k);
    metrics_->append(line.json);
    if (record.stats.skipped) log::warning("step {}: loss or gradient was not finite; the update was skipped", step);
    progress_->step(step, line.progress);
  }

  void push_weights() {
    const Stopwatch clock;
    if (push_) push_->run(version_);
    // On a rollout rank the time is mostly the wait for the learners' step.
    if (learner_) report_.sync_s += clock.seconds();
  }

  // The step's line of metrics.jsonl is on disk before its checkpoint is: a continuation appends to it. What the save
  // keeps this thread from is counted in the next step's line.
  void begin_save(std::int64_t step) {
    nlohmann::json notes;
    if (session_.is_root()) {
      notes = nlohmann::json::parse(settle_metrics(*metrics_));
      notes["evaluations"] = nlohmann::json::parse(evaluations_.to_json());
    }
    if (learner_) learner_->save(step, version_, "train", notes.is_null() ? "" : notes.dump());
  }

  static EvaluationRecord evaluations_of(const store::CheckpointInfo& info) {
    const auto extra = nlohmann::json::parse(info.extra, nullptr, false);
    if (!extra.is_object() || !extra.contains("evaluations")) return {};
    return EvaluationRecord::from_json(extra.at("evaluations").dump());
  }

  void evaluate(std::int64_t step) {
    if (replay_) return;
    // A continued run has evaluated its first policy already.
    double known = evaluations_.last() && evaluations_.last()->step == step ? 1 : 0;
    session_.world.all_reduce(&known, 1, comm::Reduction::max);
    if (known > 0) return;
    const auto groups = evaluate_policy(session_, rollout_.get(), verifier_.get());
    if (!session_.is_root()) return;
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
  std::optional<PolicyPush> push_;
  std::int64_t version_ = 0;  // updates made
  StepReport report_;
  std::vector<Group> summaries_;  // root
  std::unique_ptr<store::MetricsFile> metrics_;
  std::unique_ptr<Progress> progress_;
  EvaluationRecord evaluations_;  // root
  std::string evaluation_title_ = "evaluations of this run, 95 % intervals by bootstrap";
};

}  // namespace

int run_training(const Session& session) {
  return Trainer(session).run();
}

}  // namespace setrl::roles
