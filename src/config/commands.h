// The commands of the program and the option sections each of them reads.
#pragma once

#include <string>
#include <vector>

namespace setrl::config {

struct Command {
  std::string name;
  std::string help;
  std::vector<std::string> sections;
  std::string positional;                // option that a bare argument sets, or empty
  std::vector<std::string> subcommands;  // bench: what is measured
};

const std::vector<Command>& commands();
const Command* find_command(const std::string& name);

}  // namespace setrl::config
