#include "dure/text/transcode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "dure/text/utf8.h"
#include "text/transcode_wide.h"

namespace dure::text {
namespace {

// Into a buffer of exactly the room that the contract asks for.
std::string transcoded(const std::vector<std::uint16_t>& units, std::size_t& read) {
  const CodeUnits text{units.data(), units.size(), 2, false};
  std::vector<char> room(units.size() * text.most_bytes());
  const Transcoded done = to_utf8(text, 0, units.size(), room.data());
  read = done.read;
  return {room.data(), done.written};
}

TEST(Transcode, EveryCodePointOfTwoBytesAtEveryPlaceOfEight) {
  for (std::size_t before = 0; before < 9; ++before) {
    std::vector<std::uint16_t> units(before, 'a');
    std::string wanted(before, 'a');
    for (std::uint32_t point = 0; point < 0x10000; ++point) {
      if ((point & 0xF800U) == 0xD800U) continue;
      units.push_back(static_cast<std::uint16_t>(point));
      append_utf8(point, wanted);
    }
    std::size_t read = 0;
    EXPECT_EQ(transcoded(units, read), wanted);
    EXPECT_EQ(read, units.size());
  }
}

TEST(Transcode, SixteenAtATimeAreTheSameBytes) {
  if (!has_transcode_wide()) GTEST_SKIP() << "this machine cannot, or DURE_SIMD says no";
  std::mt19937 chance(2);
  for (int round = 0; round < 2'000; ++round) {
    std::vector<std::uint16_t> units;
    std::string wanted;
    const std::size_t size = chance() % 100;
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint32_t most = 1U << (1 + chance() % 15);
      units.push_back(static_cast<std::uint16_t>(chance() % most));
    }
    std::vector<char> room(3 * size);
    const Transcoded done = transcode_wide(units.data(), size, room.data());
    EXPECT_GE(done.read + 22, std::min<std::size_t>(size, 22));
    for (std::size_t i = 0; i < done.read; ++i) append_utf8(units[i], wanted);
    EXPECT_EQ(std::string(room.data(), done.written), wanted);
  }
}

TEST(Transcode, StopsBeforeASurrogate) {
  std::mt19937 chance(1);
  for (std::size_t size = 1; size < 40; ++size) {
    for (std::size_t place = 0; place < size; ++place) {
      std::vector<std::uint16_t> units;
      std::string wanted;
      for (std::size_t i = 0; i < size; ++i) {
        const std::uint32_t point =
            std::vector<std::uint32_t>{'x', 0xE9, 0xD55C, ' '}[chance() % 4];
        units.push_back(static_cast<std::uint16_t>(point));
        if (i < place) append_utf8(point, wanted);
      }
      units[place] = static_cast<std::uint16_t>(0xD800 + chance() % 0x800);
      std::size_t read = 0;
      EXPECT_EQ(transcoded(units, read), wanted);
      EXPECT_EQ(read, place);
    }
  }
}

}  // namespace
}  // namespace dure::text
