// The one option table: parser, help, dump and checks are made from it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/run_config.h"

namespace setrl::config {

enum class Effect {
  result,   // decides what the run computes: part of the configuration hash
  machine,  // where and how fast it runs
  request,  // what a command is asked to show or write: not kept in config.cfg
};

struct Option {
  std::string key;    // "learn.learning_rate"
  std::string type;   // "number", "integer", "text", "yes/no", or "one of"
  std::string range;  // "1 .. 64", "sum | mean | any", or empty
  std::string unit;   // "tokens", "seconds", or empty
  std::string help;
  Effect effect = Effect::result;
  std::function<std::string(const RunConfig&)> get;               // value as text that `set` reads back
  std::function<void(RunConfig&, const std::string& value)> set;  // throws UserError naming key, value and range
  std::string section() const { return key.substr(0, key.find('.')); }
};

const std::vector<Option>& option_table();

// The option with this key, or null.
const Option* find_option(const std::string& key);

// The valid key nearest to a misspelt one by edit distance.
std::string nearest_key(const std::string& key);

}  // namespace setrl::config
