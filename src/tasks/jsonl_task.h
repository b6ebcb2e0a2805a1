// Own tasks: problems as JSON lines. docs/own_tasks.md explains the format with examples.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tasks/json_lines.h"
#include "tasks/task.h"

namespace setrl::tasks {

// Files in config.task.path: train.jsonl and test.jsonl. Fields of a line: prompt (a string) or messages [{role,
// content}]; golds [string or {text, aliases, probability}]; grader ("exact", the default, or "external"); payload (any
// JSON, handed to the external verifier); where config.task.programs is set instead tests [string], imports [string],
// setup (as in MBPP: run before the tests) and golds as programs that pass, for sft only; id (default: its number in
// the file); stratum (for sft). Any other field is an error, so that a misspelt one is not ignored.
class JsonlTask final : public Task {
 public:
  // Reads every line once, so that a malformed one shows now and not in the middle of a run.
  explicit JsonlTask(const RunConfig& config);

  const std::string& name() const override { return name_; }
  std::int64_t size(const std::string& split) const override;
  // The format's instructions replace "{format}" in the messages; where no message holds it they are appended to the
  // system message, which is made where there is none. Payload: JSON with grader and
  // payload, or with grader, imports, setup, tests and references.
  Problem problem(const std::string& split, std::int64_t index) const override;
  std::string stratum(const std::string& split, std::int64_t index) const override;
  // The golds by probability (equal shares where there is none; programs: the first one with confidence 1); golds of
  // other train problems fill the set, or abstentions. Throws UserError naming the problem where it has no golds.
  AnswerSet gold_answer_set(const Problem& problem, const text::Grammar& grammar) const override;

 private:
  const JsonLines& split(const std::string& name) const;
  Problem read_problem(const JsonLine& line, const std::string& split, std::int64_t index) const;
  nlohmann::json read_grading(const JsonLine& line, Problem& problem) const;
  void check(const JsonLines& lines, const std::string& split) const;

  std::string name_ = "jsonl";
  text::Grammar grammar_;
  bool programs_;
  JsonLines train_;
  JsonLines test_;
};

}  // namespace setrl::tasks
