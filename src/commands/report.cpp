// Run directory -> one self-contained HTML page: figures as inline SVG, no scripts, nothing loaded from elsewhere.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "commands/commands.h"
#include "commands/svg_chart.h"
#include "commands/verdict_text.h"
#include "store/trajectory_file.h"

namespace setrl::commands {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kBlue = "#0072b2";
constexpr const char* kOrange = "#d55e00";
constexpr std::size_t kExampleCharacters = 4000;  // of a prompt or a completion

constexpr const char* kStyle = R"(
body{font:15px/1.5 system-ui,sans-serif;max-width:1380px;margin:2rem auto;padding:0 1rem;color:#1c1e21;background:#fff}
h1{font-size:1.5rem;margin-bottom:0}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #ddd}
.charts{display:flex;flex-wrap:wrap;gap:8px}svg{background:#fff}svg text{font:12px system-ui,sans-serif;fill:#1c1e21}
svg .title{font-size:13px;font-weight:600}svg .tick{font-size:11px;fill:#555}svg .label{fill:#555}
svg .grid{stroke:#e8e8e8}svg .axis{stroke:#888}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:2px 14px 2px 0;text-align:left;vertical-align:top}
th{border-bottom:1px solid #aaa}pre{white-space:pre-wrap;background:#f6f7f8;padding:8px 12px;border-radius:4px;overflow-wrap:anywhere}
.example{border:1px solid #ddd;border-radius:6px;padding:6px 16px 12px;margin:12px 0}.right{color:#007a4d}.wrong{color:#b3261e}
summary{cursor:pointer}.note{color:#555})";

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Lines of metrics.jsonl; one that is no JSON object (a run is writing it) is left out.
std::vector<json> read_metrics(const fs::path& path) {
  std::vector<json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    json object = json::parse(line, nullptr, false);
    if (object.is_object() && object.contains("step")) lines.push_back(std::move(object));
  }
  return lines;
}

struct Evaluation {
  std::string name;
  json document;
};

// eval-*.json of a training run in order of their steps, or the eval.json of `setrl eval`.
std::vector<Evaluation> read_evaluations(const std::string& folder) {
  std::vector<Evaluation> result;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() != ".json" || name.rfind("eval", 0) != 0) continue;
    json document = json::parse(read_text(entry.path()), nullptr, false);
    if (!document.is_object() || !document.contains("metrics")) continue;
    result.push_back({name, std::move(document)});
  }
  std::sort(result.begin(), result.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return result;
}

std::string title_of(const Evaluation& evaluation) {
  const auto dash = evaluation.name.find('-');
  if (dash == std::string::npos) return "evaluation";
  const auto digits = evaluation.name.find_first_not_of('0', dash + 1);
  return "after step " + (digits == std::string::npos ? "0" : evaluation.name.substr(digits));
}

double number_in(const json& object, const std::string& key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : NAN;
}

double value_of(const json& interval) {
  return interval.is_object() ? number_in(interval, "value") : NAN;
}

struct Curve {
  const char* key;
  const char* label;
};

Chart training_chart(const std::vector<json>& lines, const std::string& title, const std::string& y_label,
                     const std::vector<Curve>& curves) {
  static const char* const kColours[] = {kBlue, kOrange, "#009e73", "#cc79a7"};
  Chart chart{title, "step", y_label, {}, {}, {}, {}, {}, false};
  for (std::size_t i = 0; i < curves.size(); ++i) {
    ChartSeries series{curves[i].label, kColours[i % 4], {}, {}, {}, false};
    for (const auto& line : lines) series.points.emplace_back(number_in(line, "step"), number_in(line, curves[i].key));
    chart.series.push_back(std::move(series));
  }
  return chart;
}

std::string training_section(const std::vector<json>& lines) {
  if (lines.empty()) return "";
  double tokens = 0, seconds = 0;
  for (const auto& line : lines) {
    seconds += std::isnan(number_in(line, "step_s")) ? 0 : number_in(line, "step_s");
    tokens += number_in(line, "trained_tokens");
  }
  std::string html =
      fmt::format("<h2>Training</h2><p>{} steps, {:.0f} s in all, {:.0f} tokens trained on.</p><div class=\"charts\">",
                  lines.size(), seconds, tokens);
  const std::vector<Chart> charts = {
      training_chart(lines, "Reward", "reward", {{"reward_mean", "mean"}, {"reward_std", "standard deviation"}}),
      training_chart(lines, "Correct answers", "answers",
                     {{"correct_per_set", "per set"}, {"unique_correct", "different, per problem"}}),
      training_chart(lines, "First and any answer correct", "share",
                     {{"pass_at_1", "first"}, {"pass_at_k", "any of K"}}),
      training_chart(lines, "Format", "share", {{"format_rate", "well formed"}, {"truncated_rate", "truncated"}}),
      training_chart(lines, "Calibration", "", {{"brier", "Multi-Brier"}, {"ece", "ECE"}, {"auroc", "AUROC"}}),
      training_chart(lines, "Sum of confidences", "",
                     {{"confidence_sum", "sum of confidences"}, {"correct_per_set", "correct per set"}}),
      training_chart(lines, "Length", "tokens", {{"tokens_per_completion", "per completion"}}),
      training_chart(lines, "Entropy of the policy", "nats", {{"entropy", "entropy"}}),
      training_chart(lines, "Gradient norm", "", {{"grad_norm", "norm"}}),
      training_chart(lines, "Rollout against learner", "log-probability gap",
                     {{"logprob_gap_mean", "mean"}, {"logprob_gap_max", "max"}}),
      training_chart(lines, "Groups without signal", "share", {{"groups_without_signal", "share"}}),
      training_chart(lines, "Time of a step", "seconds",
                     {{"step_s", "step"}, {"rollout_s", "rollout"}, {"learn_s", "learn"}, {"verify_s", "verify"}}),
  };
  for (const auto& chart : charts) html += svg_chart(chart);
  return html + "</div>";
}

ChartSeries reliability_series(const json& bins, const char* x, const char* y, const std::string& label,
                               const char* colour) {
  ChartSeries series{label, colour, {}, {}, {}, false};
  for (const auto& bin : bins) {
    if (number_in(bin, "count") == 0) continue;
    series.points.emplace_back(number_in(bin, x), number_in(bin, y));
    series.weights.push_back(number_in(bin, "count"));
  }
  return series;
}

ChartSeries curve_series(const json& points, const char* x, const std::string& label, const char* colour) {
  ChartSeries series{label, colour, {}, {}, {}, false};
  for (const auto& point : points) {
    const json& coverage = point.at("coverage");
    series.points.emplace_back(number_in(point, x), value_of(coverage));
    series.band.emplace_back(number_in(coverage, "low"), number_in(coverage, "high"));
    series.weights.push_back(0.1);
  }
  return series;
}

ChartSeries histogram_series(const json& values, double step, const std::string& label, const char* colour) {
  std::map<std::int64_t, double> counts;
  for (const auto& value : values) counts[std::llround(value.get<double>() / step)] += 1;
  ChartSeries series{label, colour, {}, {}, {}, true};
  if (counts.empty()) return series;
  for (std::int64_t i = counts.begin()->first; i <= counts.rbegin()->first; ++i) {
    series.points.emplace_back(static_cast<double>(i) * step, counts[i] / static_cast<double>(values.size()));
  }
  return series;
}

// The first and the last evaluation.
std::string evaluation_section(const std::vector<Evaluation>& evaluations) {
  if (evaluations.empty()) return "";
  std::vector<const Evaluation*> shown = {&evaluations.front()};
  if (evaluations.size() > 1) shown.push_back(&evaluations.back());
  const auto colour = [](std::size_t i) { return i == 0 ? kBlue : kOrange; };

  Chart reliability{"Reliability of the confidences", "mean confidence", "share correct", {}, 0, 1, 0, 1, true};
  Chart sums{
      "Sum of confidences against correct answers", "mean sum of confidences", "mean correct", {}, 0, {}, 0, {}, true};
  Chart answers{"Golds found with so many answers", "answers", "different golds", {}, 0, {}, 0, {}, false};
  Chart tokens{"Golds found with so many tokens", "tokens", "different golds", {}, 0, {}, 0, {}, false};
  Chart histogram{"Sums of confidences", "sum of a set", "share of the sets", {}, {}, {}, 0, {}, false};
  Chart unique{"Different answers of a problem", "answers", "share of the problems", {}, {}, {}, 0, {}, false};
  std::string head = "<tr><th>metric</th>";
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const json& document = shown[i]->document;
    const std::string title = title_of(*shown[i]);
    const auto list = [&document](const char* key) { return document.value(key, json::array()); };
    reliability.series.push_back(
        reliability_series(list("reliability"), "mean_confidence", "accuracy", title, colour(i)));
    sums.series.push_back(
        reliability_series(list("confidence_sum_reliability"), "mean_sum", "mean_correct", title, colour(i)));
    answers.series.push_back(curve_series(list("curve"), "answers", title, colour(i)));
    tokens.series.push_back(curve_series(list("curve"), "tokens", title, colour(i)));
    histogram.series.push_back(histogram_series(list("confidence_sums"), 0.1, title, colour(i)));
    unique.series.push_back(histogram_series(list("unique_answers"), 1, title, colour(i)));
    head += "<th>" + html_escape(title) + "</th>";
  }
  std::string html = "<h2>Evaluation</h2><div class=\"charts\">";
  for (const auto* chart : {&reliability, &sums, &histogram, &answers, &tokens, &unique}) html += svg_chart(*chart);
  html += "</div><p class=\"note\">Bands and brackets: 95 % intervals by bootstrap over problems.</p><table>" + head +
          "</tr>";
  for (const auto& [key, unused] : shown.back()->document.at("metrics").items()) {
    std::string row;
    bool defined = false;
    for (const auto* evaluation : shown) {
      const json interval = evaluation->document.at("metrics").value(key, json());
      const double value = value_of(interval);
      defined = defined || std::isfinite(value);
      row += std::isfinite(value) ? fmt::format("<td>{:.3f} <span class=\"note\">[{:.3f}, {:.3f}]</span></td>", value,
                                                number_in(interval, "low"), number_in(interval, "high"))
                                  : std::string("<td>-</td>");
    }
    if (defined) html += "<tr><td>" + html_escape(key) + "</td>" + row + "</tr>";
  }
  return html + "</table>";
}

// The beginning and the end: a question may stand after its paragraphs.
std::string shortened(const std::string& text) {
  if (text.size() <= kExampleCharacters) return html_escape(text);
  const auto is_inside = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U; };
  std::size_t head = kExampleCharacters * 3 / 4, tail = text.size() - kExampleCharacters / 4;
  while (head > 0 && is_inside(head)) --head;  // whole characters of UTF-8
  while (tail < text.size() && is_inside(tail)) ++tail;
  return html_escape(text.substr(0, head)) + "\n ...\n" + html_escape(text.substr(tail));
}

std::string task_text(const Problem& problem) {
  std::string html;
  for (const auto& message : problem.messages) {
    html += "<p class=\"note\">" + html_escape(message.role) + "</p><pre>" + shortened(message.content) + "</pre>";
  }
  const auto tests = tests_of(problem);
  if (!tests.empty()) {
    return html + "<p class=\"note\">tests</p><pre>" + shortened(fmt::format("{}", fmt::join(tests, "\n"))) + "</pre>";
  }
  html += "<p>golds: ";
  for (const auto& gold : problem.golds) {
    html += html_escape(gold.text) + (gold.probability < 0 ? "; " : fmt::format(" ({:.2f}); ", gold.probability));
  }
  return html + "</p>";
}

// The answers with what became of them. A program stands as it was written, below its result.
std::string answer_table(const store::StoredGroup& stored, const Verdict& verdict) {
  std::string html = "<table>";
  for (std::size_t k = 0; k < verdict.correct.size(); ++k) {
    const std::string confidence =
        verdict.answers.confidences.empty() ? "" : fmt::format("{:.2f}", verdict.answers.confidences[k]);
    const std::string result = fmt::format("<td class=\"{}\">{}</td>", verdict.correct[k] != 0 ? "right" : "wrong",
                                           html_escape(answer_result(stored.group.problem, verdict, k)));
    const std::string& answer = verdict.answers.answers[k];
    if (verdict.programs.empty()) {
      html += fmt::format("<tr><td>{}</td><td>{}</td>{}</tr>", html_escape(answer), confidence, result);
    } else {
      html += fmt::format("<tr><td>program {}</td><td>{}</td>{}</tr><tr><td colspan=\"3\"><pre>{}</pre></td></tr>",
                          k + 1, confidence, result, shortened(answer));
    }
  }
  return html + "</table>";
}

std::string example(const store::StoredGroup& stored, std::size_t i, const std::string& title) {
  const Verdict& verdict = stored.group.verdicts[i];
  const bool programs = !verdict.programs.empty();
  std::string html = fmt::format(
      "<div class=\"example\"><h3>{}: {}, reward {:.3f}</h3><details><summary>prompt and {}</summary>{}</details>",
      html_escape(title), html_escape(stored.group.problem.id), verdict.total,
      tests_of(stored.group.problem).empty() ? "golds" : "tests", task_text(stored.group.problem));
  const std::string text = "<pre>" + shortened(stored.texts[i]) + "</pre>";
  if (!verdict.answers.well_formed()) {
    return html + text + "<p class=\"wrong\">" + html_escape(verdict.answers.malformed_reason) + "</p></div>";
  }
  // Programs would be there twice.
  html += programs ? "<details><summary>completion</summary>" + text + "</details>" : text;
  if (programs && !verdict.answers.think.empty()) html += "<pre>" + shortened(verdict.answers.think) + "</pre>";
  return html + answer_table(stored, verdict) + "</div>";
}

// Of the last step with trajectories: the best, the middle and the worst graded completion, and a malformed one.
std::string example_section(const std::string& folder) {
  const auto steps = store::trajectory_steps(folder);
  if (steps.empty()) return "";
  std::vector<store::StoredGroup> groups;
  for (const auto& path : store::trajectory_parts(folder, steps.back())) {
    for (auto& group : store::read_trajectory(path).groups) groups.push_back(std::move(group));
  }
  struct Place {
    double reward;
    std::size_t group, completion;
  };
  std::vector<Place> graded, malformed;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (std::size_t c = 0; c < groups[g].group.verdicts.size(); ++c) {
      const Verdict& verdict = groups[g].group.verdicts[c];
      if (verdict.outcome == Outcome::graded) graded.push_back({verdict.total, g, c});
      if (verdict.outcome == Outcome::bad_format) malformed.push_back({0, g, c});
    }
  }
  std::stable_sort(graded.begin(), graded.end(), [](const Place& a, const Place& b) { return a.reward > b.reward; });
  std::string html = fmt::format("<h2>Examples of step {}</h2>", steps.back());
  const auto add = [&](const Place& place, const char* title) {
    html += example(groups[place.group], place.completion, title);
  };
  if (!graded.empty()) add(graded.front(), "best");
  if (graded.size() > 2) add(graded[graded.size() / 2], "middle");
  if (graded.size() > 1) add(graded.back(), "worst of the well formed");
  if (!malformed.empty()) add(malformed.front(), "malformed");
  return html;
}

}  // namespace

int report(const RunConfig& config) {
  const std::string& folder = config.report.path;
  if (folder.empty()) throw_user_error("report: give a run directory");
  if (!fs::is_directory(folder)) throw_user_error("report: '{}' is no folder; give a run directory", folder);
  const auto lines = read_metrics(fs::path(folder) / "metrics.jsonl");
  const auto evaluations = read_evaluations(folder);
  if (lines.empty() && evaluations.empty()) {
    throw_user_error("report: '{}' holds neither metrics.jsonl nor an evaluation", folder);
  }
  const std::string name = html_escape(fs::path(folder).lexically_normal().string());
  std::string html = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + name +
                     "</title><style>" + kStyle + "</style></head><body><h1>" + name + "</h1>";
  html += training_section(lines) + evaluation_section(evaluations) + example_section(folder);
  const std::string configuration = read_text(fs::path(folder) / "config.cfg");
  if (!configuration.empty()) {
    html += "<h2>Configuration</h2><details><summary>config.cfg</summary><pre>" + html_escape(configuration) +
            "</pre></details>";
  }
  html += "</body></html>\n";
  const fs::path path = fs::path(folder) / "report.html", temporary = fs::path(folder) / "report.html.tmp";
  {
    std::ofstream file(temporary, std::ios::binary);
    file << html;
    if (!file.flush())
      throw_user_error("report: cannot write '{}': is the disk full or the folder read-only?", path.string());
  }
  fs::rename(temporary, path);
  fmt::print("{}\n", path.string());
  return kExitDone;
}

}  // namespace setrl::commands
