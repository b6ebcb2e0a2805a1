// Grades by an external program: any language, one JSON object a line on its standard input and output.
#pragma once

#include <memory>
#include <mutex>

#include "config/run_config.h"
#include "verify/external_pool.h"
#include "verify/verifier.h"

namespace setrl::verify {

// Request: {"id", "problem" (id), "golds" [{text, aliases, probability}], "payload", "answers" [K], "confidences" [K or
// none], "think"}. Answer: {"id" (the same), "correct": [K booleans]} and, where the program tells which answers are
// one and the same, "golds": [K, number of the gold or null] or "keys": [K, a text or null]; or {"id", "error": "why"}
// for an infrastructure failure. Without both the problem's golds tell (normalised exact match), or else the answers'
// text. Of several correct answers of one gold or key only the first counts. Abstentions are settled here: the
// program's word on them is ignored.
//
// A request without a usable answer after all retries makes Outcome::infrastructure_failure; verify.max_failures of
// them in a row throw UserError, since then the program is broken, not the weather. Thread-safe by a lock.
class ExternalGrader : public Grader {
 public:
  // Throws UserError where verify.external is empty.
  explicit ExternalGrader(const RunConfig& config);
  void grade(const Problem& problem, Verdict& verdict) const override;
  void grade_all(const Problem& problem, const std::vector<Verdict*>& verdicts) const override;

 private:
  VerifySection options_;
  bool abstention_;
  mutable std::mutex lock_;
  mutable ExternalPool pool_;
  mutable std::int64_t next_id_ = 0;
  mutable int failures_ = 0;  // since the last good answer
};

}  // namespace setrl::verify
