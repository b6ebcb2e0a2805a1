// A fuzz target for the path from a text to its verdict: text::parse, SetGrader, score. Built with libFuzzer by
// run_fuzz.py; with replay_main.cpp it replays the kept corpus in ctest.
//
// Input: one byte of options (K - 1 in bits 0-1; confidences, abstention, analysis, truncated in bits 2-5), then the
// text. Every promise below holds for every input; a broken one aborts.
#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>

#include "text/answer_grammar.h"
#include "verify/reward_terms.h"
#include "verify/set_grader.h"

namespace {

using setrl::Outcome;
using setrl::Verdict;

void require(bool condition, const char* promise) {
  if (condition) return;
  fmt::print(stderr, "broken promise: {}\n", promise);
  std::abort();
}

setrl::Problem fuzz_problem() {
  setrl::Problem problem;
  problem.id = "fuzz/0";
  // The second and third gold share a spelling; the last one looks like an abstention.
  problem.golds = {{"Flu", {"influenza"}, 0.5}, {"Cold", {"x"}, 0.3}, {"the X", {}, 0.1}, {"none", {}, -1}};
  return problem;
}

struct Setting {
  setrl::text::Grammar grammar;
  bool ended = true;
  setrl::RewardSection reward;
};

Setting setting_of(std::uint8_t options) {
  Setting setting;
  setting.grammar.k = 1 + (options & 3);
  setting.grammar.confidences = (options & 4) != 0;
  setting.grammar.abstention = (options & 8) != 0;
  setting.grammar.analysis = (options & 16) != 0;
  setting.ended = (options & 32) == 0;
  setting.reward.kind = setting.grammar.confidences ? "rlcr" : "rlvr";
  setting.reward.abstention = setting.grammar.abstention;
  setting.reward.wrong_penalty = 0.5;
  setting.reward.count_weight = 0.25;
  setting.reward.length_weight = 0.1;
  return setting;
}

Verdict verdict_of(const Setting& setting, const std::string& text) {
  Verdict verdict;
  verdict.answers = setrl::text::parse(setting.grammar, text, setting.ended);
  const setrl::verify::SetGrader grader(setting.grammar.abstention);
  if (verdict.answers.well_formed()) grader.grade(fuzz_problem(), verdict);
  setrl::verify::score(setting.reward, setting.grammar, 0.9, verdict);
  return verdict;
}

bool equal(const Verdict& a, const Verdict& b) {
  if (a.terms.size() != b.terms.size()) return false;
  for (std::size_t i = 0; i < a.terms.size(); ++i) {
    if (a.terms[i].name != b.terms[i].name || a.terms[i].value != b.terms[i].value) return false;
  }
  return a.outcome == b.outcome && a.answers.think == b.answers.think && a.answers.answers == b.answers.answers &&
         a.answers.confidences == b.answers.confidences && a.answers.malformed_reason == b.answers.malformed_reason &&
         a.correct == b.correct && a.matched_gold == b.matched_gold && a.total == b.total;
}

void check_malformed(const Verdict& verdict) {
  require(verdict.total == 0, "a malformed text is worth 0");
  require(verdict.correct.empty() && verdict.matched_gold.empty(), "a malformed text has no flags");
  require(verdict.answers.answers.empty() && verdict.answers.confidences.empty(), "a malformed text has no answers");
}

void check_graded(const Setting& setting, const Verdict& verdict) {
  const auto k = static_cast<std::size_t>(setting.grammar.k);
  const auto& set = verdict.answers;
  require(set.answers.size() == k && verdict.correct.size() == k && verdict.matched_gold.size() == k, "K answers");
  require(set.confidences.size() == (setting.grammar.confidences ? k : 0), "K confidences, or none");
  for (const double q : set.confidences) require(std::isfinite(q) && q >= 0 && q <= 1, "confidences are in [0, 1]");
  std::set<std::string> names;
  std::set<int> golds;
  for (std::size_t i = 0; i < k; ++i) {
    const std::string name = setrl::text::normalise(set.answers[i]);
    require(!name.empty(), "answers are not empty");
    require(names.insert(name).second || (setting.grammar.abstention && name == "none"), "answers differ");
    if (verdict.correct[i] != 0) require(golds.insert(verdict.matched_gold[i]).second, "a gold counts once");
  }
  double sum = 0;
  for (const auto& term : verdict.terms) sum += term.value;
  require(std::isfinite(verdict.total) && verdict.total == sum, "the terms sum to the total");
  // The same set in the canonical spelling: the same answers, golds and flags.
  const auto canonical = verdict_of(setting, setrl::text::render(setting.grammar, set));
  require(canonical.outcome == Outcome::graded, "a rendered set parses");
  require(canonical.answers.think == set.think && canonical.answers.answers == set.answers, "rendering keeps answers");
  require(canonical.correct == verdict.correct && canonical.matched_gold == verdict.matched_gold,
          "rendering keeps the grades");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Setting setting = setting_of(data[0]);
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Verdict verdict = verdict_of(setting, text);
  require(verdict.outcome == (verdict.answers.well_formed() ? Outcome::graded : Outcome::bad_format),
          "graded or bad format");
  require(setting.ended || !verdict.answers.well_formed(), "a truncated text is malformed");
  if (verdict.answers.well_formed()) {
    check_graded(setting, verdict);
  } else {
    check_malformed(verdict);
  }
  // One text, one verdict: again after another text, from another place in memory, and with white space around it.
  verdict_of(setting, text.substr(text.size() / 2) + "</think><answer1>Flu</answer1>");
  require(equal(verdict, verdict_of(setting, std::string(text.begin(), text.end()))), "one text has one verdict");
  if (verdict.answers.well_formed()) {
    require(equal(verdict, verdict_of(setting, "\n " + text + "\t\n")), "white space around a set does not count");
  }
  return 0;
}
