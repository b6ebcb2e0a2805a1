#include "store/hyperslab.h"

#include <algorithm>

#include "base/error.h"

namespace setrl::store {

namespace {

class Splitter {
 public:
  explicit Splitter(const std::vector<std::int64_t>& shape) : shape_(shape), inner_(shape.size(), 1) {
    for (std::size_t d = shape.size() - 1; d > 0; --d) inner_[d - 1] = inner_[d] * shape[d];
  }

  // [begin, end) counts from the first element of the sub-tensor that `prefix` (one index for each earlier dimension)
  // selects.
  void split(std::vector<std::uint64_t>& prefix, std::int64_t begin, std::int64_t end) {
    const std::int64_t inner = inner_[prefix.size()];
    while (begin < end) {
      const std::int64_t row = begin / inner;
      const std::int64_t whole_rows = end / inner - row;
      if (begin % inner == 0 && whole_rows > 0) {
        add_rows(prefix, row, whole_rows);
        begin += whole_rows * inner;
      } else {
        const std::int64_t stop = std::min(end, (row + 1) * inner);
        prefix.push_back(static_cast<std::uint64_t>(row));
        split(prefix, begin - row * inner, stop - row * inner);
        prefix.pop_back();
        begin = stop;
      }
    }
  }

  std::vector<Box> take() { return std::move(boxes_); }

 private:
  void add_rows(const std::vector<std::uint64_t>& prefix, std::int64_t row, std::int64_t rows) {
    Box box{prefix, std::vector<std::uint64_t>(prefix.size(), 1)};
    box.start.push_back(static_cast<std::uint64_t>(row));
    box.count.push_back(static_cast<std::uint64_t>(rows));
    for (std::size_t d = box.start.size(); d < shape_.size(); ++d) {
      box.start.push_back(0);
      box.count.push_back(static_cast<std::uint64_t>(shape_[d]));
    }
    boxes_.push_back(std::move(box));
  }

  const std::vector<std::int64_t>& shape_;
  std::vector<std::int64_t> inner_;  // elements of one index step in dimension d
  std::vector<Box> boxes_;
};

}  // namespace

std::vector<Box> boxes_of_range(const std::vector<std::int64_t>& shape, std::int64_t begin, std::int64_t end) {
  SETRL_CHECK(!shape.empty() && begin >= 0 && begin <= end, "range [{}, {}) of {} dimensions", begin, end,
              shape.size());
  Splitter splitter(shape);
  std::vector<std::uint64_t> prefix;
  splitter.split(prefix, begin, end);
  return splitter.take();
}

}  // namespace setrl::store
