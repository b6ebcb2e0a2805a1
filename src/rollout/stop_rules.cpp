#include "rollout/stop_rules.h"

#include <algorithm>

#include "base/error.h"

namespace setrl::rollout {

void StopRules::check() const {
  SETRL_CHECK(!any() || bytes_of, "stop rules without the tokens' bytes");
  for (const auto& text : stop_texts) SETRL_CHECK(!text.empty(), "an empty stop text");
  SETRL_CHECK(last_count == 0 || !last_text.empty(), "last_count without last_text");
  SETRL_CHECK(think_budget == 0 || (!think_close.empty() && !think_close_ids.empty()),
              "think_budget without a closing tag");
}

StopWatch::StopWatch(const StopRules& rules) : rules_(&rules), open_(rules.think_open.empty()) {
  std::size_t longest = std::max({rules.last_text.size(), rules.think_open.size(), rules.think_close.size()});
  for (const auto& text : rules.stop_texts) longest = std::max(longest, text.size());
  keep_ = longest > 0 ? longest - 1 : 0;
  text_.reserve(keep_ + 256);
}

int StopWatch::count(const std::string& text, std::size_t begin) const {
  int found = 0;
  // A match that ends in the newest token starts at most size - 1 bytes before it.
  std::size_t at = begin - std::min(begin, text.size() - 1);
  while ((at = text_.find(text, at)) != std::string::npos) {
    ++found;
    at += text.size();
  }
  return found;
}

bool StopWatch::push(std::int32_t id) {
  if (text_.size() > keep_) text_.erase(0, text_.size() - keep_);
  const std::size_t begin = text_.size();
  text_.append(rules_->bytes_of(id));
  if (forcing_ && ++forced_ == rules_->think_close_ids.size()) forcing_ = false;
  if (rules_->think_budget > 0 && !closed_) {
    if (!open_) {
      open_ = count(rules_->think_open, begin) > 0;
    } else {
      ++thought_;
    }
    if (open_ && count(rules_->think_close, begin) > 0) {
      closed_ = true;
    } else if (open_ && forced_ == 0 && thought_ >= rules_->think_budget) {
      forcing_ = true;
    }
  }
  if (rules_->last_count > 0) {
    written_ += count(rules_->last_text, begin);
    if (written_ >= rules_->last_count) return true;
  }
  return std::any_of(rules_->stop_texts.begin(), rules_->stop_texts.end(),
                     [&](const std::string& text) { return count(text, begin) > 0; });
}

std::int32_t StopWatch::forced() const {
  return forcing_ ? rules_->think_close_ids[forced_] : -1;
}

}  // namespace setrl::rollout
