// Advantages that raise the expected best of k completions, for a group of n > k completions of one problem. Both are
// averages over subsets I of k completions, as in "Pass@K Policy Optimization" (Walder and Karkhanis, arXiv
// 2505.15201), times n: the mean over the group of advantage * gradient of log-probability is then an unbiased estimate
// of the gradient of E[max of k rewards], on the same scale as the other advantages. With rewards 0 and 1 that is
// pass@k. Where fewer than k + 1 completions are left (infrastructure failures), k is their number less one.
#pragma once

#include <vector>

namespace setrl::learn {

// k (mean of max over I with i - mean of max over I without i): the baseline leaves completion i out (s^(loo)).
std::vector<double> best_of_k_left_out(const std::vector<double>& rewards, int k);

// k * mean over I with i of (max over I - max over I without i): what i adds to its subset (s^(loo-1), the paper's
// choice for its lower variance). Never negative.
std::vector<double> best_of_k_minus_one(const std::vector<double>& rewards, int k);

}  // namespace setrl::learn
