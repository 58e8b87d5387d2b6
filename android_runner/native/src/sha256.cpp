#include "sha256.h"

#include <algorithm>
#include <cstring>

namespace farm {
namespace {

constexpr std::array<std::uint32_t, 64> kRounds{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::uint32_t rotated(std::uint32_t value, int by) { return value >> by | value << (32 - by); }

}  // namespace

void Sha256::take_block(const unsigned char* block) {
  std::array<std::uint32_t, 64> words;
  for (std::size_t index = 0; index < 16; ++index) {
    const unsigned char* from = block + 4 * index;
    words[index] = static_cast<std::uint32_t>(from[0]) << 24 | static_cast<std::uint32_t>(from[1]) << 16 |
                   static_cast<std::uint32_t>(from[2]) << 8 | from[3];
  }
  for (std::size_t index = 16; index < 64; ++index) {
    const std::uint32_t early = words[index - 15], late = words[index - 2];
    words[index] = words[index - 16] + (rotated(early, 7) ^ rotated(early, 18) ^ early >> 3) + words[index - 7] +
                   (rotated(late, 17) ^ rotated(late, 19) ^ late >> 10);
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (std::size_t index = 0; index < 64; ++index) {
    const std::uint32_t one = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) +
                              kRounds[index] + words[index];
    const std::uint32_t two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
  }
  const std::array<std::uint32_t, 8> sums{a, b, c, d, e, f, g, h};
  for (std::size_t index = 0; index < 8; ++index) state_[index] += sums[index];
}

void Sha256::update(const unsigned char* bytes, std::size_t count) {
  bytes_ += count;
  if (held_ > 0) {
    const std::size_t some = std::min(count, rest_.size() - held_);
    std::memcpy(rest_.data() + held_, bytes, some);
    held_ += some, bytes += some, count -= some;
    if (held_ < rest_.size()) return;
    take_block(rest_.data());
    held_ = 0;
  }
  for (; count >= rest_.size(); bytes += rest_.size(), count -= rest_.size()) take_block(bytes);
  if (count > 0) std::memcpy(rest_.data(), bytes, count);
  held_ = count;
}

std::string Sha256::finish() {
  const std::uint64_t bits = bytes_ * 8;
  const unsigned char one = 0x80, zero = 0;
  update(&one, 1);
  while (held_ != 56) update(&zero, 1);
  std::array<unsigned char, 8> length;
  for (std::size_t index = 0; index < 8; ++index) length[index] = static_cast<unsigned char>(bits >> (56 - 8 * index));
  update(length.data(), length.size());
  static const char* const kHex = "0123456789abcdef";
  std::string digits;
  for (const std::uint32_t word : state_) {
    for (int shift = 28; shift >= 0; shift -= 4) digits += kHex[word >> shift & 15];
  }
  return digits;
}

}  // namespace farm
