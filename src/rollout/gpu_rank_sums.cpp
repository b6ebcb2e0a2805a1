#include "rollout/gpu_rank_sums.h"

namespace setrl::rollout::gpu {

namespace {

// More hide no more: what stays in sight is the sum of the last part.
constexpr std::int64_t kMostParts = 4;

}  // namespace

RankSums::~RankSums() {
  while (!requests_.empty()) requests_.pop_back();
}

// The same on all ranks: it depends on the shapes alone.
std::int64_t RankSums::parts(std::int64_t rows, std::int64_t columns) const {
  const std::int64_t bytes = rows * columns * static_cast<std::int64_t>(sizeof(float));
  std::int64_t parts = alone() ? 1 : kMostParts;
  while (parts > 1 && (columns % (4 * parts) != 0 || bytes / parts < runtime_.sum_part_bytes())) parts /= 2;
  return parts;
}

void RankSums::start_sum(const at::Tensor& values) {
  requests_.push_back(comm_->start_all_reduce_sum(values.data_ptr<float>(), static_cast<std::size_t>(values.numel())));
}

void RankSums::add(const at::Tensor& values) {
  if (alone()) return;
  start_sum(values);
  requests_.back()->wait_on_device();
}

Addend RankSums::project(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out) {
  const std::int64_t rows = a.size(0), columns = b.size(0), count = parts(rows, columns), width = columns / count;
  const at::Tensor split = out.view(-1).narrow(0, 0, rows * columns).view({count, rows, width});
  for (std::int64_t i = 0; i < count; ++i) {
    runtime_.product(a, b.narrow(0, i * width, width), split[i]);
    if (!alone()) start_sum(split[i]);
  }
  if (!alone()) requests_.back()->wait_on_device();
  return {split.data_ptr<float>(), count};
}

void RankSums::gather(const at::Tensor& mine, const at::Tensor& out) {
  requests_.push_back(
      comm_->start_all_gather(mine.data_ptr(), static_cast<std::size_t>(mine.nbytes()), out.data_ptr()));
  requests_.back()->wait_on_device();
}

void RankSums::wait() {
  while (!requests_.empty()) {
    requests_.back()->wait();
    requests_.pop_back();
  }
}

}  // namespace setrl::rollout::gpu
