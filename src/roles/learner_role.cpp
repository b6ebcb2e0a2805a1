#include "roles/learner_role.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "config/options.h"
#include "learn/advantage.h"
#include "records/wire.h"
#include "roles/signals.h"
#include "store/trajectory_file.h"

namespace setrl::roles {

namespace {

using Json = nlohmann::json;

constexpr int kBalance = 21;  // Group: learner -> learner

// Place and size of a collected group, as the learners tell each other.
struct Load {
  std::int64_t index = 0;
  std::int64_t tokens = 0;
  int holder = 0;
};

std::vector<Load> gather_loads(comm::Communicator& learners, const std::vector<Group>& groups) {
  std::vector<std::int64_t> mine;
  for (const auto& group : groups) {
    mine.push_back(group.index);
    mine.push_back(group.token_count());
  }
  std::vector<std::uint8_t> bytes(mine.size() * sizeof(std::int64_t));
  if (!bytes.empty()) std::memcpy(bytes.data(), mine.data(), bytes.size());
  const auto all = comm::all_gather_bytes(learners, bytes);
  std::vector<Load> loads;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    std::vector<std::int64_t> pairs(all[rank].size() / sizeof(std::int64_t));
    if (!pairs.empty()) std::memcpy(pairs.data(), all[rank].data(), all[rank].size());
    for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
      loads.push_back({pairs[i], pairs[i + 1], static_cast<int>(rank)});
    }
  }
  std::sort(loads.begin(), loads.end(), [](const Load& a, const Load& b) { return a.index < b.index; });
  return loads;
}

}  // namespace

LearnerRole::LearnerRole(const Session& session)
    : session_(session),
      learner_(session.config, *session.policy.weights, *session.groups.learners, session.device),
      config_hashes_{session.config_hash} {}

void LearnerRole::collect(Group group) {
  if (cut_) cut_->add(group);
  const std::int64_t step = group.step;
  collected_[step].push_back(std::move(group));
}

void LearnerRole::hold(std::int64_t step, const Group& group) {
  if (cut_ && cut_->step() == step) {
    cut_->add(group);
  } else {
    log::debug("too late for the checkpoint of step {}: {}", step, describe_in_flight({group}));
  }
}

void LearnerRole::told(std::int64_t step) {
  if (!cut_ || cut_->step() != step) return;
  cut_->told();
  if (cut_->waiting() == 0) close_cut();  // the checkpoint waits for nothing else
}

bool LearnerRole::holds(std::int64_t step, std::int64_t groups) const {
  const auto found = collected_.find(step);
  const std::size_t held = found == collected_.end() ? 0 : found->second.size();
  return static_cast<std::int64_t>(held) == items_of(groups, session_.plan.learner_ranks, session_.world.rank());
}

std::vector<Group> LearnerRole::collect_stored(std::int64_t step) {
  const std::string& run = session_.config.learn.replay;
  const auto parts = store::trajectory_parts(run, step);
  if (parts.empty()) throw_user_error("learn.replay: '{}' holds no trajectories of step {}", run, step);
  std::vector<Group> summaries;
  for (const auto& path : parts) {
    store::Trajectory trajectory;
    session_.store->call([&] { trajectory = store::read_trajectory(path); });
    for (auto& stored : trajectory.groups) {
      summaries.push_back(summary_of(stored.group));
      if (owner(session_.plan.learner_ranks, stored.group.index) == session_.world.rank()) {
        collected_[step].push_back(std::move(stored.group));
      }
    }
  }
  return summaries;
}

TrainingBatch LearnerRole::balanced(std::int64_t step) {
  auto& learners = *session_.groups.learners;
  const LearnSection& config = session_.config.learn;
  std::vector<Group> collected = std::move(collected_[step]);
  collected_.erase(step);
  if (config.drop_zero_variance) {
    collected.erase(std::remove_if(collected.begin(), collected.end(),
                                   [&](const Group& group) { return !learn::prepare(config, group).signal; }),
                    collected.end());
  }
  const auto loads = gather_loads(learners, collected);
  std::vector<std::int64_t> tokens;
  for (const auto& load : loads) tokens.push_back(load.tokens);
  const auto target = learn::balance(tokens, learners.size());

  std::int64_t expected = 0;
  std::vector<Group> kept;
  for (std::size_t i = 0; i < loads.size(); ++i) {
    const bool here = loads[i].holder == learners.rank();
    if (target[i] == learners.rank() && !here) ++expected;
    if (!here) continue;
    const auto group = std::find_if(collected.begin(), collected.end(),
                                    [&](const Group& each) { return each.index == loads[i].index; });
    if (target[i] == learners.rank())
      kept.push_back(std::move(*group));
    else
      learners.send(target[i], kBalance, encode(*group));
  }
  for (std::int64_t i = 0; i < expected; ++i) {
    kept.push_back(decode_group(learners.receive(comm::kAnySource, kBalance).bytes));
  }
  std::sort(kept.begin(), kept.end(), [](const Group& a, const Group& b) { return a.index < b.index; });

  TrainingBatch batch;
  batch.step = step;
  for (const auto& group : kept) batch.groups.push_back(learn::prepare(config, group).group);
  return batch;
}

learn::StepStats LearnerRole::update(std::int64_t step, StepReport& report) {
  const Stopwatch clock;
  const TrainingBatch batch = balanced(step);
  double groups = static_cast<double>(batch.groups.size());
  session_.groups.learners->all_reduce(&groups, 1, comm::Reduction::sum);
  learn::StepStats stats;
  settle();
  if (groups > 0) stats = learner_.reinforce(batch, step, session_.config.run.steps);
  report.learn_s += clock.seconds();
  return stats;
}

store::CheckpointInfo LearnerRole::describe(std::int64_t step, std::int64_t policy_version, const std::string& kind,
                                            const std::string& notes) const {
  store::CheckpointInfo info;
  info.step = step;
  info.policy_version = policy_version;
  info.optimizer_steps = learner_.optimizer_steps();
  info.config = config::dump(session_.config);
  info.config_hash = session_.config_hash;
  info.model_config = model::to_hf_config(session_.policy.weights->spec(), "float32");
  Json extra = {
      {"kind", kind}, {"chat_format", chat_format_name(session_.policy.format)}, {"config_hashes", config_hashes_}};
  if (!notes.empty()) extra.update(Json::parse(notes));
  info.extra = extra.dump();
  info.files = policy_files(session_.policy);
  return info;
}

// The parts that the step surely has: a verifier rank with none of its first problems may have none at all.
std::vector<std::string> LearnerRole::trajectories_of(std::int64_t step) const {
  const RunConfig& config = session_.config;
  std::vector<std::string> paths;
  if (!config.store.trajectories || !config.learn.replay.empty()) return paths;
  const int parts = std::min(config.task.prompts_per_step, static_cast<int>(session_.plan.verifier_ranks.size()));
  for (int part = 0; part < parts; ++part) paths.push_back(store::trajectory_path(config.run.dir, step, part));
  return paths;
}

void LearnerRole::save(std::int64_t step, std::int64_t policy_version, const std::string& kind,
                       const std::string& notes, int tellers) {
  SETRL_CHECK(!cut_, "step {} is saved while the groups in flight of step {} are gathered", step, cut_->step());
  const Stopwatch clock;
  const RunConfig& config = session_.config;
  if (!saver_) {
    saver_.emplace(store::SaverOptions{config.run.dir,
                                       {config.store.keep, config.store.keep_every},
                                       config.run.deadline_s,
                                       signal_received,
                                       store::layout_of(config.store.layout)},
                   *session_.groups.learners, *session_.store);
  }
  // A checkpoint without the trajectories of its steps could be continued, but not replayed.
  const bool generated = kind == "train" && step > first_step_;
  std::future<std::vector<Group>> in_flight;
  if (tellers > 0) {
    cut_.emplace(step, tellers);
    for (const auto& [later, groups] : collected_) {
      for (const auto& group : groups) cut_->add(group);
    }
    in_flight_ = {};
    in_flight = in_flight_.get_future();
  }
  saver_->save(describe(step, policy_version, kind, notes), learner_.state(),
               generated ? trajectories_of(step) : std::vector<std::string>(), std::move(in_flight));
  stall_s_ += clock.seconds();
}

void LearnerRole::close_cut() {
  if (!cut_) return;
  auto groups = cut_->take();
  log::debug("groups in flight with the checkpoint of step {}: {}{}", cut_->step(), describe_in_flight(groups),
             cut_->waiting() > 0 ? fmt::format("; {} ranks have not told all", cut_->waiting()) : "");
  in_flight_.set_value(std::move(groups));
  cut_.reset();
}

void LearnerRole::settle() {
  const Stopwatch clock;
  if (saver_) saver_->wait_for_copy();
  stall_s_ += clock.seconds();
}

void LearnerRole::check_saves() {
  if (saver_) saver_->check();
}

void LearnerRole::abandon_save() {
  if (saver_) saver_->abandon();
}

void LearnerRole::finish_saves() {
  if (saver_) saver_->finish();
}

double LearnerRole::take_stall() {
  return std::exchange(stall_s_, 0.0);
}

void LearnerRole::load(const std::string& folder, const store::CheckpointInfo& info) {
  store::load_checkpoint(folder, learner_.state());
  learner_.adopt_state();
  learner_.set_optimizer_steps(info.optimizer_steps);
  first_step_ = info.step;
  const Json extra = Json::parse(info.extra, nullptr, false);
  if (!extra.is_object() || !extra.contains("config_hashes")) return;
  config_hashes_ = extra.at("config_hashes").get<std::vector<std::string>>();
  if (std::find(config_hashes_.begin(), config_hashes_.end(), session_.config_hash) == config_hashes_.end()) {
    config_hashes_.push_back(session_.config_hash);
  }
}

}  // namespace setrl::roles
