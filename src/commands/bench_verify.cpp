// How fast one verifier rank grades programs: groups arrive from producers that act like rollout ranks.
#include <cmath>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/system.h"
#include "commands/commands.h"
#include "records/wire.h"
#include "tasks/task.h"
#include "verify/verifier.h"

namespace setrl::commands {

namespace {

constexpr int kProducers = 8;

// Texts of one group: in each set the reference program and programs of other problems, written a little differently
// every time, as samples of one policy are.
std::vector<verify::CompletionText> sample_texts(const tasks::Task& task, const Problem& problem,
                                                 const RunConfig& config) {
  const text::Grammar grammar = text::grammar_of(config);
  std::vector<verify::CompletionText> texts;
  for (int sample = 0; sample < config.rollout.group_size; ++sample) {
    AnswerSet set = task.gold_answer_set(problem, grammar);
    for (auto& answer : set.answers) answer += fmt::format("\n# sample {}", sample);
    const std::string text = text::render(grammar, set);
    texts.push_back({text, true, static_cast<std::int64_t>(text.size() / 4)});
  }
  return texts;
}

// Encoded groups on their way; the completions' texts stand in for what a tokenizer decodes.
class Mailbox {
 public:
  struct Item {
    Bytes group;
    std::vector<verify::CompletionText> texts;
  };
  void put(Item item) {
    const std::lock_guard<std::mutex> lock(mutex_);
    items_.push_back(std::move(item));
    wake_.notify_one();
  }
  Item take() {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [this] { return !items_.empty(); });
    Item item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> items_;
};

}  // namespace

int bench_verify(const RunConfig& config) {
  if (config.task.name != "mbpp") throw_user_error("setrl bench verify measures programs: give --task.name=mbpp");
  const auto task = tasks::make_task(config);
  const verify::Verifier verifier(config);
  const int problems = kProducers * config.bench.prompts;

  Mailbox mailbox;
  std::vector<std::thread> producers;
  const Stopwatch clock;
  for (int producer = 0; producer < kProducers; ++producer) {
    producers.emplace_back([&, producer] {
      for (int i = 0; i < config.bench.prompts; ++i) {
        Group group;
        group.index = producer * config.bench.prompts + i;
        group.problem = task->problem("train", group.index % task->size("train"));
        mailbox.put({encode(group), sample_texts(*task, group.problem, config)});
      }
    });
  }
  std::int64_t completions = 0, programs = 0, correct = 0, failures = 0;
  for (int i = 0; i < problems; ++i) {
    const auto item = mailbox.take();
    const Group group = decode_group(item.group);
    for (const auto& verdict : verifier.verify_all(group.problem, item.texts)) {
      ++completions;
      programs += static_cast<std::int64_t>(verdict.programs.size());
      correct += verdict.correct_count();
      failures += verdict.outcome == Outcome::infrastructure_failure ? 1 : 0;
    }
  }
  const double seconds = clock.seconds();
  for (auto& producer : producers) producer.join();

  const auto rate = [seconds](double count) { return std::round(10 * count / seconds) / 10; };
  const int workers = config.verify.workers > 0 ? config.verify.workers : available_cores();
  const nlohmann::ordered_json line = {{"bench", "verify"},
                                       {"task", config.task.name},
                                       {"sandbox", config.verify.sandbox},
                                       {"producers", kProducers},
                                       {"workers", workers},
                                       {"group", config.rollout.group_size},
                                       {"k", config.task.k},
                                       {"completions", completions},
                                       {"programs", programs},
                                       {"correct", correct},
                                       {"infrastructure_failures", failures},
                                       {"seconds", std::round(100 * seconds) / 100},
                                       {"completions_per_s", rate(static_cast<double>(completions))},
                                       {"programs_per_s", rate(static_cast<double>(programs))},
                                       {"programs_per_s_per_core", rate(static_cast<double>(programs) / workers)},
                                       {"peak_rss_bytes", peak_rss_bytes()}};
  fmt::print("{}\n", line.dump());
  return kExitDone;
}

}  // namespace setrl::commands
