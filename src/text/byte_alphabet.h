// GPT-2's alphabet: one printable character for every byte, so that vocabularies are readable text.
#pragma once

#include <string>
#include <string_view>

namespace setrl::text {

// Bytes -> the alphabet's characters (UTF-8).
std::string to_byte_alphabet(std::string_view bytes);

// The characters -> bytes; false where one of them is not of the alphabet.
bool from_byte_alphabet(std::string_view text, std::string& bytes);

}  // namespace setrl::text
