// Requests, one line each, spread over copies of an external program that answers each with one line.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "verify/external_process.h"

namespace setrl::verify {

// Back-pressure: a process has at most one request at a time, and what it does not read waits here. A process that
// ends, misses the deadline, writes more than one line or more than 16 MiB, or whose answer is not accepted is killed
// with all that it started; the request goes to a fresh one, verify.retries times. One thread at a time.
class ExternalPool {
 public:
  explicit ExternalPool(const VerifySection& options) : options_(options) {}

  // Says why an answer to request `index` cannot be used, or "".
  using Accept = std::function<std::string(std::size_t index, const std::string& line)>;
  // `requests`: lines without their end. Returns for each "" where an answer was accepted, else why the last attempt
  // failed. Answers are accepted in any order.
  std::vector<std::string> run(const std::vector<std::string>& requests, const Accept& accept);

 private:
  struct Worker;
  VerifySection options_;
  std::vector<std::shared_ptr<Worker>> workers_;  // started as they are needed, kept for the next call
};

}  // namespace setrl::verify
