#include "comm/handshake.h"

#include <map>
#include <sstream>

#include "base/error.h"
#include "base/random.h"
#include "base/system.h"

namespace setrl::comm {

namespace {

// Host, then a line for each fact: name, tab, value.
std::vector<std::uint8_t> to_bytes(const std::vector<Fact>& facts) {
  std::string text = host_name() + "\n";
  for (const auto& fact : facts) text += fact.name + "\t" + fact.value + "\n";
  return {text.begin(), text.end()};
}

struct Told {
  std::string host;
  std::vector<Fact> facts;
};

Told from_bytes(const std::vector<std::uint8_t>& bytes) {
  std::istringstream lines(std::string(bytes.begin(), bytes.end()));
  Told told;
  std::getline(lines, told.host);
  for (std::string name, value; std::getline(lines, name, '\t') && std::getline(lines, value);) {
    told.facts.push_back({name, value});
  }
  return told;
}

// "learn.clip_low is 0.1 there and 0.2 on rank 0", a line each.
std::string differences(const Told& other, const Told& root) {
  std::map<std::string, std::string> theirs;
  for (const auto& fact : other.facts) theirs[fact.name] = fact.value;
  std::string text;
  for (const auto& fact : root.facts) {
    const auto found = theirs.find(fact.name);
    const std::string value = found == theirs.end() ? "(missing)" : found->second;
    if (value != fact.value) text += fmt::format("\n  {} is '{}' there, '{}' on rank 0", fact.name, value, fact.value);
  }
  return text.empty() ? "\n  it has settings that rank 0 does not have" : text;
}

}  // namespace

void check_agreement(Communicator& world, const std::vector<Fact>& facts) {
  if (world.size() == 1) return;
  const auto mine = to_bytes(facts);
  // Hosts differ: only the facts are compared. Texts travel only where a hash differs.
  std::string compared;
  for (const auto& fact : facts) compared += fact.name + "\t" + fact.value + "\n";
  const std::uint64_t hash = stable_hash(compared);
  std::vector<std::uint64_t> hashes(static_cast<std::size_t>(world.size()));
  world.all_gather(&hash, sizeof hash, hashes.data());
  std::vector<std::size_t> others;
  for (std::size_t rank = 1; rank < hashes.size(); ++rank) {
    if (hashes[rank] != hashes[0]) others.push_back(rank);
  }
  if (others.empty()) return;

  const auto all = all_gather_bytes(world, mine);
  constexpr std::size_t kMostNamed = 8;
  std::string names;
  for (std::size_t i = 0; i < others.size() && i < kMostNamed; ++i) {
    names += fmt::format("{}rank {} on host {}", i == 0 ? "" : ", ", others[i], from_bytes(all[others[i]]).host);
  }
  if (others.size() > kMostNamed) names += fmt::format(" and {} more", others.size() - kMostNamed);
  const Told first = from_bytes(all[others.front()]), root = from_bytes(all[0]);
  throw_user_error(
      "the ranks disagree: {} against rank 0 on host {}{}\n  start the same program with the same options on "
      "every node",
      names, root.host, differences(first, root));
}

}  // namespace setrl::comm
