// The columns of a trajectory file in memory. docs/trajectory_format.md describes every one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/hdf5.h"
#include "store/trajectory_file.h"

namespace setrl::store {

// N groups, C completions, T tokens, R answers, M names of reward terms.
struct TrajectoryTable {
  std::vector<std::int32_t> tokens;         // [T]
  std::vector<float> logprobs;              // [T]
  std::vector<std::uint8_t> forced;         // [T] 1: not sampled, but forced
  std::vector<std::uint8_t> text;           // all texts, UTF-8
  std::vector<std::uint8_t> think;          // all think blocks, UTF-8
  std::vector<std::int32_t> prompt_tokens;  // all prompts

  std::vector<std::int64_t> completion_offsets = {0};  // [C + 1] into tokens
  std::vector<std::int64_t> text_offsets = {0};        // [C + 1]
  std::vector<std::int64_t> think_offsets = {0};       // [C + 1]
  std::vector<std::int64_t> answer_offsets = {0};      // [C + 1] into answers/*
  std::vector<std::int64_t> prompt_offsets = {0};      // [N + 1] into prompt_tokens
  std::vector<std::int64_t> group_offsets = {0};       // [N + 1] into completions/*

  struct {
    std::vector<std::int64_t> step, index, policy_version;
    std::vector<std::string> problem_id, task, messages, golds, payload;
  } groups;  // [N]

  struct {
    std::vector<std::int64_t> group_index, oldest_version, newest_version;
    std::vector<std::int32_t> sample_index, correct_count;
    std::vector<std::uint8_t> finish, outcome;
    std::vector<double> reward;
    std::vector<std::string> malformed_reason;
  } completions;  // [C]

  struct {
    std::vector<std::string> text;
    std::vector<double> confidence;             // NaN where the format has none
    std::vector<std::int8_t> correct;           // -1 where not graded
    std::vector<std::int32_t> matched_gold;     // -1 no match, -2 not graded
    std::vector<std::int64_t> tree, behaviour;  // bits of ProgramTrace; 0 where the answer is no program
    std::vector<std::string> reason;            // why a program did not pass
    std::vector<double> f1;                     // NaN where the task reports none
  } answers;                                    // [R]

  std::vector<std::string> reward_term_names;  // [M]
  std::vector<double> reward_terms;            // [C, M], NaN where the completion lacks the term
};

constexpr std::int64_t kTableVersion = 3;

// Of a file with such a table: its attribute. Throws UserError where it is none that read_table knows.
std::int64_t read_schema_version(hid_t file);

// Groups must carry one verdict and one text a completion (BugError otherwise).
TrajectoryTable pack(const std::vector<StoredGroup>& groups);
std::vector<StoredGroup> unpack(const TrajectoryTable& table);

void write_table(hid_t file, const TrajectoryTable& table);
// `schema_version`: of the file; 1 has no columns for programs, 1 and 2 none for forced tokens and f1. Throws UserError
// where a dataset is missing or the lengths and offsets do not fit together.
TrajectoryTable read_table(hid_t file, std::int64_t schema_version);

}  // namespace setrl::store
