#include "roles/mailbox.h"

#include "records/wire.h"

namespace setrl::roles {

namespace {

constexpr int kLetter = 11;  // tag

}  // namespace

Group Letter::group_after(std::size_t offset) const {
  return decode_group(Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(offset), bytes.end()));
}

Mailbox::Mailbox(comm::Communicator& world) : world_(world), sent_(static_cast<std::size_t>(world.size()), 0.0) {}

void Mailbox::post(int destination, LetterKind kind, const void* note, std::size_t size, const Group* group) {
  std::vector<std::uint8_t> bytes(1 + size);
  bytes[0] = static_cast<std::uint8_t>(kind);
  std::memcpy(bytes.data() + 1, note, size);
  if (group != nullptr) {
    const Bytes encoded = encode(*group);
    bytes.insert(bytes.end(), encoded.begin(), encoded.end());
  }
  world_.send(destination, kLetter, std::move(bytes));
  sent_[static_cast<std::size_t>(destination)] += 1;
}

Letter Mailbox::take(comm::Envelope envelope) {
  auto& bytes = envelope.bytes;
  SETRL_CHECK(!bytes.empty() && bytes[0] <= static_cast<std::uint8_t>(LetterKind::end), "rank {} sent no letter",
              envelope.source);
  received_ += 1;
  Letter letter;
  letter.source = envelope.source;
  letter.kind = static_cast<LetterKind>(bytes[0]);
  bytes.erase(bytes.begin());
  letter.bytes = std::move(bytes);
  return letter;
}

std::optional<Letter> Mailbox::try_receive() {
  auto envelope = world_.try_receive(comm::kAnySource, kLetter);
  if (!envelope) return std::nullopt;
  return take(std::move(*envelope));
}

Letter Mailbox::receive() {
  return take(world_.receive(comm::kAnySource, kLetter));
}

void Mailbox::close() {
  auto all = sent_;
  world_.all_reduce(all.data(), all.size(), comm::Reduction::sum);
  while (received_ < all[static_cast<std::size_t>(world_.rank())]) receive();
}

}  // namespace setrl::roles
