#include "lab/train/prefetch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace kudari::lab {
namespace prefetch_test {

// Early ones of seven are longer than late ones.
size_t LengthOf(int i) { return 1 + 1000 * static_cast<size_t>(7 - i % 7); }

TEST(Prefetch, ValuesComeInTheirOrder) {
  for (const int64_t threads : {1, 2, 5}) {
    std::atomic<int> starts = 0;
    Prefetch<std::vector<int>> prefetch(threads, [&] { ++starts; });
    int pushed = 0;
    for (int popped = 0; popped < 500; ++popped) {
      while (prefetch.size() < 7) {
        prefetch.Push([i = pushed++] { return std::vector<int>(LengthOf(i), i); });
      }
      const std::vector<int> value = prefetch.Pop();
      ASSERT_EQ(value.size(), LengthOf(popped));
      ASSERT_EQ(value.back(), popped);
    }
    EXPECT_EQ(prefetch.size(), 6);
    EXPECT_LE(starts, threads);
    EXPECT_GE(starts, 1);
  }
}

TEST(Prefetch, ErrorsComeWithTheirValue) {
  Prefetch<int> prefetch(3);
  for (int i = 0; i < 9; ++i) {
    prefetch.Push([i] {
      if (i % 3 == 1) throw std::runtime_error("value " + std::to_string(i));
      return i;
    });
  }
  for (int i = 0; i < 9; ++i) {
    if (i % 3 != 1) {
      EXPECT_EQ(prefetch.Pop(), i);
      continue;
    }
    try {
      prefetch.Pop();
      ADD_FAILURE() << i;
    } catch (const std::runtime_error& e) {
      EXPECT_EQ(e.what(), "value " + std::to_string(i));
    }
  }
}

TEST(Prefetch, WhatIsForgottenOrLeftIsNotWaitedFor) {
  std::atomic<bool> goes_on = false;
  std::atomic<int> made = 0;
  const auto last = std::make_shared<int>(1);
  {
    Prefetch<int> prefetch(1);
    prefetch.Push([&] {
      ++made;
      goes_on.wait(false);
      return 0;
    });
    for (int i = 1; i < 100; ++i) prefetch.Push([&made, last] { return ++made; });
    while (made == 0) std::this_thread::yield();
    prefetch.Clear();
    EXPECT_EQ(prefetch.size(), 0);
    EXPECT_EQ(last.use_count(), 1);
    prefetch.Push([] { return 7; });
    goes_on = true;
    goes_on.notify_all();
    EXPECT_EQ(prefetch.Pop(), 7);
    EXPECT_EQ(made, 1);
  }
  // The end comes long before a hundred are made.
  std::vector<int> order;
  {
    Prefetch<int> prefetch(1);
    for (int i = 0; i < 100; ++i) {
      prefetch.Push([&order, i] {
        order.push_back(i);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        return i;
      });
    }
    EXPECT_EQ(prefetch.Pop(), 0);
  }
  EXPECT_LT(order.size(), 90U);
}

}  // namespace prefetch_test
}  // namespace kudari::lab
