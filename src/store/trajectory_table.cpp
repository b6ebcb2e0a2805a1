#include "store/trajectory_table.h"

#include <limits>
#include <type_traits>

#include "base/error.h"

namespace setrl::store {

namespace {

const h5::EnumNames kFinishNames = {{"end_of_turn", static_cast<std::uint8_t>(FinishReason::end_of_turn)},
                                    {"length", static_cast<std::uint8_t>(FinishReason::length)}};
const h5::EnumNames kOutcomeNames = {
    {"graded", static_cast<std::uint8_t>(Outcome::graded)},
    {"bad_format", static_cast<std::uint8_t>(Outcome::bad_format)},
    {"infrastructure_failure", static_cast<std::uint8_t>(Outcome::infrastructure_failure)}};

// Writer and Reader walk the same list of columns, so they cannot disagree.
class Writer {
 public:
  explicit Writer(hid_t file) : file_(file) {}
  template <typename T>
  void column(const std::string& name, const std::vector<T>& values) {
    if constexpr (std::is_same_v<T, std::string>) {
      h5::write_strings(file_, name, values);
    } else {
      h5::write_array(file_, name, values);
    }
  }
  void enums(const std::string& name, const std::vector<std::uint8_t>& values, const h5::EnumNames& names) {
    h5::write_enums(file_, name, names, values);
  }

 private:
  hid_t file_;
};

class Reader {
 public:
  explicit Reader(hid_t file) : file_(file) {}
  template <typename T>
  void column(const std::string& name, std::vector<T>& values) {
    if constexpr (std::is_same_v<T, std::string>) {
      values = h5::read_strings(file_, name);
    } else {
      values = h5::read_array<T>(file_, name);
    }
  }
  void enums(const std::string& name, std::vector<std::uint8_t>& values, const h5::EnumNames& names) {
    column(name, values);
    for (const auto value : values) {
      if (value >= names.size()) throw_user_error("{}: {} is not one of its {} values", name, value, names.size());
    }
  }

 private:
  hid_t file_;
};

template <typename Archive, typename Table>
void visit(Archive& archive, Table& t) {
  archive.column("tokens", t.tokens);
  archive.column("logprobs", t.logprobs);
  archive.column("text", t.text);
  archive.column("think", t.think);
  archive.column("prompt_tokens", t.prompt_tokens);
  archive.column("completion_offsets", t.completion_offsets);
  archive.column("text_offsets", t.text_offsets);
  archive.column("think_offsets", t.think_offsets);
  archive.column("answer_offsets", t.answer_offsets);
  archive.column("prompt_offsets", t.prompt_offsets);
  archive.column("group_offsets", t.group_offsets);
  archive.column("groups/step", t.groups.step);
  archive.column("groups/index", t.groups.index);
  archive.column("groups/policy_version", t.groups.policy_version);
  archive.column("groups/problem_id", t.groups.problem_id);
  archive.column("groups/task", t.groups.task);
  archive.column("groups/messages", t.groups.messages);
  archive.column("groups/golds", t.groups.golds);
  archive.column("groups/payload", t.groups.payload);
  archive.column("completions/group_index", t.completions.group_index);
  archive.column("completions/sample_index", t.completions.sample_index);
  archive.enums("completions/finish", t.completions.finish, kFinishNames);
  archive.column("completions/oldest_version", t.completions.oldest_version);
  archive.column("completions/newest_version", t.completions.newest_version);
  archive.enums("completions/outcome", t.completions.outcome, kOutcomeNames);
  archive.column("completions/reward", t.completions.reward);
  archive.column("completions/correct_count", t.completions.correct_count);
  archive.column("completions/malformed_reason", t.completions.malformed_reason);
  archive.column("answers/text", t.answers.text);
  archive.column("answers/confidence", t.answers.confidence);
  archive.column("answers/correct", t.answers.correct);
  archive.column("answers/matched_gold", t.answers.matched_gold);
  archive.column("reward_term_names", t.reward_term_names);
}

// Since schema version 2.
template <typename Archive, typename Table>
void visit_programs(Archive& archive, Table& t) {
  archive.column("answers/tree", t.answers.tree);
  archive.column("answers/behaviour", t.answers.behaviour);
  archive.column("answers/reason", t.answers.reason);
}

// Since schema version 3.
template <typename Archive, typename Table>
void visit_marks(Archive& archive, Table& t) {
  archive.column("forced", t.forced);
  archive.column("answers/f1", t.answers.f1);
}

template <typename T>
void expect_length(const char* name, const std::vector<T>& values, std::size_t expected) {
  if (values.size() != expected) throw_user_error("{}: {} rows, expected {}", name, values.size(), expected);
}

void expect_offsets(const char* name, const std::vector<std::int64_t>& offsets, std::size_t rows,
                    std::size_t elements) {
  expect_length(name, offsets, rows + 1);
  bool fits = offsets.front() == 0 && offsets.back() == static_cast<std::int64_t>(elements);
  for (std::size_t i = 1; i < offsets.size(); ++i) fits = fits && offsets[i - 1] <= offsets[i];
  if (!fits) throw_user_error("{}: the offsets do not ascend from 0 to {}", name, elements);
}

void validate(const TrajectoryTable& t) {
  const std::size_t n = t.groups.index.size();
  const std::size_t c = t.completions.reward.size();
  const std::size_t r = t.answers.text.size();
  expect_length("logprobs", t.logprobs, t.tokens.size());
  expect_length("forced", t.forced, t.tokens.size());
  expect_offsets("completion_offsets", t.completion_offsets, c, t.tokens.size());
  expect_offsets("text_offsets", t.text_offsets, c, t.text.size());
  expect_offsets("think_offsets", t.think_offsets, c, t.think.size());
  expect_offsets("answer_offsets", t.answer_offsets, c, r);
  expect_offsets("prompt_offsets", t.prompt_offsets, n, t.prompt_tokens.size());
  expect_offsets("group_offsets", t.group_offsets, n, c);
  expect_length("groups/step", t.groups.step, n);
  expect_length("groups/policy_version", t.groups.policy_version, n);
  expect_length("groups/problem_id", t.groups.problem_id, n);
  expect_length("groups/task", t.groups.task, n);
  expect_length("groups/messages", t.groups.messages, n);
  expect_length("groups/golds", t.groups.golds, n);
  expect_length("groups/payload", t.groups.payload, n);
  expect_length("completions/group_index", t.completions.group_index, c);
  expect_length("completions/sample_index", t.completions.sample_index, c);
  expect_length("completions/finish", t.completions.finish, c);
  expect_length("completions/oldest_version", t.completions.oldest_version, c);
  expect_length("completions/newest_version", t.completions.newest_version, c);
  expect_length("completions/outcome", t.completions.outcome, c);
  expect_length("completions/correct_count", t.completions.correct_count, c);
  expect_length("completions/malformed_reason", t.completions.malformed_reason, c);
  expect_length("answers/confidence", t.answers.confidence, r);
  expect_length("answers/correct", t.answers.correct, r);
  expect_length("answers/matched_gold", t.answers.matched_gold, r);
  expect_length("answers/tree", t.answers.tree, r);
  expect_length("answers/behaviour", t.answers.behaviour, r);
  expect_length("answers/reason", t.answers.reason, r);
  expect_length("answers/f1", t.answers.f1, r);
  expect_length("reward_terms", t.reward_terms, c * t.reward_term_names.size());
}

}  // namespace

std::int64_t read_schema_version(hid_t file) {
  const std::int64_t version = h5::read_integer_attribute(file, "schema_version");
  if (version < 1 || version > kTableVersion) {
    throw_user_error("schema version {} is unknown to this program, which reads up to {}", version, kTableVersion);
  }
  return version;
}

void write_table(hid_t file, const TrajectoryTable& table) {
  h5::make_group(file, "groups");
  h5::make_group(file, "completions");
  h5::make_group(file, "answers");
  Writer writer(file);
  visit(writer, table);
  visit_programs(writer, table);
  visit_marks(writer, table);
  h5::write_raw(file, "reward_terms", h5::type_of<double>(),
                {table.completions.reward.size(), table.reward_term_names.size()}, table.reward_terms.data(), true);
}

TrajectoryTable read_table(hid_t file, std::int64_t schema_version) {
  TrajectoryTable table;
  Reader reader(file);
  visit(reader, table);
  if (schema_version >= 2) {
    visit_programs(reader, table);
  } else {
    table.answers.tree.resize(table.answers.text.size());
    table.answers.behaviour.resize(table.answers.text.size());
    table.answers.reason.resize(table.answers.text.size());
  }
  if (schema_version >= 3) {
    visit_marks(reader, table);
  } else {
    table.forced.resize(table.tokens.size());
    table.answers.f1.resize(table.answers.text.size(), std::numeric_limits<double>::quiet_NaN());
  }
  std::vector<hsize_t> extents;
  table.reward_terms = h5::read_array<double>(file, "reward_terms", extents);
  validate(table);
  return table;
}

}  // namespace setrl::store
