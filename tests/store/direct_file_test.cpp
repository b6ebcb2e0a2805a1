// Writes past the page cache, and the copy that they start from.
#include "store/direct_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <thread>

#include "store/durable_file.h"
#include "store/staged_copy.h"
#include "store/store_samples.h"

namespace setrl::store {
namespace {

constexpr std::size_t kPage = DirectFile::kPage;

struct Pages {
  explicit Pages(std::size_t count) : memory(static_cast<char*>(std::aligned_alloc(kPage, count * kPage))) {
    for (std::size_t i = 0; i < count * kPage; ++i) memory.get()[i] = static_cast<char>('a' + i % 23);
  }
  struct Free {
    void operator()(char* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<char, Free> memory;
};

TEST(DirectFile, WritesWholePagesAndLeavesTheRest) {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  File::create(path).write("0123456789", 10);
  DirectFile direct(path);
  const Pages pages(4);
  const char* data = pages.memory.get();
  if (direct.write_at(kPage, data, 2 * kPage + 100) == 0) GTEST_SKIP() << "NOT TESTED: no direct writes in " << path;
  EXPECT_EQ(fs::file_size(path), 3 * kPage);
  const std::string content = read_file(path);
  EXPECT_EQ(content.substr(0, 10), "0123456789");
  EXPECT_EQ(content.substr(kPage), std::string(data, 2 * kPage));
  EXPECT_EQ(direct.write_at(kPage + 512, data, kPage), 0u);  // neither place nor memory within a page
  EXPECT_EQ(direct.write_at(kPage, data + 4, kPage), 0u);
  EXPECT_EQ(direct.write_at(0, data, kPage - 1), 0u);
  EXPECT_EQ(read_file(path), content);
}

TEST(DirectFile, LeavesAllToTheCallerWhereItCannotBeOpened) {
  const TemporaryFolder folder;
  DirectFile direct(folder / "absent/file");
  const Pages pages(1);
  EXPECT_EQ(direct.write_at(0, pages.memory.get(), kPage), 0u);
}

TEST(StagedCopy, AnyNumberOfThreadsMakesOneCopyOnPages) {
  std::vector<float> values(5000001);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const std::vector<TensorView> tensors = {
      {"parameters/a", {5000001}, DType::float32, 3, 4999999, values.data()},
      {"parameters/none", {7}, DType::float32, 2, 2, nullptr},
      {"parameters/half", {4}, DType::float16, 0, 4, values.data()},  // refused later, by the writer
      {"parameters/b", {10}, DType::float32, 0, 10, values.data() + 40}};
  StagingMemory memory;
  for (int threads = 1; threads <= 4; ++threads) {
    StagedCopy copy;
    copy.prepare(tensors, std::move(memory));
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back([&] { copy.complete(); });
    copy.complete();
    ASSERT_EQ(copy.views().size(), tensors.size());
    for (const std::size_t i : {0, 3}) {
      const TensorView &from = tensors[i], &to = copy.views()[i];
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(to.data) % kPage, 0u);
      EXPECT_NE(to.data, from.data);
      const auto bytes = static_cast<std::size_t>(from.end - from.begin) * sizeof(float);
      EXPECT_EQ(std::memcmp(from.data, to.data, bytes), 0) << threads;
    }
    for (auto& other : others) other.join();
    memory = copy.take_memory();
    std::fill_n(memory.floats.get(), memory.size, -1.0f);
  }
}

}  // namespace
}  // namespace setrl::store
