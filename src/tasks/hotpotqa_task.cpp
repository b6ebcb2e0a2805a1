#include "tasks/hotpotqa_task.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "tasks/gold_set_builder.h"

namespace setrl::tasks {
namespace {

constexpr std::uint64_t kRemovalSeed = 2018;  // not the run's seed: all runs share their problems
constexpr std::uint64_t kFillerSeed = 20240607;
constexpr std::size_t kParagraphs = 10;
constexpr std::size_t kGolds = 2;
// Confidences of the cold start's gold answers by the number of gold paragraphs that were taken out: about how often
// published models are right in the three cases. A start that reinforcement learning corrects, not a claim.
constexpr std::array<double, 3> kPrior = {0.7, 0.4, 0.2};

std::string folder_of(const RunConfig& config) {
  if (config.task.path.empty()) {
    throw_user_error("task.path is empty; task hotpotqa needs the folder of train.jsonl and test.jsonl there");
  }
  return config.task.path;
}

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::int64_t count_characters(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::string shown(const std::string& title, const std::string& text) {
  return title + ": " + text + "\n";
}

// `_id`, `id`, or, where there is neither, a hash of the question.
std::string id_of(const JsonLine& line, const std::string& question) {
  for (const char* field : {"_id", "id"}) {
    if (line.has(field) && !line.object().at(field).is_null()) return line.get<std::string>(field, "a string");
  }
  return fmt::format("{:016x}", stable_hash(question));
}

std::set<std::string> gold_titles_of(const JsonLine& line) {
  if (line.has("gold_titles")) {
    const auto titles = line.get<std::vector<std::string>>("gold_titles", "a list of titles");
    return {titles.begin(), titles.end()};
  }
  std::set<std::string> titles;
  for (const auto& [title, sentence] : line.get<std::vector<std::pair<std::string, std::int64_t>>>(
           "supporting_facts", "a list of [title, number of the sentence]")) {
    titles.insert(title);
  }
  return titles;
}

// Marks what is taken out: `removed` golds and as many distractors as leave 8 paragraphs.
std::vector<bool> choose_removed(const std::string& id, const std::vector<bool>& gold, int& removed) {
  RandomStream random(kRemovalSeed, stable_hash("hotpotqa/" + id));
  removed = static_cast<int>(random.below(kGolds + 1));
  std::vector<bool> out(gold.size(), false);
  for (const bool kind : {true, false}) {
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < gold.size(); ++i) {
      if (gold[i] == kind) places.push_back(i);
    }
    random.shuffle(places);
    const std::size_t count = kind ? static_cast<std::size_t>(removed) : kGolds - static_cast<std::size_t>(removed);
    for (std::size_t i = 0; i < count; ++i) out[places[i]] = true;
  }
  return out;
}

}  // namespace

HotpotqaTask::HotpotqaTask(const RunConfig& config)
    : grammar_(text::grammar_of(config)),
      modified_(config.task.context == "modified"),
      max_characters_(config.task.max_characters),
      train_(read_split(folder_of(config), "train")),
      test_(read_split(config.task.path, "test")) {}

HotpotqaTask::Split HotpotqaTask::read_split(const std::string& folder, const std::string& name) const {
  Split result((std::filesystem::path(folder) / (name + ".jsonl")).string());
  Case each;
  for (std::int64_t i = 0; i < result.lines.size(); ++i) {
    if (!read_case(result.lines.line(i), each)) continue;
    result.used.push_back(i);
    result.strata.push_back(each.type + (modified_ ? fmt::format(", {} removed", each.removed) : ""));
  }
  if (result.used.empty()) {
    throw_user_error("{}: none of its {} lines is a problem with a text under {} characters", result.lines.path(),
                     result.lines.size(), max_characters_);
  }
  return result;
}

bool HotpotqaTask::read_case(const JsonLine& line, Case& result) const {
  result = Case{};
  result.question = trimmed(line.get<std::string>("question", "a string"));
  result.id = id_of(line, result.question);
  result.answer = trimmed(line.get<std::string>("answer", "a string"));
  result.type = line.get<std::string>("type", "a string");
  result.level = line.get<std::string>("level", "a string");
  using Titled = std::pair<std::string, std::vector<std::string>>;
  const auto context = line.get<std::vector<Titled>>("context", "a list of [title, [sentence, ...]]");
  const auto gold_titles = gold_titles_of(line);
  std::vector<bool> gold;
  for (const auto& [title, sentences] : context) gold.push_back(gold_titles.count(title) > 0);
  std::vector<bool> removed(context.size(), false);
  if (modified_) {
    if (context.size() != kParagraphs || std::count(gold.begin(), gold.end(), true) != kGolds) return false;
    removed = choose_removed(result.id, gold, result.removed);
  }
  std::int64_t characters = 0;
  for (std::size_t i = 0; i < context.size(); ++i) {
    if (removed[i]) continue;
    std::string text;
    for (const auto& sentence : context[i].second) text += sentence;
    result.paragraphs.push_back({context[i].first, trimmed(text), gold[i]});
    characters += count_characters(shown(context[i].first, result.paragraphs.back().text));
  }
  return !text::normalise(result.answer).empty() && (max_characters_ == 0 || characters < max_characters_);
}

const HotpotqaTask::Split& HotpotqaTask::split(const std::string& name) const {
  if (name == "train") return train_;
  if (name == "test") return test_;
  throw_user_error("task hotpotqa has the splits train and test, not `{}`", name);
}

std::int64_t HotpotqaTask::size(const std::string& name) const {
  return static_cast<std::int64_t>(split(name).used.size());
}

std::string HotpotqaTask::stratum(const std::string& name, std::int64_t index) const {
  return split(name).strata.at(static_cast<std::size_t>(index));
}

Problem HotpotqaTask::problem(const std::string& name, std::int64_t index) const {
  const Split& from = split(name);
  SETRL_CHECK(index >= 0 && index < size(name), "index {} is outside hotpotqa/{}", index, name);
  Case each;
  SETRL_CHECK(read_case(from.lines.line(from.used[static_cast<std::size_t>(index)]), each), "a problem left the split");
  Problem problem;
  problem.id = fmt::format("hotpotqa/{}/{}", name, each.id);
  problem.task = name_;
  std::string role = "You answer a question with the help of paragraphs.";
  if (modified_) role += " Paragraphs that are needed may be missing.";
  std::string question = "Paragraphs:\n";
  nlohmann::json titles = nlohmann::json::array(), gold_titles = nlohmann::json::array();
  for (const auto& [title, text, gold] : each.paragraphs) {
    question += shown(title, text);
    titles.push_back(title);
    if (gold) gold_titles.push_back(title);
  }
  problem.messages = {{"system", role + "\n" + text::instructions(grammar_)},
                      {"user", question + "\nQuestion: " + each.question}};
  problem.golds = {{each.answer, {}, -1}};
  problem.payload = nlohmann::json{
      {"type", each.type},
      {"level", each.level},
      {"removed", each.removed},
      {"titles", titles},
      {"gold_titles",
       gold_titles}}.dump();
  return problem;
}

AnswerSet HotpotqaTask::gold_answer_set(const Problem& problem, const text::Grammar& grammar) const {
  const auto payload = nlohmann::json::parse(problem.payload);
  const auto gold_titles = payload.at("gold_titles").get<std::vector<std::string>>();
  AnswerSet set;
  for (const auto& title : gold_titles) set.think += (set.think.empty() ? "What counts: " : "; ") + title;
  set.think += set.think.empty() ? "No paragraph settles it." : ".";

  const std::string& answer = problem.golds.front().text;
  GoldSetBuilder builder(static_cast<std::size_t>(grammar.k));
  builder.add(answer, kPrior.at(payload.at("removed").get<std::size_t>()));
  if (grammar.abstention) builder.add_abstentions();
  const double confidence = builder.filler_confidence();
  const std::string name = text::normalise(answer);
  const bool yes_or_no = name == "yes" || name == "no";
  if (yes_or_no) builder.add(name == "yes" ? "no" : "yes", confidence);
  auto titles = payload.at("titles").get<std::vector<std::string>>();
  RandomStream random(kFillerSeed, stable_hash(problem.id));
  random.shuffle(titles);
  for (const auto& title : titles) builder.add(title, confidence);
  if (!builder.full()) {
    throw_user_error("task.k = {}: problem {} has too few titles to fill a set for the cold start", grammar.k,
                     problem.id);
  }
  builder.finish(set, grammar.confidences);
  return set;
}

}  // namespace setrl::tasks
