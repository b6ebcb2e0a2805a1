// What the roles of a run tell each other, as letters over the world communicator. Every rank has one box for all of
// them, so that whoever has nothing to do waits for anything. Letters of one sender arrive in the order of sending.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"
#include "records/group.h"

namespace setrl::roles {

enum class LetterKind : std::uint8_t {
  item,
  step,
  standing,
  finished,
  generated,
  verified,
  summary,
  graded,
  closed,
  published,
  evaluate,
  cut,
  flushed,
  held,
  told,
  stop,
  end,
};

// --- between the dispenser (on the first rollout rank) and rollout ranks: the leads of their replicas ---

// Generate this one. Step 0 is the evaluation. With a group where a continued run restored one that was begun. A lead
// passes it on to its followers.
struct ItemNote {
  static constexpr LetterKind kKind = LetterKind::item;
  std::int64_t step = 0, index = 0, problem = 0;
};

// Lead -> its followers: it begins a step of the engine that they hold together.
struct StepNote {
  static constexpr LetterKind kKind = LetterKind::step;
};

// How a rollout rank stands.
struct StandingNote {
  static constexpr LetterKind kKind = LetterKind::standing;
  std::int64_t version = -1;  // of its weights
  std::int64_t room = 0;      // completions that would still fit its batch
  std::int64_t taken = 0;     // items that it has received so far
};

// A group is generated.
struct FinishedNote {
  static constexpr LetterKind kKind = LetterKind::finished;
  std::int64_t step = 0;
  std::int64_t longest = 0;  // tokens of its longest completion
  StandingNote standing;
};

// --- with a group ---

struct GeneratedNote {  // rollout -> verifier
  static constexpr LetterKind kKind = LetterKind::generated;
};
struct VerifiedNote {  // verifier -> learner; of an evaluation (Group::step 0): -> root
  static constexpr LetterKind kKind = LetterKind::verified;
};
struct SummaryNote {  // verifier -> root: without texts and log-probabilities
  static constexpr LetterKind kKind = LetterKind::summary;
};

// --- about steps ---

// Verifier -> dispenser.
struct GradedNote {
  static constexpr LetterKind kKind = LetterKind::graded;
  std::int64_t step = 0;
  bool signal = false;  // its rewards differ
};

// Who was the last to finish generating for a step.
struct Straggler {
  int rank = -1;             // in the world
  double lag_s = 0;          // after all other rollout ranks that had a part in the step
  std::int64_t longest = 0;  // tokens of the longest completion in its last group
};

// Dispenser -> learners and verifiers: all groups of the step are graded.
struct ClosedNote {
  static constexpr LetterKind kKind = LetterKind::closed;
  std::int64_t step = 0, groups = 0;
  Straggler straggler;
};

// Root -> all that are no learners, to followers through their lead: the learners push these weights now.
struct PublishedNote {
  static constexpr LetterKind kKind = LetterKind::published;
  std::int64_t version = 0;
  bool step_done = false;  // a report of the step is wanted
};

// Root -> dispenser: the evaluation's items, by weights of this version.
struct EvaluateNote {
  static constexpr LetterKind kKind = LetterKind::evaluate;
  std::int64_t version = 0;
};

// --- about a checkpoint that takes along what is in flight; `step`: its ---

// Root -> dispenser -> leads of rollout ranks, behind the items that it gave them: tell what you have.
struct CutNote {
  static constexpr LetterKind kKind = LetterKind::cut;
  std::int64_t step = 0;
};
// Lead -> verifiers: what it had finished before is with them.
struct FlushedNote {
  static constexpr LetterKind kKind = LetterKind::flushed;
  std::int64_t step = 0;
};
// Lead or verifier -> learner, with a copy of a group that is not graded yet.
struct HeldNote {
  static constexpr LetterKind kKind = LetterKind::held;
  std::int64_t step = 0;
};
// Lead or verifier -> learners: that was all.
struct ToldNote {
  static constexpr LetterKind kKind = LetterKind::told;
  std::int64_t step = 0;
};

// Any rank -> root: it was asked by a signal to stop.
struct StopNote {
  static constexpr LetterKind kKind = LetterKind::stop;
};

// Root -> all that are no learners, to followers through their lead: what is in flight is no longer wanted.
struct EndNote {
  static constexpr LetterKind kKind = LetterKind::end;
  bool stopped = false;
};

struct Letter {
  int source = -1;
  LetterKind kind = LetterKind::end;
  std::vector<std::uint8_t> bytes;  // note, then the group where there is one

  template <typename Note>
  Note note() const {
    SETRL_CHECK(kind == Note::kKind && bytes.size() >= sizeof(Note), "a letter of kind {} and {} bytes read as {}",
                static_cast<int>(kind), bytes.size(), static_cast<int>(Note::kKind));
    Note note;
    std::memcpy(&note, bytes.data(), sizeof note);
    return note;
  }
  template <typename Note>
  Group group() const {
    note<Note>();
    return group_after(sizeof(Note));
  }
  template <typename Note>
  std::optional<Group> group_if_any() const {
    if (bytes.size() == sizeof(Note)) return std::nullopt;
    return group<Note>();
  }

 private:
  Group group_after(std::size_t offset) const;
};

class Mailbox {
 public:
  explicit Mailbox(comm::Communicator& world);

  int rank() const { return world_.rank(); }

  // Returns without waiting for the receiver, which may be this rank.
  template <typename Note>
  void send(int destination, const Note& note, const Group* group = nullptr) {
    static_assert(std::is_trivially_copyable_v<Note>);
    post(destination, Note::kKind, &note, sizeof note, group);
  }
  std::optional<Letter> try_receive();
  Letter receive();  // waits; BugError after the communicator's deadline

  // Collective over the world, once nobody sends any more: takes in and drops what is still under way, so that no send
  // waits for ever for its receiver.
  void close();

 private:
  void post(int destination, LetterKind kind, const void* note, std::size_t size, const Group* group);
  Letter take(comm::Envelope envelope);

  comm::Communicator& world_;
  std::vector<double> sent_;  // letters, by destination
  double received_ = 0;
};

}  // namespace setrl::roles
