#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/system.h"
#include "learn/advantage.h"
#include "roles/learner_role.h"
#include "roles/progress.h"
#include "roles/run_directory.h"
#include "roles/signals.h"
#include "roles/trainer.h"
#include "store/metrics_file.h"
#include "tasks/problem_stream.h"

namespace setrl::roles {

namespace {

// The gold sets of a cold start, in the order of training, as a pure function of the seed.
class GoldSets {
 public:
  explicit GoldSets(const Session& session) : session_(session) {
    std::vector<std::string> strata;
    for (std::int64_t i = 0; i < session.task->size("train"); ++i) strata.push_back(session.task->stratum("train", i));
    const auto cases = tasks::stratified(session.config.run.seed, strata, session.config.sft.cases);
    for (int epoch = 0; epoch < session.config.sft.epochs; ++epoch) {
      auto order = cases;
      RandomStream(session.config.run.seed, stable_hash("sft") + static_cast<std::uint64_t>(epoch)).shuffle(order);
      order_.insert(order_.end(), order.begin(), order.end());
    }
  }

  std::int64_t steps() const {
    const auto batch = static_cast<std::size_t>(session_.config.sft.batch);
    return static_cast<std::int64_t>((order_.size() + batch - 1) / batch);
  }

  // This rank's share of a step (counted from 1), balanced by tokens.
  TrainingBatch batch(std::int64_t step) const {
    const auto size = static_cast<std::size_t>(session_.config.sft.batch);
    const std::size_t begin = static_cast<std::size_t>(step - 1) * size;
    const std::size_t end = std::min(order_.size(), begin + size);
    std::vector<TrainingGroup> groups;
    std::vector<std::int64_t> tokens;
    for (std::size_t i = begin; i < end; ++i) {
      groups.push_back(example(static_cast<std::int64_t>(i - begin), order_[i]));
      tokens.push_back(groups.back().token_count());
    }
    const auto target = learn::balance(tokens, session_.groups.learners->size());
    TrainingBatch result;
    result.step = step;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      if (target[i] == session_.groups.learners->rank()) result.groups.push_back(std::move(groups[i]));
    }
    return result;
  }

 private:
  TrainingGroup example(std::int64_t index, std::int64_t problem_index) const {
    const Problem problem = session_.task->problem("train", problem_index);
    TrainingGroup group;
    group.index = index;
    group.prompt = session_.policy.prompt(problem, session_.config.task.max_prompt_tokens).tokens;
    TrainingSequence sequence;
    const auto set = session_.task->gold_answer_set(problem, session_.grammar);
    sequence.tokens = session_.policy.tokenizer->encode(text::render(session_.grammar, set));
    sequence.tokens.push_back(session_.policy.stop_ids.front());
    sequence.advantage = 1;
    group.sequences.push_back(std::move(sequence));
    return group;
  }

  const Session& session_;
  std::vector<std::int64_t> order_;
};

}  // namespace

int run_supervised(const Session& session) {
  LearnerRole role(session);
  const auto resume =
      open_run_directory(session, "sft", [&](const ResumePoint& point) { role.load(point.folder, point.info); });
  const GoldSets gold(session);
  const std::int64_t steps = gold.steps();
  std::int64_t done = 0;
  if (resume) done = resume->info.step;
  std::unique_ptr<store::MetricsFile> metrics;
  std::unique_ptr<Progress> progress;
  if (session.is_root()) {
    metrics = std::make_unique<store::MetricsFile>(session.config.run.dir + "/metrics.jsonl");
    metrics->truncate_after(done);
    progress = std::make_unique<Progress>("sft", done + 1, steps);
  }
  std::int64_t saved = resume && resume->of_this_run ? done : -1;
  bool stopped = false;
  for (std::int64_t step = done + 1; step <= steps && !stopped; ++step) {
    const Stopwatch clock;
    session.store->check();
    role.check_saves();
    role.settle();
    const auto stats = role.learner().imitate(gold.batch(step), step, steps);
    done = step;
    release_fragmented_memory();
    if (session.is_root()) {
      const double seconds = clock.seconds();
      const nlohmann::ordered_json line = {{"step", step},
                                           {"loss", stats.loss},
                                           {"grad_norm", stats.grad_norm},
                                           {"learning_rate", stats.learning_rate},
                                           {"trained_tokens", stats.tokens},
                                           {"skipped", stats.skipped},
                                           {"step_s", seconds},
                                           {"learn_tokens_per_s", static_cast<double>(stats.total_tokens) / seconds},
                                           {"peak_rss_bytes", peak_rss_bytes()}};
      metrics->append(line.dump());
      progress->step(step, fmt::format("loss {:.3f}  {:.0f} tok/s", stats.loss,
                                       static_cast<double>(stats.total_tokens) / seconds));
    }
    stopped = stop_requested(session.world) && step < steps;
    if (!stopped && step < steps && session.config.store.every > 0 && step % session.config.store.every == 0) {
      saved = step;
      role.save(step, step, "sft", metrics ? settle_metrics(*metrics) : "");
    }
  }
  if (saved != done) {
    if (stopped) role.abandon_save();
    role.save(done, done, "sft", metrics ? settle_metrics(*metrics) : "");
  }
  role.finish_saves();
  if (session.is_root()) {
    progress->clear();
    log::info("{} {}", stopped ? "stopped on a signal; saved to" : "cold-started policy saved to",
              session.config.run.dir);
  }
  return stopped ? kExitResumable : kExitDone;
}

}  // namespace setrl::roles
