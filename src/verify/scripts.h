// The Python sources that run inside the sandbox, compiled into the program (runner.py, judge.py).
#pragma once

namespace setrl::verify {

extern const char* const kRunnerScript;
extern const char* const kJudgeScript;

}  // namespace setrl::verify
