#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/random.h"
#include "text/chat_template.h"

namespace setrl::text {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Tokenizer> small() {
  return train_tokenizer({"the cat sat on the mat, the cat that sat", "the hat of the cat <answer1> </answer1>"}, 300);
}

TEST(TrainedTokenizer, RoundTripsEveryText) {
  const auto tokenizer = small();
  EXPECT_LE(tokenizer->vocabulary_size(), 300);
  RandomStream random(3, 4);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 20; ++i)
      text += random.uniform() < 0.5 ? " the cat" : random.uniform() < 0.5 ? "é\n" : "世<answer1>";
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
  EXPECT_LT(tokenizer->encode(" the cat").size(), 4u) << "merges are used";
}

TEST(TrainedTokenizer, IsTheSameEachTimeAndReadsItsOwnFile) {
  const auto a = small(), b = small();
  EXPECT_EQ(a->to_tokenizer_json(), b->to_tokenizer_json());
  const auto c = parse_tokenizer(a->to_tokenizer_json(), a->to_tokenizer_config_json(), "copy");
  EXPECT_EQ(c->encode("the cat sat<|im_end|>"), a->encode("the cat sat<|im_end|>"));
}

TEST(Tokenizer, SpecialTokensAreRecognisedAndLeftOutOfTheText) {
  const auto tokenizer = small();
  const auto ids = tokenizer->encode("<|im_start|>a<|im_end|>");
  EXPECT_EQ(ids.front(), tokenizer->id_of("<|im_start|>"));
  EXPECT_EQ(ids.back(), tokenizer->id_of("<|im_end|>"));
  EXPECT_EQ(tokenizer->decode(ids), "a");
  EXPECT_EQ(tokenizer->decode(ids, true), "<|im_start|>a<|im_end|>");
  EXPECT_EQ(tokenizer->id_of("<|no_such|>"), -1);
  EXPECT_EQ(end_of_turn_ids(ChatFormat::chatml, *tokenizer).front(), tokenizer->id_of("<|im_end|>"));
}

TEST(Tokenizer, InvalidUtf8CountsAsTheReplacementCharacter) {
  const auto tokenizer = small();
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a\xff"
                                                "b\xe2\x82"
                                                "c\xed\xa0\x80")),
            "a\uFFFDb\uFFFDc\uFFFD\uFFFD\uFFFD");
}

TEST(StreamingDecoder, HoldsBackUnfinishedCharacters) {
  const auto tokenizer = small();
  StreamingDecoder decoder(*tokenizer);
  std::vector<std::string> pieces;
  for (const auto id : tokenizer->encode("a€b")) pieces.push_back(decoder.push(id));
  EXPECT_EQ(pieces, (std::vector<std::string>{"a", "", "", "€", "b"}));
  decoder.push(tokenizer->encode("€")[0]);
  EXPECT_EQ(decoder.finish(), "\uFFFD");
}

// Cut and changed files: a clear error, never a crash.
TEST(Tokenizer, CorruptedFilesAreRefused) {
  const std::string good = small()->to_tokenizer_json();
  RandomStream random(8, 9);
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    std::string text = good;
    if (round % 2 == 0)
      text.resize(random.below(text.size()));
    else
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    try {
      parse_tokenizer(text, "", "broken.json")->encode("the cat");
    } catch (const UserError& failure) {
      EXPECT_THAT(failure.what(), HasSubstr("broken.json"));
      ++refused;
    }
  }
  EXPECT_GE(refused, 150) << "every cut file at least";
}

TEST(Tokenizer, CutGgufFilesAreRefused) {
  const std::string path = std::string(std::getenv("SETRL_SOURCE_DIR")) + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "SKIPPED: no " << path << "; run launch/setup.sh";
  std::ifstream file(path, std::ios::binary);
  std::string head(1 << 20, '\0');
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  const std::string cut = ::testing::TempDir() + "cut.gguf";
  RandomStream random(1, 1);
  for (int round = 0; round < 40; ++round) {
    std::string part = head.substr(0, random.below(head.size()));
    if (round % 2 == 0 && part.size() > 200) part[random.below(200)] = static_cast<char>(random.below(256));
    std::ofstream(cut, std::ios::binary) << part;
    EXPECT_THROW(load_tokenizer(cut), UserError);
  }
  std::filesystem::remove(cut);
}

}  // namespace
}  // namespace setrl::text
