#include "tasks/jsonl_task.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "tasks/gold_set_builder.h"

namespace setrl::tasks {
namespace {

constexpr std::uint64_t kFillerSeed = 20240607;
constexpr const char* kPlaceholder = "{format}";
constexpr const char* kFields[] = {"id", "prompt", "messages", "golds", "grader", "payload", "stratum"};
constexpr const char* kProgramFields[] = {"id", "prompt", "messages", "golds", "tests", "imports", "setup", "stratum"};
constexpr const char* kGraders[] = {"exact", "external"};

std::string file_of(const RunConfig& config, const char* name) {
  if (config.task.path.empty()) {
    throw_user_error("task.path is empty; task jsonl needs the folder of train.jsonl and test.jsonl there");
  }
  return (std::filesystem::path(config.task.path) / name).string();
}

template <std::size_t n>
bool is_one_of(const char* const (&names)[n], const std::string& name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

std::vector<Message> read_messages(const JsonLine& line) {
  if (line.has("prompt") == line.has("messages")) line.fail("needs either \"prompt\" or \"messages\"");
  if (line.has("prompt")) return {{"user", line.get<std::string>("prompt", "a string")}};
  std::vector<Message> messages;
  for (const auto& each : line.get<std::vector<nlohmann::json>>("messages", "a list of {role, content}")) {
    if (!each.is_object() || each.size() != 2 || !each.value("role", nlohmann::json()).is_string() ||
        !each.value("content", nlohmann::json()).is_string()) {
      line.fail("a message is not {\"role\": string, \"content\": string}");
    }
    const auto role = each.at("role").get<std::string>();
    if (role != "system" && role != "user" && role != "assistant") {
      line.fail("a message has the role \"" + role + "\"; expected system, user or assistant");
    }
    messages.push_back({role, each.at("content").get<std::string>()});
  }
  if (messages.empty() || messages.back().role != "user") line.fail("the last message is not the user's");
  return messages;
}

void add_instructions(std::vector<Message>& messages, const std::string& instructions) {
  bool placed = false;
  for (auto& message : messages) {
    for (auto at = message.content.find(kPlaceholder); at != std::string::npos;
         at = message.content.find(kPlaceholder, at + instructions.size())) {
      message.content.replace(at, std::string(kPlaceholder).size(), instructions);
      placed = true;
    }
  }
  if (placed) return;
  if (messages.front().role == "system") {
    messages.front().content += "\n" + instructions;
  } else {
    messages.insert(messages.begin(), {"system", instructions});
  }
}

std::vector<GoldAnswer> read_golds(const JsonLine& line) {
  std::vector<GoldAnswer> golds;
  if (!line.has("golds")) return golds;
  for (const auto& each : line.get<std::vector<nlohmann::json>>("golds", "a list of strings or of {text, ...}")) {
    GoldAnswer gold;
    if (each.is_string()) {
      gold.text = each.get<std::string>();
    } else if (each.is_object()) {
      try {
        gold.text = each.at("text").get<std::string>();
        if (each.contains("aliases")) gold.aliases = each.at("aliases").get<std::vector<std::string>>();
        if (each.contains("probability")) gold.probability = each.at("probability").get<double>();
      } catch (const nlohmann::json::exception&) {
        line.fail("a gold is not {\"text\": string, \"aliases\": [string], \"probability\": number}");
      }
      for (const auto& [key, value] : each.items()) {
        if (key != "text" && key != "aliases" && key != "probability")
          line.fail("a gold has the field \"" + key + "\"");
      }
      if (each.contains("probability") && (gold.probability < 0 || gold.probability > 1)) {
        line.fail("a gold's probability is not in 0 .. 1");
      }
    } else {
      line.fail("a gold is neither a string nor an object");
    }
    if (text::normalise(gold.text).empty()) {
      line.fail("the gold \"" + gold.text + "\" is empty once case, articles and punctuation are taken away");
    }
    golds.push_back(std::move(gold));
  }
  std::stable_sort(golds.begin(), golds.end(),
                   [](const GoldAnswer& a, const GoldAnswer& b) { return a.probability > b.probability; });
  return golds;
}

}  // namespace

JsonlTask::JsonlTask(const RunConfig& config)
    : grammar_(text::grammar_of(config)),
      programs_(config.task.programs),
      train_(file_of(config, "train.jsonl")),
      test_(file_of(config, "test.jsonl")) {
  check(train_, "train");
  check(test_, "test");
}

void JsonlTask::check(const JsonLines& lines, const std::string& split) const {
  if (lines.size() == 0) throw_user_error("{}: has no lines", lines.path());
  std::set<std::string> ids;
  for (std::int64_t i = 0; i < lines.size(); ++i) {
    const JsonLine line = lines.line(i);
    if (!ids.insert(read_problem(line, split, i).id).second) line.fail("repeats the id of an earlier line");
  }
}

const JsonLines& JsonlTask::split(const std::string& name) const {
  if (name == "train") return train_;
  if (name == "test") return test_;
  throw_user_error("task jsonl has the splits train and test, not `{}`", name);
}

std::int64_t JsonlTask::size(const std::string& name) const {
  return split(name).size();
}

std::string JsonlTask::stratum(const std::string& name, std::int64_t index) const {
  const JsonLine line = split(name).line(index);
  return line.has("stratum") ? line.get<std::string>("stratum", "a string") : "";
}

Problem JsonlTask::problem(const std::string& name, std::int64_t index) const {
  return read_problem(split(name).line(index), name, index);
}

Problem JsonlTask::read_problem(const JsonLine& line, const std::string& split, std::int64_t index) const {
  for (const auto& [key, value] : line.object().items()) {
    if (programs_ ? is_one_of(kProgramFields, key) : is_one_of(kFields, key)) continue;
    line.fail("the field \"" + key + "\" is none of " +
              (programs_ ? fmt::format("{}", fmt::join(kProgramFields, ", "))
                         : fmt::format("{} (with task.programs: tests, imports, setup)", fmt::join(kFields, ", "))));
  }
  Problem problem;
  std::string id = std::to_string(index);
  if (line.has("id")) {
    id = line.object().at("id").is_number_integer() ? std::to_string(line.get<std::int64_t>("id", "a number"))
                                                    : line.get<std::string>("id", "a string or an integer");
  }
  problem.id = fmt::format("jsonl/{}/{}", split, id);
  problem.task = name_;
  problem.messages = read_messages(line);
  add_instructions(problem.messages, text::instructions(grammar_));
  if (line.has("stratum")) line.get<std::string>("stratum", "a string");
  problem.payload = read_grading(line, problem).dump();
  return problem;
}

nlohmann::json JsonlTask::read_grading(const JsonLine& line, Problem& problem) const {
  auto golds = read_golds(line);
  if (programs_) {
    const auto strings = [&](const char* field) {
      return line.has(field) ? line.get<std::vector<std::string>>(field, "a list of strings")
                             : std::vector<std::string>{};
    };
    const auto tests = strings("tests");
    if (tests.empty()) line.fail("task.programs needs \"tests\"");
    nlohmann::json references = nlohmann::json::array();
    for (const auto& gold : golds) references.push_back(gold.text);
    // Every program that passes is correct: there is no list of golds.
    return {{"grader", "tests"},
            {"tests", tests},
            {"imports", strings("imports")},
            {"setup", line.has("setup") ? line.get<std::string>("setup", "a string") : ""},
            {"references", references}};
  }
  problem.golds = std::move(golds);
  const auto grader = line.has("grader") ? line.get<std::string>("grader", "a string") : std::string(kGraders[0]);
  if (!is_one_of(kGraders, grader)) {
    line.fail("the grader \"" + grader + "\" is none of " + fmt::format("{}", fmt::join(kGraders, ", ")));
  }
  if (grader == "exact" && problem.golds.empty()) line.fail("the grader \"exact\" needs \"golds\"");
  nlohmann::json payload = {{"grader", grader}};
  if (line.has("payload")) payload["payload"] = line.object().at("payload");
  return payload;
}

AnswerSet JsonlTask::gold_answer_set(const Problem& problem, const text::Grammar& grammar) const {
  auto golds = problem.golds;
  if (programs_) {
    const auto references = nlohmann::json::parse(problem.payload).at("references").get<std::vector<std::string>>();
    for (const auto& reference : references) golds.push_back({reference, {}, 1});
  }
  if (golds.empty()) {
    throw_user_error("problem {} has no golds: sft needs \"golds\" also where another grader decides", problem.id);
  }
  AnswerSet set;
  set.think = "Candidates in order of their probability.";
  GoldSetBuilder builder(static_cast<std::size_t>(grammar.k));
  for (const auto& gold : golds) {
    builder.add(gold.text, gold.probability >= 0 ? gold.probability : 1.0 / static_cast<double>(golds.size()));
  }
  for (const auto& gold : golds) {
    for (const auto& alias : gold.aliases) builder.forbid(alias);
  }
  if (grammar.abstention) builder.add_abstentions();
  RandomStream random(kFillerSeed, stable_hash(problem.id));
  const double confidence = builder.filler_confidence();
  constexpr int kDraws = 1000;
  for (int draw = 0; draw < kDraws && !builder.full(); ++draw) {
    const auto other = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(train_.size())));
    for (const auto& gold : read_golds(train_.line(other))) builder.add(gold.text, confidence);
  }
  if (!builder.full()) {
    throw_user_error("task.k = {} is more than the different golds that {} offers for the cold start", grammar.k,
                     train_.path());
  }
  builder.finish(set, grammar.confidences);
  return set;
}

}  // namespace setrl::tasks
