#include "sync/push_schedule.h"

#include <algorithm>

#include "base/error.h"
#include "model/tensor_parallel.h"

namespace setrl::sync {

namespace {

std::int64_t product(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const auto extent : shape) count *= extent;
  return count;
}

}  // namespace

PushSchedule::PushSchedule(std::vector<model::ParameterSpec> table, PushMembers members,
                           std::vector<std::vector<HeldSlice>> held, std::int64_t element_bytes,
                           std::int64_t staging_bytes)
    : table_(std::move(table)), members_(std::move(members)), held_(std::move(held)), element_bytes_(element_bytes) {
  SETRL_CHECK(held_.size() == members_.learners.size() && !held_.empty() && !members_.replicas.empty(),
              "a push of {} learners, of whom {} tell their slices, to {} replicas", members_.learners.size(),
              held_.size(), members_.replicas.size());
  for (const auto& replica : members_.replicas) {
    SETRL_CHECK(static_cast<int>(replica.size()) == members_.parts(), "replicas of {} and of {} ranks", replica.size(),
                members_.parts());
  }
  pieces_.resize(table_.size());
  for (std::size_t p = 0; p < table_.size(); ++p) {
    const auto unit = static_cast<std::size_t>(table_[p].unit);
    if (unit >= unit_parameters_.size()) {
      unit_parameters_.resize(unit + 1);
      part_elements_.resize(unit + 1);
    }
    unit_parameters_[unit].push_back(static_cast<int>(p));
    part_elements_[unit] += product(model::part_shape(table_[p], members_.parts()));
  }
  units_ = static_cast<int>(unit_parameters_.size());
  for (std::size_t l = 0; l < held_.size(); ++l) {
    for (std::size_t s = 0; s < held_[l].size(); ++s) {
      const HeldSlice& slice = held_[l][s];
      if (slice.begin >= slice.end) continue;
      pieces_.at(static_cast<std::size_t>(slice.parameter))
          .push_back({slice.begin, slice.end, static_cast<int>(l), static_cast<int>(s)});
    }
  }
  for (auto& pieces : pieces_) {
    std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  }
  check_cover();
  for (std::size_t reached = 1; reached < members_.replicas.size(); reached *= 2) ++hops_;
  std::int64_t largest = 1;
  for (const auto elements : part_elements_) largest = std::max(largest, elements * element_bytes_);
  const auto in_flight = static_cast<int>(std::clamp<std::int64_t>(staging_bytes / largest, 1, hops_));
  stride_ = (hops_ + in_flight - 1) / in_flight;
}

void PushSchedule::check_cover() const {
  for (std::size_t p = 0; p < table_.size(); ++p) {
    std::int64_t at = 0;
    for (const auto& piece : pieces_[p]) {
      SETRL_CHECK(piece.begin == at, "elements {} of {} are held by {}", std::min(at, piece.begin), table_[p].name,
                  piece.begin < at ? "two learners" : "nobody");
      at = piece.end;
    }
    SETRL_CHECK(at == table_[p].elements(), "learners hold {} elements of {}, which has {}", at, table_[p].name,
                table_[p].elements());
  }
}

void PushSchedule::visit_unit(int unit, int hop, const std::function<void(const Transfer&)>& visit) const {
  const auto replicas = static_cast<int>(members_.replicas.size());
  const bool power_of_two = (replicas & (replicas - 1)) == 0;
  // The rank at place `place` of the tree. Where it can be, neighbours in the tree are neighbours in rank.
  const auto rank = [&](int root, int place, int part) {
    const int replica = power_of_two ? root ^ place : (root + place) % replicas;
    return members_.replicas[static_cast<std::size_t>(replica)][static_cast<std::size_t>(part)];
  };
  for (const int p : unit_parameters_[static_cast<std::size_t>(unit)]) {
    for (const auto& piece : pieces_[static_cast<std::size_t>(p)]) {
      const int root = (piece.learner + unit) % replicas;
      for (int part = 0; part < members_.parts(); ++part) {
        const auto range =
            model::part_range(table_[static_cast<std::size_t>(p)], part, members_.parts(), piece.begin, piece.end);
        if (range.empty()) continue;
        Transfer transfer{unit * stride_ + hop, hop, unit, 0, 0, p, part, range.begin, range.end, -1};
        if (hop == 0) {
          transfer.from = members_.learners[static_cast<std::size_t>(piece.learner)];
          transfer.to = rank(root, 0, part);
          transfer.slice = piece.slice;
          visit(transfer);
          continue;
        }
        // Far first: most copies are made in the last hop, between neighbours, which share a node as a rule.
        const int distance = 1 << (hops_ - 1 - hop);
        for (int place = 0; place + distance < replicas; place += 2 * distance) {
          transfer.from = rank(root, place, part);
          transfer.to = rank(root, place + distance, part);
          visit(transfer);
        }
      }
    }
  }
}

void PushSchedule::for_each(const std::function<void(const Transfer&)>& visit) const {
  for (int unit = 0; unit < units_; ++unit) {
    for (int hop = 0; hop < hops_; ++hop) visit_unit(unit, hop, visit);
  }
}

std::int64_t PushSchedule::rollout_staging_bytes() const {
  std::int64_t most = 0;
  for (int step = 0; step < steps(); ++step) {
    std::int64_t now = 0;
    for (int unit = 0; unit < units_; ++unit) {
      if (first_step(unit) <= step && step <= last_step(unit)) now += part_elements(unit) * element_bytes_;
    }
    most = std::max(most, now);
  }
  return most;
}

std::int64_t PushSchedule::learner_staging_bytes() const {
  std::int64_t most = 0;
  for (const auto& slices : held_) {
    std::vector<std::int64_t> bytes(static_cast<std::size_t>(units_));
    for (const auto& slice : slices) {
      const auto& parameter = table_[static_cast<std::size_t>(slice.parameter)];
      const std::int64_t size = (slice.end - slice.begin) * element_bytes_;
      // The slice in the pushed type; with whole rows around it and once more cut, where it is cut by columns.
      const bool packed = members_.parts() > 1 && model::cut_of(parameter.name) == model::Cut::columns;
      bytes[static_cast<std::size_t>(parameter.unit)] += packed ? 3 * size : size;
    }
    for (const auto of_unit : bytes) most = std::max(most, of_unit);
  }
  return most;
}

}  // namespace setrl::sync
