// A file of one JSON object a line.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tasks/file_view.h"

namespace setrl::tasks {

// One line's object; its fields are read with errors that name file, line and field.
class JsonLine {
 public:
  JsonLine(std::string place, nlohmann::json object) : place_(std::move(place)), object_(std::move(object)) {}

  const nlohmann::json& object() const { return object_; }
  bool has(const std::string& field) const { return object_.contains(field); }
  // The field as T (std::string, std::vector<std::string>, nested pairs, ...); `expected` is for the message. Throws
  // UserError where it is missing or of another type.
  template <typename T>
  T get(const std::string& field, const std::string& expected) const {
    const auto found = object_.find(field);
    if (found == object_.end()) fail("there is no \"" + field + "\" (" + expected + ")");
    try {
      return found->get<T>();
    } catch (const nlohmann::json::exception&) {
      fail("\"" + field + "\" is not " + expected);
    }
  }
  // Throws UserError("FILE: line 12: " + problem).
  [[noreturn]] void fail(const std::string& problem) const;

 private:
  std::string place_;
  nlohmann::json object_;
};

// Maps the file and keeps where its lines begin; lines are parsed on demand. Lines of white space only do not count.
class JsonLines {
 public:
  explicit JsonLines(const std::string& path);

  std::int64_t size() const { return static_cast<std::int64_t>(lines_.size()); }
  const std::string& path() const { return file_.path(); }
  // Throws UserError naming file and line where the line is no JSON object.
  JsonLine line(std::int64_t index) const;

 private:
  struct Line {
    std::size_t offset, size;
    std::int64_t number;  // from 1
  };
  FileView file_;
  std::vector<Line> lines_;
};

}  // namespace setrl::tasks
