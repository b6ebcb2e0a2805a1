#include "records/wire.h"

#include <cstring>
#include <string>
#include <type_traits>

#include "base/error.h"

namespace setrl {

namespace {

// One `visit` function per record lists its fields; Writer and Reader walk the same list, so they cannot disagree.
class Writer {
 public:
  template <typename T>
  void scalar(T& value) {
    const auto* from = reinterpret_cast<const std::uint8_t*>(&value);
    bytes_.insert(bytes_.end(), from, from + sizeof(T));
  }
  template <typename Container>
  std::uint64_t length(Container& values) {
    std::uint64_t count = values.size();
    scalar(count);
    return count;
  }
  void raw(void* data, std::size_t size) {
    if (size == 0) return;
    const auto* from = static_cast<const std::uint8_t*>(data);
    bytes_.insert(bytes_.end(), from, from + size);
  }
  Bytes take() { return std::move(bytes_); }

 private:
  Bytes bytes_;
};

class Reader {
 public:
  explicit Reader(const Bytes& bytes) : bytes_(bytes) {}

  template <typename T>
  void scalar(T& value) {
    raw(&value, sizeof(T));
  }
  template <typename Container>
  std::uint64_t length(Container& values) {
    std::uint64_t count = 0;
    scalar(count);
    SETRL_CHECK(count <= bytes_.size() - at_, "record is cut off: {} elements announced, {} bytes left", count,
                bytes_.size() - at_);
    values.resize(count);
    return count;
  }
  void raw(void* data, std::size_t size) {
    SETRL_CHECK(size <= bytes_.size() - at_, "record is cut off at byte {} of {}", at_, bytes_.size());
    if (size != 0) std::memcpy(data, bytes_.data() + at_, size);
    at_ += size;
  }
  void finish() const { SETRL_CHECK(at_ == bytes_.size(), "{} bytes after the record's end", bytes_.size() - at_); }

 private:
  const Bytes& bytes_;
  std::size_t at_ = 0;
};

template <typename Archive, typename T>
std::enable_if_t<std::is_arithmetic_v<T>> visit(Archive& archive, T& value) {
  archive.scalar(value);
}

// `last` is the enumeration's last value: nothing beyond it is let in.
template <typename Archive, typename T>
void visit_enum(Archive& archive, T& value, T last) {
  archive.scalar(value);
  SETRL_CHECK(value <= last, "{} is no value of this field", static_cast<int>(value));
}

template <typename Archive>
void visit(Archive& archive, std::string& text) {
  archive.length(text);
  archive.raw(text.data(), text.size());
}

template <typename Archive, typename T>
void visit(Archive& archive, std::vector<T>& values);
template <typename Archive>
void visit(Archive& archive, Message& message) {
  visit(archive, message.role);
  visit(archive, message.content);
}
template <typename Archive>
void visit(Archive& archive, GoldAnswer& gold) {
  visit(archive, gold.text);
  visit(archive, gold.aliases);
  visit(archive, gold.probability);
}
template <typename Archive>
void visit(Archive& archive, Problem& problem) {
  visit(archive, problem.id);
  visit(archive, problem.task);
  visit(archive, problem.messages);
  visit(archive, problem.golds);
  visit(archive, problem.payload);
}
template <typename Archive>
void visit(Archive& archive, Prompt& prompt) {
  visit(archive, prompt.problem_id);
  visit(archive, prompt.tokens);
}
template <typename Archive>
void visit(Archive& archive, Completion& completion) {
  visit(archive, completion.problem_id);
  visit(archive, completion.sample_index);
  visit(archive, completion.tokens);
  visit(archive, completion.logprobs);
  visit(archive, completion.forced);
  visit(archive, completion.oldest_version);
  visit(archive, completion.newest_version);
  visit_enum(archive, completion.finish, FinishReason::unfinished);
}
template <typename Archive>
void visit(Archive& archive, AnswerSet& set) {
  visit(archive, set.think);
  visit(archive, set.answers);
  visit(archive, set.confidences);
  visit(archive, set.malformed_reason);
}
template <typename Archive>
void visit(Archive& archive, RewardTerm& term) {
  visit(archive, term.name);
  visit(archive, term.value);
}
template <typename Archive>
void visit(Archive& archive, ProgramTrace& trace) {
  visit(archive, trace.tree);
  visit(archive, trace.behaviour);
  visit(archive, trace.reason);
}
template <typename Archive>
void visit(Archive& archive, Verdict& verdict) {
  visit_enum(archive, verdict.outcome, Outcome::infrastructure_failure);
  visit(archive, verdict.answers);
  visit(archive, verdict.correct);
  visit(archive, verdict.matched_gold);
  visit(archive, verdict.f1);
  visit(archive, verdict.programs);
  visit(archive, verdict.terms);
  visit(archive, verdict.total);
}
template <typename Archive>
void visit(Archive& archive, Group& group) {
  visit(archive, group.step);
  visit(archive, group.index);
  visit(archive, group.policy_version);
  visit(archive, group.problem);
  visit(archive, group.prompt);
  visit(archive, group.completions);
  visit(archive, group.verdicts);
}
template <typename Archive, typename T>
void visit(Archive& archive, std::vector<T>& values) {
  archive.length(values);
  if constexpr (std::is_arithmetic_v<T>) {
    archive.raw(values.data(), values.size() * sizeof(T));
  } else {
    for (auto& value : values) visit(archive, value);
  }
}

}  // namespace

Bytes encode(const Group& group) {
  Writer writer;
  visit(writer, const_cast<Group&>(group));  // the writer only reads; one field list serves both directions
  return writer.take();
}

Group decode_group(const Bytes& bytes) {
  Group group;
  Reader reader(bytes);
  visit(reader, group);
  reader.finish();
  return group;
}

}  // namespace setrl
