// MBPP (Austin et al., 2021, arXiv 2108.07732): short Python programs described in a sentence, judged by tests.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tasks/task.h"

namespace setrl::tasks {

// config.task.path: the folder of mbpp.jsonl or sanitized-mbpp.json (the former where both are there), or one of these
// files. Splits by the publishers' task ids: train 601-974, test 11-510, validation 511-600, prompt 1-10; by ascending
// id. Line ends are "\n" whatever the file has. Problem::golds is empty: every program that passes is correct.
// Payload: {"task_id", "imports", "setup", "tests", "shown": the test in the prompt, "reference": a program}.
class MbppTask final : public Task {
 public:
  // Throws UserError naming file and line where the data is missing or malformed.
  explicit MbppTask(const RunConfig& config);

  const std::string& name() const override { return name_; }
  std::int64_t size(const std::string& split) const override;
  Problem problem(const std::string& split, std::int64_t index) const override;
  std::string stratum(const std::string& split, std::int64_t index) const override;  // all of one kind
  // The reference program with confidence 1 and, in the other slots, reference programs of other problems with
  // confidence 0: well-formed Python that defines the tested function, and is wrong here.
  AnswerSet gold_answer_set(const Problem& problem, const text::Grammar& grammar) const override;

 private:
  struct Entry {
    std::int64_t id = 0;
    std::string text, code, setup;
    std::vector<std::string> imports, tests;
  };
  static Entry read_entry(const std::string& where, const std::string& json);
  void read_lines(const std::string& path);
  void read_list(const std::string& path);
  void add(const std::string& where, Entry entry);
  const std::vector<Entry>& split(const std::string& name) const;

  const std::string name_ = "mbpp";
  text::Grammar grammar_;
  std::map<std::string, std::vector<Entry>> splits_;
};

}  // namespace setrl::tasks
