#include "tasks/mbpp_task.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/random.h"
#include "tasks/file_view.h"

namespace setrl::tasks {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kFillerSeed = 20240608;

std::string with_plain_line_ends(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    result += text[i];
  }
  return result;
}

std::vector<std::string> lines_of(const json& list) {
  std::vector<std::string> lines;
  for (const auto& line : list) lines.push_back(with_plain_line_ends(line.get<std::string>()));
  return lines;
}

std::string split_of(std::int64_t id) {
  if (id >= 601 && id <= 974) return "train";
  if (id >= 511 && id <= 600) return "validation";
  if (id >= 11 && id <= 510) return "test";
  return id >= 1 && id <= 10 ? "prompt" : "";
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// [begin, end) of the next whole word from `at` on; empty at the text's end.
std::pair<std::size_t, std::size_t> next_word(const std::string& text, std::size_t at) {
  while (at < text.size() && !is_word(text[at])) ++at;
  std::size_t end = at;
  while (end < text.size() && is_word(text[end])) ++end;
  return {at, end};
}

// The function of the program that a test calls first; "" where there is none.
std::string tested_function(const std::string& test, const std::string& code) {
  std::set<std::string> defined;
  bool after_def = false;
  for (auto [begin, end] = next_word(code, 0); begin != end; std::tie(begin, end) = next_word(code, end)) {
    const std::string word = code.substr(begin, end - begin);
    if (after_def) defined.insert(word);
    after_def = word == "def";
  }
  for (auto [begin, end] = next_word(test, 0); begin != end; std::tie(begin, end) = next_word(test, end)) {
    const std::string word = test.substr(begin, end - begin);
    if (defined.count(word) != 0) return word;
  }
  return "";
}

std::string with_word_replaced(const std::string& text, const std::string& word, const std::string& by) {
  std::string result;
  std::size_t done = 0;
  for (auto [begin, end] = next_word(text, 0); begin != end; std::tie(begin, end) = next_word(text, end)) {
    if (text.compare(begin, end - begin, word) != 0) continue;
    result.append(text, done, begin - done).append(by);
    done = end;
  }
  return result.append(text, done, std::string::npos);
}

// The file that task.path means.
fs::path file_of(const RunConfig& config) {
  const fs::path path = config.task.path;
  if (path.empty()) throw_user_error("task.path is empty; task mbpp needs the folder of mbpp.jsonl there");
  if (fs::is_regular_file(path)) return path;
  for (const auto* name : {"mbpp.jsonl", "sanitized-mbpp.json"}) {
    if (fs::is_regular_file(path / name)) return path / name;
  }
  throw_user_error("task.path: neither mbpp.jsonl nor sanitized-mbpp.json is in '{}'", config.task.path);
}

}  // namespace

MbppTask::MbppTask(const RunConfig& config) : grammar_(text::grammar_of(config)) {
  const fs::path path = file_of(config);
  if (path.extension() == ".json") {
    read_list(path.string());
  } else {
    read_lines(path.string());
  }
  for (const auto* name : {"train", "test", "validation", "prompt"}) {
    auto& entries = splits_[name];
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.id < b.id; });
    for (std::size_t i = 1; i < entries.size(); ++i) {
      if (entries[i].id == entries[i - 1].id)
        throw_user_error("{}: task {} is there twice", path.string(), entries[i].id);
    }
  }
  if (splits_["train"].empty() || splits_["test"].empty()) {
    throw_user_error("{}: no problems of the splits train (ids 601-974) and test (11-510)", path.string());
  }
}

void MbppTask::add(const std::string& where, Entry entry) {
  const std::string split = split_of(entry.id);
  if (split.empty()) throw_user_error("{}: task_id {} is none of 1-974", where, entry.id);
  if (entry.tests.empty()) throw_user_error("{}: task {} has no tests", where, entry.id);
  splits_[split].push_back(std::move(entry));
}

MbppTask::Entry MbppTask::read_entry(const std::string& where, const std::string& text) {
  try {
    const auto row = json::parse(text);
    Entry entry;
    entry.id = row.at("task_id").get<std::int64_t>();
    // The sanitized file calls the text `prompt` and has imports instead of set-up code.
    entry.text = with_plain_line_ends(row.at(row.contains("text") ? "text" : "prompt").get<std::string>());
    entry.code = with_plain_line_ends(row.at("code").get<std::string>());
    entry.setup = with_plain_line_ends(row.value("test_setup_code", ""));
    entry.imports = lines_of(row.value("test_imports", json::array()));
    entry.tests = lines_of(row.at("test_list"));
    return entry;
  } catch (const json::exception& error) {
    throw_user_error("{}: not a problem of MBPP ({})", where, error.what());
  }
}

void MbppTask::read_lines(const std::string& path) {
  const FileView file(path);
  std::string_view rest = file.text();
  for (std::int64_t number = 1; !rest.empty(); ++number) {
    const auto end = std::min(rest.find('\n'), rest.size());
    const std::string line(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}, line {}", path, number);
    add(where, read_entry(where, line));
  }
}

void MbppTask::read_list(const std::string& path) {
  const FileView file(path);
  const auto list = json::parse(file.text(), nullptr, false);
  if (!list.is_array()) throw_user_error("{}: is not a JSON list of problems", path);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("{}, element {}", path, i);
    add(where, read_entry(where, list[i].dump()));
  }
}

const std::vector<MbppTask::Entry>& MbppTask::split(const std::string& name) const {
  const auto found = splits_.find(name);
  if (found == splits_.end()) {
    throw_user_error("task mbpp has the splits train, test, validation and prompt, not `{}`", name);
  }
  return found->second;
}

std::int64_t MbppTask::size(const std::string& name) const {
  return static_cast<std::int64_t>(split(name).size());
}

std::string MbppTask::stratum(const std::string& name, std::int64_t index) const {
  SETRL_CHECK(index >= 0 && index < size(name), "index {} is outside mbpp/{}", index, name);
  return "program";
}

Problem MbppTask::problem(const std::string& name, std::int64_t index) const {
  SETRL_CHECK(index >= 0 && index < size(name), "index {} is outside mbpp/{}", index, name);
  const Entry& entry = split(name)[static_cast<std::size_t>(index)];
  Problem problem;
  problem.id = fmt::format("mbpp/{}/{}", name, entry.id);
  problem.task = name_;
  std::string shown = entry.tests.front();
  for (auto it = entry.imports.rbegin(); it != entry.imports.rend(); ++it) shown = *it + "\n" + shown;
  problem.messages = {{"system", "You write Python programs.\n" + text::instructions(grammar_)},
                      {"user", entry.text + "\nYour program should pass tests like this one:\n" + shown}};
  problem.payload = json{{"task_id", entry.id},  {"imports", entry.imports}, {"setup", entry.setup},
                         {"tests", entry.tests}, {"shown", shown},           {"reference", entry.code}}
                        .dump();
  return problem;
}

AnswerSet MbppTask::gold_answer_set(const Problem& problem, const text::Grammar& grammar) const {
  const auto payload = json::parse(problem.payload);
  AnswerSet set;
  set.think = "The test shows the function's name and its arguments.";
  set.answers.push_back(payload.at("reference").get<std::string>());
  const std::string function = tested_function(payload.at("shown").get<std::string>(), set.answers.front());
  const auto& others = split("train");
  RandomStream random(kFillerSeed, stable_hash(problem.id));
  while (set.answers.size() < static_cast<std::size_t>(grammar.k)) {
    const Entry& other = others[random.below(others.size())];
    std::string code = other.code;
    const std::string name = tested_function(other.tests.front(), code);
    if (!function.empty() && !name.empty()) code = with_word_replaced(code, name, function);
    if (std::find(set.answers.begin(), set.answers.end(), code) == set.answers.end()) set.answers.push_back(code);
  }
  if (grammar.confidences) {
    set.confidences.assign(set.answers.size(), 0);
    set.confidences.front() = 1;
  }
  return set;
}

}  // namespace setrl::tasks
