#include "config/options.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <fstream>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/random.h"
#include "config/commands.h"
#include "config/option_table.h"

namespace setrl::config {

namespace {

namespace po = boost::program_options;

struct Assignment {
  std::string key, value;
};

const Option& require_option(const std::string& key, const std::string& where) {
  if (const Option* option = find_option(key)) return *option;
  throw_user_error("{}: there is no option '{}'; did you mean '{}'?", where, key, nearest_key(key));
}

// Checks for unknown and duplicate keys and applies the values.
void apply(RunConfig& config, const std::vector<Assignment>& assignments, const std::string& where) {
  std::set<std::string> seen;
  for (const auto& [key, value] : assignments) {
    const Option& option = require_option(key, where);
    if (!seen.insert(key).second) throw_user_error("{}: option '{}' is given twice", where, key);
    option.set(config, value);
  }
}

std::vector<Assignment> read_stream(std::istream& file, const std::string& path) {
  std::vector<Assignment> assignments;
  try {
    const po::options_description nothing;
    // Unregistered options are let through here and checked against the table, whose message names the nearest key.
    for (const auto& option : po::parse_config_file(file, nothing, true).options) {
      assignments.push_back({option.string_key, option.value.empty() ? "" : option.value.front()});
    }
  } catch (const po::error& failure) {
    throw_user_error("{}: {}", path, failure.what());
  }
  return assignments;
}

std::vector<Assignment> read_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw_user_error("cannot read the configuration file '{}'", path);
  return read_stream(file, path);
}

struct CommandLine {
  std::vector<Assignment> assignments;
  std::vector<std::string> bare;
  std::string config_file;
  bool help = false;
  bool dry_run = false;
};

// "--key=value" and "--key value" through Boost's parser, with guessing off; bare words are kept.
CommandLine split(const std::vector<std::string>& arguments, const Command& command) {
  po::options_description known;
  auto declare = known.add_options();
  declare("help,h", "")("dry-run", "")("config", po::value<std::string>());
  std::set<std::string> short_names;
  for (const auto& option : option_table()) {
    const bool own = option.section() == command.name || (option.section() == "export" && command.name == "import");
    // "--check" alone means yes; Boost leaves the implicit value to a store that is not used here.
    const auto value = [&] {
      auto* const text = po::value<std::string>();
      return own && option.type == "yes/no" ? text->implicit_value("yes") : text;
    };
    declare(option.key.c_str(), value());
    if (!own) continue;
    const std::string short_name = option.key.substr(option.key.find('.') + 1);
    short_names.insert(short_name);
    declare(short_name.c_str(), value());
  }
  po::positional_options_description positional;
  positional.add("bare", -1);
  declare("bare", po::value<std::vector<std::string>>());

  CommandLine line;
  try {
    namespace style = po::command_line_style;
    const int rules = style::allow_long | style::allow_short | style::allow_dash_for_short |
                      style::long_allow_adjacent | style::long_allow_next | style::short_allow_next;
    const auto parsed = po::command_line_parser(arguments)
                            .options(known)
                            .positional(positional)
                            .style(rules)
                            .allow_unregistered()
                            .run();
    bool config_seen = false;
    for (const auto& option : parsed.options) {
      const std::string value = option.value.empty() ? "" : option.value.front();
      if (option.string_key == "bare") {
        line.bare.push_back(value);
      } else if (option.string_key == "help") {
        line.help = true;
      } else if (option.string_key == "dry-run") {
        line.dry_run = true;
      } else if (option.string_key == "config") {
        if (config_seen) throw_user_error("command line: option 'config' is given twice");
        config_seen = true;
        line.config_file = value;
      } else if (option.unregistered) {
        throw_user_error("command line: there is no option '{}'; did you mean '--{}'?", option.original_tokens.front(),
                         nearest_key(option.string_key));
      } else {
        const bool is_short = short_names.count(option.string_key) != 0;
        const std::string section = command.name == "import" ? "export" : command.name;
        const std::string key = is_short ? section + "." + option.string_key : option.string_key;
        const Option* const known_option = find_option(key);
        const bool alone = option.value.empty() && known_option != nullptr && known_option->type == "yes/no";
        line.assignments.push_back({key, alone ? "yes" : value});
      }
    }
  } catch (const po::error& failure) {
    throw_user_error("command line: {}", failure.what());
  }
  return line;
}

}  // namespace

ParsedCommand parse_command_line(const std::vector<std::string>& arguments) {
  ParsedCommand result;
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h") {
    result.help = true;
    return result;
  }
  const Command* command = find_command(arguments[0]);
  if (command == nullptr) {
    std::string names;
    for (const auto& known : commands()) names += (names.empty() ? "" : ", ") + known.name;
    throw_user_error("there is no command '{}'; the commands are {}", arguments[0], names);
  }
  result.command = command->name;
  CommandLine line = split({arguments.begin() + 1, arguments.end()}, *command);
  result.help = line.help;
  result.dry_run = line.dry_run;
  if (line.help) return result;
  if (line.dry_run && command->name != "train") throw_user_error("--dry-run is an option of train only");

  if (!command->subcommands.empty()) {
    const auto& allowed = command->subcommands;
    if (line.bare.empty() || std::find(allowed.begin(), allowed.end(), line.bare.front()) == allowed.end()) {
      std::string names;
      for (const auto& name : allowed) names += (names.empty() ? "" : " or ") + name;
      throw_user_error("setrl {} needs to know what: {}", command->name, names);
    }
    result.subcommand = line.bare.front();
    line.bare.erase(line.bare.begin());
  }
  if (!line.bare.empty() && !command->positional.empty()) {
    line.assignments.push_back({command->positional, line.bare.front()});
    line.bare.erase(line.bare.begin());
  }
  if (!line.bare.empty()) throw_user_error("setrl {}: '{}' is one argument too many", command->name, line.bare.front());

  for (const auto& assignment : line.assignments) {
    const std::string section = require_option(assignment.key, "command line").section();
    if (std::find(command->sections.begin(), command->sections.end(), section) == command->sections.end()) {
      throw_user_error("setrl {} does not read the option '{}'", command->name, assignment.key);
    }
  }
  const auto apply_all = [&] {
    if (!line.config_file.empty()) apply(result.config, read_file(line.config_file), line.config_file);
    apply(result.config, line.assignments, "command line");
  };
  apply_all();
  if (const std::string machine = result.config.plan.machine; !machine.empty()) {
    result.config = RunConfig{};
    apply(result.config, read_file(machine), machine);
    apply_all();
  }
  return result;
}

std::string help_text(const std::string& name) {
  std::ostringstream out;
  const Command* command = find_command(name);
  if (command == nullptr) {
    out << "setrl: multi-answer reinforcement learning of language models\n\n"
           "usage: setrl COMMAND [--config FILE.cfg] [--section.key=value ...]\n"
           "       setrl COMMAND --help\n       setrl --version\n\ncommands:\n";
    for (const auto& each : commands()) out << fmt::format("  {:<9}{}\n", each.name, each.help);
    out << "\nexit codes: 0 done; 2 user error; 3 internal error; 75 stopped on a signal after saving (resume)\n";
    return out.str();
  }
  out << "setrl " << command->name << ": " << command->help << "\n\n";
  out << "The command line wins over the file given by --config.\n";
  const RunConfig defaults;
  for (const auto& section : command->sections) {
    out << "\n[" << section << "]\n";
    for (const auto& option : option_table()) {
      if (option.section() != section) continue;
      out << fmt::format("  --{}  ({}{}{}; default '{}'{}{})\n      {}\n", option.key, option.type,
                         option.range.empty() ? "" : ": ", option.range, option.get(defaults),
                         option.unit.empty() ? "" : "; ", option.unit, option.help);
    }
  }
  return out.str();
}

std::string dump(const RunConfig& config) {
  std::ostringstream out;
  out << "# Resolved configuration of a SetRL run; `setrl COMMAND --config THIS_FILE` reads it back.\n";
  std::string section;
  for (const auto& option : option_table()) {
    if (option.effect == Effect::request) continue;
    if (option.section() != section) {
      section = option.section();
      out << "\n[" << section << "]\n";
    }
    out << "# " << option.help << (option.range.empty() ? "" : " (" + option.range + ")") << "\n";
    out << option.key.substr(section.size() + 1) << " = " << option.get(config) << "\n";
  }
  return out.str();
}

RunConfig load_file(const std::string& path) {
  RunConfig config;
  apply(config, read_file(path), path);
  return config;
}

RunConfig load_text(const std::string& text, const std::string& name) {
  RunConfig config;
  std::istringstream stream(text);
  apply(config, read_stream(stream, name), name);
  return config;
}

std::string config_hash(const RunConfig& config) {
  std::string text;
  for (const auto& option : option_table()) {
    if (option.effect == Effect::result) text += option.key + "=" + option.get(config) + "\n";
  }
  return fmt::format("{:016x}", stable_hash(text));
}

std::vector<std::string> differing_keys(const RunConfig& a, const RunConfig& b) {
  std::vector<std::string> lines;
  for (const auto& option : option_table()) {
    if (option.effect != Effect::result || option.get(a) == option.get(b)) continue;
    lines.push_back(fmt::format("{}: {} -> {}", option.key, option.get(a), option.get(b)));
  }
  return lines;
}

}  // namespace setrl::config
