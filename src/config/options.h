// One option table -> parser, help, dump, checks. The only module that knows Boost.Program_options.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.h"

namespace setrl::config {

struct ParsedCommand {
  std::string command;     // "train", "eval", ...
  std::string subcommand;  // bench: "rollout", "learn" or "verify"
  RunConfig config;
  bool help = false;
  bool dry_run = false;  // train: print the plan and stop
};

// Parses `setrl COMMAND [--config FILE.cfg] [--section.key=value ...]`; the command line wins over the file.
// Errors (unknown, abbreviated or duplicate key, bad value, out of range) throw UserError naming the key and the
// nearest valid one. Abbreviations are never guessed.
ParsedCommand parse_command_line(const std::vector<std::string>& arguments);

// Help of one command (the sections it reads), or of the program where `command` is empty.
std::string help_text(const std::string& command);

// The resolved configuration as a commented .cfg file that parse_command_line reads back to an equal RunConfig.
std::string dump(const RunConfig& config);

// Reads such a file (a run directory's config.cfg), or its text (`name` is for errors).
RunConfig load_file(const std::string& path);
RunConfig load_text(const std::string& text, const std::string& name);

// 64-bit hash over the options that decide results (not run.dir, run.resume, run.threads, log level, deadlines,
// topology).
std::string config_hash(const RunConfig& config);

// Keys whose values differ between two configurations, among the options that decide results; "key: a -> b" lines.
std::vector<std::string> differing_keys(const RunConfig& a, const RunConfig& b);

}  // namespace setrl::config
