// What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere. Rank 0 only.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace setrl::roles {

class Progress {
 public:
  // `first` .. `last`: the steps of this run, counted from 1.
  Progress(std::string title, std::int64_t first, std::int64_t last);
  ~Progress();

  // After a step: `text` such as "reward 0.71  correct 0.9/3  620 tok/s". Adds the time left.
  void step(std::int64_t step, const std::string& text);

  // Before something else is written to the terminal.
  void clear();

 private:
  std::string title_;
  std::int64_t first_, last_;
  bool terminal_;
  bool drawn_ = false;
  Stopwatch clock_;
};

// "1:02:03" or "4:05".
std::string format_duration(double seconds);

}  // namespace setrl::roles
