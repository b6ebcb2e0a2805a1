// HotPotQA (Yang et al., EMNLP 2018), distractor setting: a question, and ten paragraphs of which two hold the answer.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tasks/json_lines.h"
#include "tasks/task.h"

namespace setrl::tasks {

// Files in config.task.path: train.jsonl and test.jsonl, one object a line with the publishers' fields `_id` (or `id`),
// question, answer, type, level, context [[title, [sentence]]], supporting_facts [[title, sentence]] (or gold_titles
// [title]).
//
// config.task.context = distractor: all paragraphs. modified (after RLCR, arXiv 2507.16806, so that some questions
// cannot be answered): 0, 1 or 2 of the gold paragraphs are taken out, and distractors, so that 8 of the 10 remain;
// which ones is a function of the problem's id alone. Left out: problems whose text (paragraphs as shown) is
// config.task.max_characters or longer, problems whose answer is empty after normalisation, and (modified) problems
// that do not have ten paragraphs of which two are gold.
class HotpotqaTask final : public Task {
 public:
  // Reads every line once, so that a malformed one shows now and not in the middle of a run.
  explicit HotpotqaTask(const RunConfig& config);

  const std::string& name() const override { return name_; }
  std::int64_t size(const std::string& split) const override;
  // Payload: JSON with type, level, removed (gold paragraphs taken out), titles, gold_titles (of those that are left).
  Problem problem(const std::string& split, std::int64_t index) const override;
  std::string stratum(const std::string& split, std::int64_t index) const override;  // "bridge, 1 removed"
  // The answer with a confidence by the number of gold paragraphs left; titles (for yes or no: the other one, first)
  // or, where the grammar knows it, abstentions fill the set.
  AnswerSet gold_answer_set(const Problem& problem, const text::Grammar& grammar) const override;

 private:
  struct Paragraph {
    std::string title, text;
    bool gold = false;
  };
  struct Case {
    std::string id, question, answer, type, level;
    std::vector<Paragraph> paragraphs;  // that are shown
    int removed = 0;                    // gold paragraphs taken out
  };
  struct Split {
    explicit Split(const std::string& path) : lines(path) {}
    JsonLines lines;
    std::vector<std::int64_t> used;  // lines that became problems
    std::vector<std::string> strata;
  };

  Split read_split(const std::string& folder, const std::string& split) const;
  const Split& split(const std::string& name) const;
  // False where the line is left out.
  bool read_case(const JsonLine& line, Case& result) const;

  std::string name_ = "hotpotqa";
  text::Grammar grammar_;
  bool modified_;
  std::int64_t max_characters_;
  Split train_;
  Split test_;
};

}  // namespace setrl::tasks
