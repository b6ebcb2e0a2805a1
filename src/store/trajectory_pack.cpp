#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "store/trajectory_table.h"

namespace setrl::store {

namespace {

using nlohmann::json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr std::int8_t kNotGraded = -1;
constexpr std::int32_t kNoMatchKnown = -2;

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string messages_to_json(const std::vector<Message>& messages) {
  json list = json::array();
  for (const auto& message : messages) list.push_back({{"role", message.role}, {"content", message.content}});
  return dump(list);
}

std::vector<Message> messages_from_json(const std::string& text) {
  std::vector<Message> messages;
  for (const auto& entry : json::parse(text)) {
    messages.push_back({entry.at("role").get<std::string>(), entry.at("content").get<std::string>()});
  }
  return messages;
}

std::string golds_to_json(const std::vector<GoldAnswer>& golds) {
  json list = json::array();
  for (const auto& gold : golds) {
    list.push_back({{"text", gold.text}, {"aliases", gold.aliases}, {"probability", gold.probability}});
  }
  return dump(list);
}

std::vector<GoldAnswer> golds_from_json(const std::string& text) {
  std::vector<GoldAnswer> golds;
  for (const auto& entry : json::parse(text)) {
    GoldAnswer gold;
    gold.text = entry.at("text").get<std::string>();
    gold.aliases = entry.at("aliases").get<std::vector<std::string>>();
    gold.probability = entry.at("probability").get<double>();
    golds.push_back(std::move(gold));
  }
  return golds;
}

template <typename T, typename Source>
void append(std::vector<T>& column, const Source& values) {
  column.insert(column.end(), values.begin(), values.end());
}

template <typename T>
std::int64_t length(const std::vector<T>& column) {
  return static_cast<std::int64_t>(column.size());
}

void pack_answers(const Verdict& verdict, TrajectoryTable& table) {
  const std::size_t rows = verdict.answers.answers.size();
  const auto check_length = [&](std::size_t size, const char* what) {
    SETRL_CHECK(size == rows || size == 0, "{} answers, but {} of {}", rows, size, what);
  };
  check_length(verdict.answers.confidences.size(), "confidences");
  check_length(verdict.correct.size(), "correct");
  check_length(verdict.matched_gold.size(), "matched_gold");
  check_length(verdict.f1.size(), "f1");
  SETRL_CHECK(verdict.correct.size() == verdict.matched_gold.size(), "{} graded answers, {} matches",
              verdict.correct.size(), verdict.matched_gold.size());
  auto& answers = table.answers;
  append(answers.text, verdict.answers.answers);
  append(answers.confidence, verdict.answers.confidences);
  append(answers.correct, verdict.correct);
  append(answers.matched_gold, verdict.matched_gold);
  append(answers.f1, verdict.f1);
  answers.confidence.resize(answers.text.size(), kNone);
  answers.correct.resize(answers.text.size(), kNotGraded);
  answers.matched_gold.resize(answers.text.size(), kNoMatchKnown);
  answers.f1.resize(answers.text.size(), kNone);
  check_length(verdict.programs.size(), "programs");
  for (const auto& program : verdict.programs) {
    answers.tree.push_back(static_cast<std::int64_t>(program.tree));
    answers.behaviour.push_back(static_cast<std::int64_t>(program.behaviour));
    answers.reason.push_back(program.reason);
  }
  answers.tree.resize(answers.text.size(), 0);
  answers.behaviour.resize(answers.text.size(), 0);
  answers.reason.resize(answers.text.size());
  table.answer_offsets.push_back(length(answers.text));
}

void pack_completion(const Group& group, std::size_t i, const std::string& text, TrajectoryTable& table) {
  const Completion& completion = group.completions[i];
  const Verdict& verdict = group.verdicts[i];
  SETRL_CHECK(completion.logprobs.size() == completion.tokens.size(), "{} tokens, {} log-probabilities",
              completion.tokens.size(), completion.logprobs.size());
  SETRL_CHECK(completion.forced.empty() || completion.forced.size() == completion.tokens.size(),
              "{} tokens, {} marks of forced ones", completion.tokens.size(), completion.forced.size());
  SETRL_CHECK(completion.finish != FinishReason::unfinished, "completion {} of {} is not finished", i,
              group.problem.id);
  append(table.tokens, completion.tokens);
  append(table.logprobs, completion.logprobs);
  append(table.forced, completion.forced);
  table.forced.resize(table.tokens.size(), 0);
  append(table.text, text);
  append(table.think, verdict.answers.think);
  table.completion_offsets.push_back(length(table.tokens));
  table.text_offsets.push_back(length(table.text));
  table.think_offsets.push_back(length(table.think));
  auto& rows = table.completions;
  rows.group_index.push_back(group.index);
  rows.sample_index.push_back(completion.sample_index);
  rows.finish.push_back(static_cast<std::uint8_t>(completion.finish));
  rows.oldest_version.push_back(completion.oldest_version);
  rows.newest_version.push_back(completion.newest_version);
  rows.outcome.push_back(static_cast<std::uint8_t>(verdict.outcome));
  rows.reward.push_back(verdict.total);
  rows.correct_count.push_back(verdict.correct_count());
  rows.malformed_reason.push_back(verdict.answers.malformed_reason);
  pack_answers(verdict, table);
}

// The matrix has one column for every name, in order of first appearance.
void pack_reward_terms(const std::vector<StoredGroup>& groups, TrajectoryTable& table) {
  auto& names = table.reward_term_names;
  const auto column_of = [&](const std::string& name) {
    return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
  };
  for (const auto& stored : groups) {
    for (const auto& verdict : stored.group.verdicts) {
      for (const auto& term : verdict.terms) {
        if (column_of(term.name) == names.size()) names.push_back(term.name);
      }
    }
  }
  for (const auto& stored : groups) {
    for (const auto& verdict : stored.group.verdicts) {
      const std::size_t row = table.reward_terms.size();
      table.reward_terms.resize(row + names.size(), kNone);
      for (const auto& term : verdict.terms) table.reward_terms[row + column_of(term.name)] = term.value;
    }
  }
}

template <typename T>
std::vector<T> slice(const std::vector<T>& column, const std::vector<std::int64_t>& offsets, std::size_t row) {
  return std::vector<T>(column.begin() + offsets[row], column.begin() + offsets[row + 1]);
}

std::string text_slice(const std::vector<std::uint8_t>& column, const std::vector<std::int64_t>& offsets,
                       std::size_t row) {
  return std::string(column.begin() + offsets[row], column.begin() + offsets[row + 1]);
}

Verdict unpack_verdict(const TrajectoryTable& table, std::size_t row) {
  Verdict verdict;
  verdict.outcome = static_cast<Outcome>(table.completions.outcome[row]);
  verdict.total = table.completions.reward[row];
  verdict.answers.think = text_slice(table.think, table.think_offsets, row);
  verdict.answers.malformed_reason = table.completions.malformed_reason[row];
  verdict.answers.answers = slice(table.answers.text, table.answer_offsets, row);
  for (auto i = static_cast<std::size_t>(table.answer_offsets[row]);
       i < static_cast<std::size_t>(table.answer_offsets[row + 1]); ++i) {
    const double confidence = table.answers.confidence[i];
    if (!std::isnan(confidence)) verdict.answers.confidences.push_back(confidence);
    if (!std::isnan(table.answers.f1[i])) verdict.f1.push_back(table.answers.f1[i]);
    // -2 also stands for an abstention (kAbstained), which is graded.
    if (table.answers.correct[i] != kNotGraded) {
      verdict.correct.push_back(static_cast<std::uint8_t>(table.answers.correct[i]));
      verdict.matched_gold.push_back(table.answers.matched_gold[i]);
    }
    verdict.programs.push_back({static_cast<std::uint64_t>(table.answers.tree[i]),
                                static_cast<std::uint64_t>(table.answers.behaviour[i]), table.answers.reason[i]});
  }
  const bool are_programs =
      std::any_of(verdict.programs.begin(), verdict.programs.end(), [](const ProgramTrace& program) {
        return program.tree != 0 || program.behaviour != 0 || !program.reason.empty();
      });
  if (!are_programs) verdict.programs.clear();
  const std::size_t names = table.reward_term_names.size();
  for (std::size_t m = 0; m < names; ++m) {
    const double value = table.reward_terms[row * names + m];
    if (!std::isnan(value)) verdict.terms.push_back({table.reward_term_names[m], value});
  }
  return verdict;
}

Completion unpack_completion(const TrajectoryTable& table, std::size_t row, const std::string& problem_id) {
  Completion completion;
  completion.problem_id = problem_id;
  completion.sample_index = table.completions.sample_index[row];
  completion.tokens = slice(table.tokens, table.completion_offsets, row);
  completion.logprobs = slice(table.logprobs, table.completion_offsets, row);
  completion.forced = slice(table.forced, table.completion_offsets, row);
  const auto& forced = completion.forced;
  if (std::find(forced.begin(), forced.end(), 1) == forced.end()) completion.forced.clear();
  completion.oldest_version = table.completions.oldest_version[row];
  completion.newest_version = table.completions.newest_version[row];
  completion.finish = static_cast<FinishReason>(table.completions.finish[row]);
  return completion;
}

}  // namespace

TrajectoryTable pack(const std::vector<StoredGroup>& groups) {
  TrajectoryTable table;
  for (const auto& [group, texts] : groups) {
    const std::size_t count = group.completions.size();
    SETRL_CHECK(group.verdicts.size() == count && texts.size() == count, "{} completions, {} verdicts, {} texts", count,
                group.verdicts.size(), texts.size());
    table.groups.step.push_back(group.step);
    table.groups.index.push_back(group.index);
    table.groups.policy_version.push_back(group.policy_version);
    table.groups.problem_id.push_back(group.problem.id);
    table.groups.task.push_back(group.problem.task);
    table.groups.messages.push_back(messages_to_json(group.problem.messages));
    table.groups.golds.push_back(golds_to_json(group.problem.golds));
    table.groups.payload.push_back(group.problem.payload);
    append(table.prompt_tokens, group.prompt.tokens);
    table.prompt_offsets.push_back(length(table.prompt_tokens));
    for (std::size_t i = 0; i < count; ++i) pack_completion(group, i, texts[i], table);
    table.group_offsets.push_back(length(table.completions.reward));
  }
  pack_reward_terms(groups, table);
  return table;
}

std::vector<StoredGroup> unpack(const TrajectoryTable& table) {
  std::vector<StoredGroup> groups;
  for (std::size_t n = 0; n < table.groups.index.size(); ++n) {
    StoredGroup stored;
    Group& group = stored.group;
    group.step = table.groups.step[n];
    group.index = table.groups.index[n];
    group.policy_version = table.groups.policy_version[n];
    group.problem.id = table.groups.problem_id[n];
    group.problem.task = table.groups.task[n];
    group.problem.messages = messages_from_json(table.groups.messages[n]);
    group.problem.golds = golds_from_json(table.groups.golds[n]);
    group.problem.payload = table.groups.payload[n];
    group.prompt.problem_id = group.problem.id;
    group.prompt.tokens = slice(table.prompt_tokens, table.prompt_offsets, n);
    for (auto row = static_cast<std::size_t>(table.group_offsets[n]);
         row < static_cast<std::size_t>(table.group_offsets[n + 1]); ++row) {
      group.completions.push_back(unpack_completion(table, row, group.problem.id));
      group.verdicts.push_back(unpack_verdict(table, row));
      stored.texts.push_back(text_slice(table.text, table.text_offsets, row));
    }
    groups.push_back(std::move(stored));
  }
  return groups;
}

}  // namespace setrl::store
