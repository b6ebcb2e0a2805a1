// The decoder's logits, for the comparison with other implementations.
//   logits_tool MODEL ID...    > float32 [T, V], the row of a token being the logits of the next one
// MODEL: whatever model.path takes.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "model/decoder.h"
#include "roles/policy.h"

int main(int argc, char** argv) {
  setrl::RunConfig config;
  config.model.path = argv[1];
  std::vector<std::int64_t> ids;
  for (int i = 2; i < argc; ++i) ids.push_back(std::atoll(argv[i]));
  try {
    const at::NoGradGuard no_grad;
    const auto policy = setrl::roles::open_policy(config);
    const at::Tensor logits =
        setrl::model::forward_logits(policy.weights->spec(), setrl::model::load_all(*policy.weights, at::kFloat),
                                     at::tensor(ids, at::kLong))
            .contiguous();
    const auto count = static_cast<std::size_t>(logits.numel());
    return std::fwrite(logits.data_ptr<float>(), sizeof(float), count, stdout) == count ? 0 : 1;
  } catch (const setrl::UserError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
