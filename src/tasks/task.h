// A task: problems of a split by index, as pure functions of the files (or of the seed, for the demo task).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "records/problem.h"
#include "records/verdict.h"
#include "text/answer_grammar.h"

namespace setrl::tasks {

class Task {
 public:
  virtual ~Task() = default;
  virtual const std::string& name() const = 0;
  virtual std::int64_t size(const std::string& split) const = 0;  // "train", "test", or what else the task has
  virtual Problem problem(const std::string& split, std::int64_t index) const = 0;
  // Label by which sft spreads its cases evenly (the pathology).
  virtual std::string stratum(const std::string& split, std::int64_t index) const = 0;
  // The gold set as a training target with K answers: the K most probable golds with their probabilities as
  // confidences; where there are fewer golds, wrong but plausible answers with confidence 0 fill the set (seeded by
  // problem id).
  virtual AnswerSet gold_answer_set(const Problem& problem, const text::Grammar& grammar) const = 0;
};

// By config.task.name; throws UserError where the folder or a file is missing or malformed (file, line, column named).
std::unique_ptr<Task> make_task(const RunConfig& config);

}  // namespace setrl::tasks
