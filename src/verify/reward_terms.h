// The terms of the set reward as pure functions of the graded slots. Unweighted; score() weighs and adds them.
// Sources: [MA] multi-answer RL, arXiv 2603.24844; [RLCR] "Beyond Binary Rewards", arXiv 2507.16806.
#pragma once

#include <vector>

#include "config/run_config.h"
#include "records/verdict.h"

namespace setrl::verify {

// One answer of a well-formed set after grading.
struct Slot {
  double confidence = 0;   // q in [0, 1]; 0 where the format has none
  bool correct = false;    // y: matches a gold that no other answer of the set counts for
  bool abstained = false;  // the answer "none" where that is allowed: y is undefined, q is ignored
};

std::vector<Slot> slots_of(const Verdict& verdict);

enum class Correctness { sum, mean, any };

// What `auto` and the preset stand for: paper = sum and free, released = any and at most one.
struct RewardRule {
  Correctness correctness = Correctness::sum;
  bool at_most_one = false;  // the calibration term is lost where the confidences sum to more than 1
  bool calibrated = true;    // RLCR: the calibration and count terms exist
};

// Throws UserError naming the key where a value is none of those listed in RewardSection.
RewardRule resolve(const RewardSection& reward);

// C: sum y_i ([MA]: not divided by K), sum y_i / K, or max y_i (pass@K; default of the code released with [MA]).
double set_correctness(Correctness correctness, const std::vector<Slot>& slots);

// B = (1/K) sum (q_i - y_i)^2 ([MA]; K = 1 is the Brier score of [RLCR]). An abstaining slot has no y; it adds
// t (1 - t) with t = answer_threshold(wrong_penalty): the expected Brier score of a calibrated answer that is right
// with probability t, so that calibration neither invites nor punishes abstaining at the threshold.
double multi_brier(const std::vector<Slot>& slots, double wrong_penalty);

// (sum q_i - sum y_i)^2 / K^2 over the slots that do not abstain. Not in [MA].
double count_error(const std::vector<Slot>& slots);

// sum q_i over the slots that do not abstain.
double confidence_sum(const std::vector<Slot>& slots);

// Answers that are wrong, in the unit of set_correctness: their number, their number / K, or (any: the set counts as
// one answer) 1 where something was answered and nothing is right. A second answer for one gold is wrong; an abstention
// is not. Times wrong_penalty it is the cost of answering.
double set_wrongness(Correctness correctness, const std::vector<Slot>& slots);

// l / (1 + l): with +1 for a right and -l for a wrong answer, answering pays above this probability.
double answer_threshold(double wrong_penalty);

// 0 up to the fraction `soft` of the token limit, then linear, 1 at the limit and beyond. 0 where soft >= 1.
double overlong(double length_fraction, double soft);

}  // namespace setrl::verify
