#include "sync/weight_push.h"

#include "base/error.h"
#include "base/random.h"

namespace setrl::sync {

namespace {

struct Header {
  std::uint64_t name = 0;  // stable_hash
  std::int64_t elements = 0;
  std::int64_t dtype = -1;
};

constexpr std::uint64_t kEnd = 0;  // name of the header after the last parameter

std::size_t bytes_of(const at::Tensor& tensor) {
  return static_cast<std::size_t>(tensor.numel()) * tensor.element_size();
}

}  // namespace

void push(const ForEachParameter& parameters, comm::Communicator* push_group, int root, const Visit& also) {
  SETRL_CHECK(push_group == nullptr || push_group->rank() == root,
              "only the first learner is in the push group (this is its rank {}, the root is {})",
              push_group == nullptr ? -1 : push_group->rank(), root);
  parameters([&](const model::ParameterSpec& parameter, const at::Tensor& tensor) {
    SETRL_CHECK(tensor.numel() == parameter.elements(), "{} has {} elements, its table entry {}", parameter.name,
                tensor.numel(), parameter.elements());
    if (push_group != nullptr) {
      const at::Tensor whole = tensor.detach().to(at::kCPU).contiguous();
      Header header{stable_hash(parameter.name), whole.numel(), static_cast<std::int64_t>(whole.scalar_type())};
      push_group->broadcast(&header, sizeof header, root);
      push_group->broadcast(whole.data_ptr(), bytes_of(whole), root);
    }
    if (also) also(parameter, tensor);
  });
  if (push_group != nullptr) {
    Header end{kEnd, 0, -1};
    push_group->broadcast(&end, sizeof end, root);
  }
}

void pull(const std::vector<model::ParameterSpec>& table, at::ScalarType wire, comm::Communicator& push_group, int root,
          const Visit& visit) {
  const auto next_header = [&] {
    Header header;
    push_group.broadcast(&header, sizeof header, root);
    return header;
  };
  for (const auto& parameter : table) {
    const Header header = next_header();
    SETRL_CHECK(header.name == stable_hash(parameter.name) && header.elements == parameter.elements(),
                "the learner pushed another parameter than {} ({} elements): the models differ", parameter.name,
                parameter.elements());
    SETRL_CHECK(header.dtype == static_cast<std::int64_t>(wire),
                "{} arrives as {}, expected {}: set model.dtype instead of auto on machines of different kinds",
                parameter.name, c10::toString(static_cast<at::ScalarType>(header.dtype)), c10::toString(wire));
    at::Tensor tensor = at::empty(parameter.shape, at::TensorOptions().dtype(wire));
    push_group.broadcast(tensor.data_ptr(), bytes_of(tensor), root);
    visit(parameter, tensor);
  }
  SETRL_CHECK(next_header().name == kEnd, "the learner pushed more parameters than the {} of this rank's model",
              table.size());
}

}  // namespace setrl::sync
