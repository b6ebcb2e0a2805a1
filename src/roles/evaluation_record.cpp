#include "roles/evaluation_record.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace setrl::roles {

namespace {

using nlohmann::json;

json number(double value) {
  return std::isfinite(value) ? json(value) : json(nullptr);
}

double number_of(const json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

json describe(const EvaluationRecord::Entry& entry) {
  json metrics = json::object();
  for (const auto& [name, interval] : entry.metrics) {
    metrics[name] = {number(interval.value), number(interval.low), number(interval.high)};
  }
  return {{"step", entry.step}, {"metrics", metrics}};
}

std::optional<EvaluationRecord::Entry> entry_of(const json& record, const char* name) {
  if (!record.contains(name)) return std::nullopt;
  EvaluationRecord::Entry entry;
  entry.step = record.at(name).at("step").get<std::int64_t>();
  for (const auto& [metric, values] : record.at(name).at("metrics").items()) {
    entry.metrics[metric] = {number_of(values.at(0)), number_of(values.at(1)), number_of(values.at(2))};
  }
  return entry;
}

}  // namespace

void EvaluationRecord::add(std::int64_t step, const Intervals& metrics) {
  last_ = Entry{step, metrics};
  if (!first_) first_ = last_;
  if (!best_ || metrics.at(kBestBy).value > best_->metrics.at(kBestBy).value) best_ = last_;
}

std::string EvaluationRecord::to_json() const {
  json record = {{"best_by", kBestBy}};
  if (first_) record["first"] = describe(*first_);
  if (best_) record["best"] = describe(*best_);
  if (last_) record["last"] = describe(*last_);
  return record.dump();
}

EvaluationRecord EvaluationRecord::from_json(const std::string& text) {
  const json record = json::parse(text);
  EvaluationRecord result;
  result.first_ = entry_of(record, "first");
  result.best_ = entry_of(record, "best");
  result.last_ = entry_of(record, "last");
  return result;
}

}  // namespace setrl::roles
