#include "learn/normalisation.h"

#include "base/error.h"

namespace setrl::learn {

double token_weight(const std::string& kind, const BatchTotals& totals, std::int64_t length, std::int64_t max_length) {
  if (kind == "token_mean") return 1 / totals.tokens;
  if (kind == "sequence_mean") return 1 / (totals.sequences * static_cast<double>(length));
  if (kind == "fixed_length") return 1 / (totals.sequences * static_cast<double>(max_length));
  throw_user_error("learn.loss: '{}' is not one of token_mean, sequence_mean, fixed_length", kind);
}

}  // namespace setrl::learn
