// Any bytes: either a value or an Error, and nothing else. What is read as a text is written again and read alike; what
// is taken for a request or refused is so with a class.
//
// With clang: libFuzzer (FARM_LIBFUZZER). Elsewhere: fuzz-json ROUNDS SEED changes the requests below at random.
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>

#include "failure.h"
#include "json.h"
#include "request.h"

namespace {

void check_strings(const farm::json::Value& value) {
  if (const auto* text = value.text()) {
    std::string written;
    farm::json::append_string(written, *text);
    const farm::json::Value again = farm::json::parse(written);
    if (again.text() == nullptr || *again.text() != *text) std::abort();
  }
  if (const auto* array = value.array()) {
    for (const auto& item : *array) check_strings(item);
  }
  if (const auto* object = value.object()) {
    for (const auto& [name, item] : *object) check_strings(item);
  }
}

void check(std::string_view text) {
  try {
    check_strings(farm::json::parse(text));
  } catch (const farm::json::Error&) {
    // Refused.
  }
  std::string written;
  farm::json::append_string(written, text);
  if (farm::json::parse(written).text() == nullptr) std::abort();
  try {
    const farm::Request request = farm::parse_request(text);
    if (request.model.empty() || request.threads < 1) std::abort();
  } catch (const farm::Failure& failure) {
    if (failure.klass().empty()) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}

#ifndef FARM_LIBFUZZER

namespace {

const std::string_view kSeeds[] = {
    R"({"contract":"1.0","model":{"path":"/data/m.gguf","load_mode":"mmap","page_cache":"evict"},"workload":{"kind":"stream","prompt":[1,2,3],"gen_tokens":4,"ignore_eos":true},"threads":4,"context":512})",
    R"({"contract":"1.7","model":{"path":"m"},"workload":{"kind":"sustained","turns":[[1],[2,3]],"gen_tokens":1,"seconds":1.5e1},"sampling":{"temperature":0.7,"seed":9},"limits":{"memory_bytes":1000000,"seconds":3}})",
    R"({"a":"\u00e9\ud83d\ude00\n\"\\","b":[null,true,false,-0.5e-3,12345678901234567890,{"c":{}}],"d":""})"};

const std::string_view kPieces[] = {"{", "}", "[", "]", ",", ":", "\"", "\\u", "\\ud800", "\xF0\x9F\x98\x80", "\xC0\x80",
                                    "1e999", "-", "0", "null", "\"prompt\":[", "\"kind\":\"load\"", "9999999999999999999"};

std::string changed(std::mt19937_64& random) {
  std::string text(kSeeds[random() % std::size(kSeeds)]);
  for (std::uint64_t edits = 1 + random() % 8; edits > 0; --edits) {
    const std::size_t at = text.empty() ? 0 : random() % text.size();
    switch (random() % 5) {
      case 0: text.erase(at, 1 + random() % 16); break;
      case 1: text.insert(at, kPieces[random() % std::size(kPieces)]); break;
      case 2: text.insert(at, 1, static_cast<char>(random())); break;
      case 3: if (!text.empty()) text[at] = static_cast<char>(random()); break;
      default: text.insert(at, text.substr(at, random() % 64)); break;
    }
  }
  return text;
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) return 2;
  std::mt19937_64 random(std::strtoull(words[2], nullptr, 10));
  check(std::string(40, '['));
  for (std::uint64_t rounds = std::strtoull(words[1], nullptr, 10); rounds > 0; --rounds) check(changed(random));
  return 0;
}

#endif
