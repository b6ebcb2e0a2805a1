// Twenty steps of the demo task with N ranks against one: texts of the task, token by token, with the rewards that a
// mixture of right and wrong answer sets gets.
#include <gtest/gtest.h>

#include <cmath>

#include "learn/advantage.h"
#include "learn/learner.h"
#include "support/mpi_world.h"
#include "tasks/demo_task.h"
#include "tasks/task.h"
#include "text/answer_grammar.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "verify/verifier.h"

namespace setrl::learn {
namespace {

using setrl::testing::world;

constexpr int kSteps = 20, kPrompts = 3, kGroup = 4;

RunConfig demo_config() {
  RunConfig config;
  config.model.dtype = "float32";
  config.run.steps = kSteps;
  config.rollout.group_size = kGroup;
  config.learn.learning_rate = 1e-4;
  return config;
}

class Demo {
 public:
  explicit Demo(const RunConfig& config)
      : config_(config),
        tokenizer_(text::train_tokenizer(tasks::demo_corpus(config), 512)),
        task_(tasks::make_task(config)),
        grammar_(text::grammar_of(config)),
        verifier_(config) {
    spec.vocabulary = tokenizer_->vocabulary_size();
    spec.hidden = 64;
    spec.inner = 160;
    spec.layers = 2;
    spec.heads = 4;
    spec.kv_heads = 2;
    spec.head_size = 16;
    spec.max_positions = 2048;
    spec.tied_embeddings = true;
  }

  // Completions are the gold sets of the problem and of others, graded by the task's verifier.
  TrainingBatch batch(std::int64_t step) const {
    TrainingBatch result;
    result.step = step;
    for (int p = 0; p < kPrompts; ++p) {
      const std::int64_t at = (step * kPrompts + p) % task_->size("train");
      const Problem problem = task_->problem("train", at);
      Group group;
      group.index = p;
      group.prompt.tokens =
          tokenizer_->encode(text::apply_chat_template(text::ChatFormat::chatml, problem.messages, true));
      for (int g = 0; g < kGroup; ++g) {
        const Problem other = task_->problem("train", (at + g * (1 + p)) % task_->size("train"));
        const std::string answer = text::render(grammar_, task_->gold_answer_set(other, grammar_));
        Completion completion;
        completion.tokens = tokenizer_->encode(answer);
        completion.logprobs.assign(completion.tokens.size(), -3.0f);
        group.verdicts.push_back(
            verifier_.verify(problem, answer, true, static_cast<std::int64_t>(completion.tokens.size())));
        group.completions.push_back(std::move(completion));
      }
      result.groups.push_back(prepare(config_.learn, group).group);
    }
    return result;
  }

  model::ModelSpec spec;

 private:
  const RunConfig& config_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::unique_ptr<tasks::Task> task_;
  text::Grammar grammar_;
  verify::Verifier verifier_;
};

struct Result {
  std::vector<double> losses;
  std::map<std::string, at::Tensor> parameters;
};

Result train(const RunConfig& config, const Demo& demo, comm::Communicator& learners) {
  const auto weights = model::random_weights(demo.spec, 5);
  Learner learner(config, *weights, learners);
  Result run;
  for (std::int64_t step = 1; step <= kSteps; ++step) {
    const TrainingBatch whole = demo.batch(step);
    std::vector<std::int64_t> tokens;
    for (const auto& group : whole.groups) tokens.push_back(group.token_count());
    const auto target = balance(tokens, learners.size());
    TrainingBatch mine;
    for (std::size_t i = 0; i < target.size(); ++i) {
      if (target[i] == learners.rank()) mine.groups.push_back(whole.groups[i]);
    }
    run.losses.push_back(learner.reinforce(mine, step, kSteps).loss);
  }
  learner.for_each_parameter([&](const model::ParameterSpec& parameter, const at::Tensor& tensor) {
    run.parameters[parameter.name] = tensor.clone();
  });
  return run;
}

TEST(Demo, TwentyStepsEqualOneRank) {
  const RunConfig config = demo_config();
  const Demo demo(config);
  const Result sharded = train(config, demo, world());
  if (world().rank() == 0) {
    const auto alone = comm::make_local_communicator("alone");
    const Result single = train(config, demo, *alone);
    double largest_loss = 0;
    for (const double loss : single.losses) largest_loss = std::max(largest_loss, std::abs(loss));
    EXPECT_GT(largest_loss, 1e-4);
    for (std::size_t i = 0; i < single.losses.size(); ++i) {
      EXPECT_NEAR(sharded.losses[i], single.losses[i], 1e-5 * largest_loss) << "step " << i + 1;
    }
    const auto start = model::random_weights(demo.spec, 5);
    for (const auto& [name, expected] : single.parameters) {
      const double size = expected.norm().item<double>();
      EXPECT_LT((sharded.parameters.at(name) - expected).norm().item<double>(), 1e-5 * size) << name;
      at::Tensor before = at::empty_like(expected);
      start->read(name, 0, before.numel(), before.data_ptr<float>());
      EXPECT_GT((before - expected).norm().item<double>(), 1e-4 * size) << name << " was trained";
    }
  }
  world().barrier();
}

}  // namespace
}  // namespace setrl::learn
