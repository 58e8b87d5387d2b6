// SHA-256 (FIPS 180-4), for a file that was sent to a device whose shell cannot be asked for it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace farm {

class Sha256 {
 public:
  void update(const unsigned char* bytes, std::size_t count);

  // 64 hexadecimal digits in lower case; nothing may be added afterwards.
  std::string finish();

 private:
  void take_block(const unsigned char* block);

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> rest_{};
  std::size_t held_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace farm
