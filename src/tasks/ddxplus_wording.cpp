#include "tasks/ddxplus_wording.h"

#include <array>
#include <string_view>
#include <unordered_map>

namespace setrl::tasks {
namespace {

const std::unordered_map<std::string_view, std::string_view>& wordings() {
  static const std::unordered_map<std::string_view, std::string_view> table = {
      {"Do you feel pain somewhere?", "pain location"},
      {"Does the pain radiate to another location?", "pain radiates to"},
      {"Characterize your pain:", "kind of pain"},
      {"How fast did the pain appear?", "speed of pain onset (0-10)"},
      {"How intense is the pain?", "pain intensity (0-10)"},
      {"How precisely is the pain located?", "precision of pain location (0-10)"},
      {"Where is the affected region located?", "affected skin"},
      {"What color is the rash?", "rash color"},
      {"How intense is the pain caused by the rash?", "rash pain (0-10)"},
      {"Is the rash swollen?", "rash swelling (0-10)"},
      {"How severe is the itching?", "itching (0-10)"},
      {"Is the lesion (or are the lesions) larger than 1cm?", "lesions larger than 1 cm"},
      {"Do your lesions peel off?", "lesions peel off"},
      {"Where is the swelling located?", "swelling location"},
      {"Have you traveled out of the country in the last 4 weeks?", "recent travel"},
  };
  return table;
}

// Openings of a question, longer ones before those they begin with.
constexpr std::array<std::string_view, 16> kOpenings = {"Have you recently had ",
                                                        "Have you noticed that ",
                                                        "Have you noticed ",
                                                        "Have you ever had ",
                                                        "Have you had ",
                                                        "Have you been ",
                                                        "Have you ",
                                                        "Do you feel that ",
                                                        "Do you feel ",
                                                        "Do you have any ",
                                                        "Do you have ",
                                                        "Do you ",
                                                        "Are you ",
                                                        "Did you ",
                                                        "Have any of ",
                                                        "Is "};

void drop_parentheses(std::string& text) {
  for (auto open = text.find(" ("); open != std::string::npos; open = text.find(" (", open)) {
    const auto close = text.find(')', open);
    if (close == std::string::npos) return;
    text.erase(open, close + 1 - open);
  }
}

}  // namespace

std::string statement_of(const std::string& question) {
  const auto known = wordings().find(question);
  if (known != wordings().end()) return std::string(known->second);
  std::string text = question;
  drop_parentheses(text);
  while (!text.empty() && (text.back() == '?' || text.back() == ':' || text.back() == ' ')) text.pop_back();
  for (const auto opening : kOpenings) {
    if (text.compare(0, opening.size(), opening) == 0) return text.substr(opening.size());
  }
  return text;
}

}  // namespace setrl::tasks
