#include "verify/external_grader.h"

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "text/answer_grammar.h"
#include "verify/set_grader.h"

namespace setrl::verify {

namespace {

using nlohmann::json;

std::string request_line(std::int64_t id, const Problem& problem, const Verdict& verdict) {
  json golds = json::array();
  for (const auto& gold : problem.golds) {
    json each = {{"text", gold.text}, {"aliases", gold.aliases}};
    if (gold.probability >= 0) each["probability"] = gold.probability;
    golds.push_back(std::move(each));
  }
  json payload;
  if (!problem.payload.empty()) payload = json::parse(problem.payload).value("payload", json());
  const json request = {{"id", id},
                        {"problem", problem.id},
                        {"golds", golds},
                        {"payload", payload},
                        {"answers", verdict.answers.answers},
                        {"confidences", verdict.answers.confidences},
                        {"think", verdict.answers.think}};
  // A policy may write bytes that are no UTF-8; JSON cannot hold them.
  return request.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Non-negative, and the same in every process: the identity of an answer that stands for itself.
std::int32_t number_of(const std::string& key) {
  return static_cast<std::int32_t>(stable_hash(key) & 0x7fffffff);
}

// A list of K entries of the answer, or null where it has none; says what is wrong with it.
std::string read_list(const json& answer, const char* name, std::size_t k, const json*& list) {
  const auto found = answer.find(name);
  list = nullptr;
  if (found == answer.end() || found->is_null()) return "";
  if (!found->is_array() || found->size() != k) return fmt::format("\"{}\" is not a list of {} entries", name, k);
  list = &*found;
  return "";
}

// Which gold (or key) each answer stands for; -1 where none is known. Says what is wrong.
std::string identities(const Problem& problem, const Verdict& verdict, const json& answer,
                       std::vector<std::int32_t>& matched) {
  const std::size_t k = verdict.answers.answers.size();
  const json *golds = nullptr, *keys = nullptr;
  if (auto failure = read_list(answer, "golds", k, golds); !failure.empty()) return failure;
  if (auto failure = read_list(answer, "keys", k, keys); !failure.empty()) return failure;
  if (golds == nullptr && keys == nullptr && !problem.golds.empty()) {
    Verdict exact;
    exact.answers = verdict.answers;
    SetGrader(false).grade(problem, exact);
    matched = exact.matched_gold;
    return "";
  }
  for (std::size_t i = 0; i < k; ++i) {
    if (golds != nullptr && !(*golds)[i].is_null()) {
      const auto gold = (*golds)[i].is_number_integer() ? (*golds)[i].get<std::int64_t>() : std::int64_t{-1};
      if (gold < 0 || gold >= static_cast<std::int64_t>(problem.golds.size())) {
        return "\"golds\" holds what is no number of a gold";
      }
      matched[i] = static_cast<std::int32_t>(gold);
    } else if (keys != nullptr && !(*keys)[i].is_null()) {
      if (!(*keys)[i].is_string()) return "\"keys\" holds what is neither a string nor null";
      matched[i] = number_of("key/" + (*keys)[i].get<std::string>());
    }
  }
  return "";
}

// Fills the verdict from an answer's line; says why the line cannot be used.
std::string read_answer(const std::string& line, std::int64_t id, const Problem& problem, Verdict& verdict) {
  const json answer = json::parse(line, nullptr, false);
  if (!answer.is_object()) return "its answer is not a JSON object";
  if (answer.value("id", json()) != json(id)) return "its answer has another id";
  if (answer.contains("error")) return "it reports: " + answer.at("error").dump();
  const std::size_t k = verdict.answers.answers.size();
  const json* correct = nullptr;
  if (auto failure = read_list(answer, "correct", k, correct); !failure.empty()) return failure;
  if (correct == nullptr) return "its answer has no \"correct\"";
  std::vector<std::int32_t> matched(k, -1);
  if (auto failure = identities(problem, verdict, answer, matched); !failure.empty()) return failure;
  std::set<std::int32_t> found;
  std::vector<std::uint8_t> flags(k, 0);
  for (std::size_t i = 0; i < k; ++i) {
    if (!(*correct)[i].is_boolean()) return "\"correct\" holds what is no boolean";
    if (verdict.matched_gold[i] == kAbstained) continue;
    const bool right = (*correct)[i].get<bool>();
    if (right && matched[i] < 0) matched[i] = number_of("text/" + text::normalise(verdict.answers.answers[i]));
    flags[i] = right && found.insert(matched[i]).second;
  }
  for (std::size_t i = 0; i < k; ++i) {
    if (verdict.matched_gold[i] != kAbstained) verdict.matched_gold[i] = matched[i];
  }
  verdict.correct = flags;
  return "";
}

}  // namespace

ExternalGrader::ExternalGrader(const RunConfig& config)
    : options_(config.verify), abstention_(config.reward.abstention), pool_(config.verify) {
  if (options_.external.empty()) {
    throw_user_error("verify.external is empty: the grader \"external\" needs the command of a program that grades");
  }
}

void ExternalGrader::grade(const Problem& problem, Verdict& verdict) const {
  grade_all(problem, {&verdict});
}

void ExternalGrader::grade_all(const Problem& problem, const std::vector<Verdict*>& verdicts) const {
  const std::lock_guard<std::mutex> guard(lock_);
  const std::int64_t first = next_id_;
  next_id_ += static_cast<std::int64_t>(verdicts.size());
  std::vector<std::string> requests;
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    Verdict& verdict = *verdicts[i];
    const std::size_t k = verdict.answers.answers.size();
    verdict.correct.assign(k, 0);
    verdict.matched_gold.assign(k, -1);
    for (std::size_t slot = 0; slot < k; ++slot) {
      if (abstention_ && text::normalise(verdict.answers.answers[slot]) == "none") {
        verdict.matched_gold[slot] = kAbstained;
      }
    }
    requests.push_back(request_line(first + static_cast<std::int64_t>(i), problem, verdict));
  }
  const auto reasons = pool_.run(requests, [&](std::size_t i, const std::string& line) {
    return read_answer(line, first + static_cast<std::int64_t>(i), problem, *verdicts[i]);
  });
  for (std::size_t i = 0; i < reasons.size(); ++i) {
    if (reasons[i].empty()) {
      failures_ = 0;
      continue;
    }
    verdicts[i]->outcome = Outcome::infrastructure_failure;
    log::warning("external verifier, problem {}: {}; the completion is left out", problem.id, reasons[i]);
    if (++failures_ >= options_.max_failures) {
      throw_user_error("verify.external `{}` gave no usable answer {} times in a row; the last time: {}",
                       options_.external, failures_, reasons[i]);
    }
  }
}

}  // namespace setrl::verify
