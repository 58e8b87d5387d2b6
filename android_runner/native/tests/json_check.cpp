// Reads texts from standard input, each behind its length (4 bytes, little endian), and prints for each whether it is
// JSON: "ok", or what is wrong with it. Another reader can be held against it.
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "json.h"

int main() {
  for (;;) {
    unsigned char size[4];
    if (std::fread(size, 1, sizeof size, stdin) != sizeof size) return 0;
    const std::uint32_t length = size[0] | (size[1] << 8) | (size[2] << 16) | (static_cast<std::uint32_t>(size[3]) << 24);
    std::string text(length, '\0');
    if (std::fread(text.data(), 1, length, stdin) != length) return 1;
    try {
      farm::json::parse(text);
      std::puts("ok");
    } catch (const farm::json::Error& error) {
      std::puts(error.what());
    }
  }
}
