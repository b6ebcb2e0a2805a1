#include "sync/weight_push.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/random.h"
#include "model/tensor_parallel.h"

namespace setrl::sync {

namespace {

// What a rank tells the others, as numbers: type, parameters, for each its name's hash and elements; then the role.
using Numbers = std::vector<std::int64_t>;

Numbers tell(const PushRole& mine, const std::vector<model::ParameterSpec>& table, at::ScalarType wire) {
  Numbers numbers = {static_cast<std::int64_t>(wire), static_cast<std::int64_t>(table.size())};
  for (const auto& parameter : table) {
    numbers.push_back(static_cast<std::int64_t>(stable_hash(parameter.name)));
    numbers.push_back(parameter.elements());
  }
  numbers.insert(numbers.end(), {mine.learner ? 1 : 0, mine.replica, mine.part});
  for (const auto& slice : mine.held) numbers.insert(numbers.end(), {slice.parameter, slice.begin, slice.end});
  return numbers;
}

// Throws where a rank's model is not rank 0's.
void check_same_model(const std::vector<Numbers>& all) {
  const Numbers& first = all.front();
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    const Numbers& other = all[rank];
    if (other[0] != first[0]) {
      throw_user_error(
          "rank {} of the weight push works in {}, rank 0 in {}: set model.dtype instead of auto on machines of "
          "different kinds",
          rank, c10::toString(static_cast<at::ScalarType>(other[0])),
          c10::toString(static_cast<at::ScalarType>(first[0])));
    }
    const auto model_end = static_cast<std::ptrdiff_t>(2 + 2 * first[1]);
    if (other[1] != first[1] || !std::equal(first.begin(), first.begin() + model_end, other.begin())) {
      throw_user_error("rank {} of the weight push has another model than rank 0: give all ranks the same model.path",
                       rank);
    }
  }
}

PushRole role_told(const Numbers& numbers) {
  auto at = static_cast<std::size_t>(2 + 2 * numbers[1]);
  PushRole role;
  role.learner = numbers[at] != 0;
  role.replica = static_cast<int>(numbers[at + 1]);
  role.part = static_cast<int>(numbers[at + 2]);
  for (at += 3; at < numbers.size(); at += 3) {
    role.held.push_back({static_cast<int>(numbers[at]), numbers[at + 1], numbers[at + 2]});
  }
  return role;
}

std::vector<Numbers> tell_all(comm::Communicator& group, const Numbers& mine) {
  std::vector<std::uint8_t> bytes(mine.size() * sizeof(std::int64_t));
  std::memcpy(bytes.data(), mine.data(), bytes.size());
  std::vector<Numbers> all;
  for (const auto& told : comm::all_gather_bytes(group, bytes)) {
    all.emplace_back(told.size() / sizeof(std::int64_t));
    std::memcpy(all.back().data(), told.data(), told.size());
  }
  return all;
}

}  // namespace

WeightPush::WeightPush(comm::Communicator& group, const PushRole& mine, const std::vector<model::ParameterSpec>& table,
                       const PushOptions& options)
    : group_(group), mine_(mine), options_(options) {
  const auto all = tell_all(group, tell(mine, table, options.wire));
  check_same_model(all);
  PushMembers members;
  std::vector<std::vector<HeldSlice>> held;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    PushRole role = role_told(all[rank]);
    if (role.learner) {
      members.learners.push_back(static_cast<int>(rank));
      held.push_back(std::move(role.held));
    }
    if (role.replica < 0) continue;
    const auto replica = static_cast<std::size_t>(role.replica), part = static_cast<std::size_t>(role.part);
    if (members.replicas.size() <= replica) members.replicas.resize(replica + 1);
    auto& ranks = members.replicas[replica];
    if (ranks.size() <= part) ranks.resize(part + 1, -1);
    SETRL_CHECK(ranks[part] < 0, "ranks {} and {} are both part {} of replica {}", ranks[part], rank, part, replica);
    ranks[part] = static_cast<int>(rank);
  }
  for (const auto& replica : members.replicas) {
    SETRL_CHECK(std::find(replica.begin(), replica.end(), -1) == replica.end(), "a replica lacks one of its {} parts",
                replica.size());
  }
  schedule_ =
      std::make_unique<PushSchedule>(table, std::move(members), std::move(held),
                                     static_cast<std::int64_t>(c10::elementSize(options.wire)), options.staging_bytes);
  parts_ = schedule_->members().parts();
  unit_parameters_.resize(static_cast<std::size_t>(schedule_->units()));
  for (std::size_t p = 0; p < table.size(); ++p) {
    unit_parameters_[static_cast<std::size_t>(table[p].unit)].push_back(static_cast<int>(p));
  }
  assemblies_.resize(unit_parameters_.size());
  steps_.resize(static_cast<std::size_t>(schedule_->steps()));
  schedule_->for_each([&](const Transfer& transfer) {
    if (transfer.from != group.rank() && transfer.to != group.rank()) return;
    steps_[static_cast<std::size_t>(transfer.step)].push_back(transfer);
  });
}

void WeightPush::begin_unit(int unit) {
  Assembly& assembly = assemblies_[static_cast<std::size_t>(unit)];
  assembly.flat =
      at::empty({schedule_->part_elements(unit)}, at::TensorOptions().dtype(options_.wire).device(options_.device));
  assembly.begins.clear();
  std::int64_t begin = 0;
  for (const int p : unit_parameters_[static_cast<std::size_t>(unit)]) {
    assembly.begins.push_back(begin);
    begin += c10::multiply_integers(model::part_shape(schedule_->table()[static_cast<std::size_t>(p)], parts_));
  }
  staging_ += static_cast<std::int64_t>(assembly.flat.nbytes());
  peak_staging_ = std::max(peak_staging_, staging_);
}

at::Tensor WeightPush::part_of(int unit, int parameter) const {
  const auto& parameters = unit_parameters_[static_cast<std::size_t>(unit)];
  const auto place = std::lower_bound(parameters.begin(), parameters.end(), parameter) - parameters.begin();
  const Assembly& assembly = assemblies_[static_cast<std::size_t>(unit)];
  const auto shape = model::part_shape(schedule_->table()[static_cast<std::size_t>(parameter)], parts_);
  return assembly.flat.narrow(0, assembly.begins[static_cast<std::size_t>(place)], c10::multiply_integers(shape))
      .view(shape);
}

void WeightPush::end_unit(int unit, const Deliver& deliver) {
  for (const int p : unit_parameters_[static_cast<std::size_t>(unit)]) {
    deliver(schedule_->table()[static_cast<std::size_t>(p)], part_of(unit, p));
  }
  auto& flat = assemblies_[static_cast<std::size_t>(unit)].flat;
  staging_ -= static_cast<std::int64_t>(flat.nbytes());
  flat.reset();
}

comm::Parcel WeightPush::arriving(const Transfer& transfer) const {
  const at::Tensor part = part_of(transfer.unit, transfer.parameter);
  const auto width = static_cast<std::int64_t>(part.element_size());
  return {transfer.from, static_cast<char*>(part.data_ptr()) + transfer.begin * width,
          static_cast<std::size_t>((transfer.end - transfer.begin) * width)};
}

at::Tensor WeightPush::cut(const at::Tensor& slice, const Transfer& transfer, Rows& rows) const {
  const auto& parameter = schedule_->table()[static_cast<std::size_t>(transfer.parameter)];
  const HeldSlice& held = mine_.held[static_cast<std::size_t>(transfer.slice)];
  const auto kind = parts_ == 1 ? model::Cut::whole : model::cut_of(parameter.name);
  const std::int64_t count = transfer.end - transfer.begin;
  if (kind == model::Cut::whole) return slice.narrow(0, transfer.begin - held.begin, count);
  if (kind == model::Cut::rows) {
    const std::int64_t first = parameter.elements() / parts_ * transfer.part + transfer.begin;
    return slice.narrow(0, first - held.begin, count);
  }
  const std::int64_t columns = parameter.shape[1], width = columns / parts_;
  const std::int64_t first_row = held.begin / columns, last_row = (held.end + columns - 1) / columns;
  if (rows.slice != transfer.slice) {
    rows = {transfer.slice, at::empty({(last_row - first_row) * columns}, slice.options())};
    rows.values.narrow(0, held.begin - first_row * columns, slice.numel()).copy_(slice);
  }
  return rows.values.view({last_row - first_row, columns})
      .narrow(1, transfer.part * width, width)
      .contiguous()
      .view(-1)
      .narrow(0, transfer.begin - first_row * width, count);
}

void WeightPush::run(std::int64_t version, const ReadUnit& read, const Deliver& deliver) {
  // Rollout ranks wait here, idle, for the learners to be ready.
  std::vector<std::int64_t> versions(static_cast<std::size_t>(group_.size()));
  group_.all_gather(&version, sizeof version, versions.data());
  for (std::size_t rank = 0; rank < versions.size(); ++rank) {
    SETRL_CHECK(versions[rank] == version, "rank {} of the weight push is at version {}, this rank at {}", rank,
                versions[rank], version);
  }
  const int me = group_.rank();
  const bool rollout = mine_.replica >= 0;
  for (int step = 0; step < schedule_->steps(); ++step) {
    const int starting = step % schedule_->stride() == 0 ? step / schedule_->stride() : schedule_->units();
    std::vector<at::Tensor> values(mine_.held.size());  // of the unit that starts
    if (starting < schedule_->units()) {
      if (rollout) begin_unit(starting);
      if (mine_.learner) {
        const auto of_unit = read(starting);
        std::size_t next = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
          if (schedule_->table()[static_cast<std::size_t>(mine_.held[i].parameter)].unit != starting) continue;
          SETRL_CHECK(next < of_unit.size() && of_unit[next].numel() == mine_.held[i].end - mine_.held[i].begin &&
                          of_unit[next].scalar_type() == options_.wire,
                      "slice {} of unit {} is not what was announced", next, starting);
          values[i] = of_unit[next++];
        }
      }
    }
    std::vector<at::Tensor> cuts;
    Rows rows;
    comm::Parcels sends, receives;
    for (const auto& transfer : steps_[static_cast<std::size_t>(step)]) {
      if (transfer.to == me) receives.push_back(arriving(transfer));
      if (transfer.from != me) continue;
      if (transfer.hop > 0) {
        sends.push_back(arriving(transfer));  // sent on from where it arrived
        sends.back().rank = transfer.to;
        continue;
      }
      cuts.push_back(cut(values[static_cast<std::size_t>(transfer.slice)], transfer, rows));
      sends.push_back({transfer.to, cuts.back().data_ptr(), cuts.back().nbytes()});
    }
    group_.exchange(sends, receives);
    const int ending = step - (schedule_->hops() - 1);
    if (rollout && ending >= 0 && ending % schedule_->stride() == 0) end_unit(ending / schedule_->stride(), deliver);
  }
}

}  // namespace setrl::sync
