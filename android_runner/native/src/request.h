// The request of the runner contract (docs/runner-contract.md): one JSON file, read once, checked as a whole.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace farm {

using Token = std::int32_t;

inline constexpr int kContractMajor = 1;
inline constexpr const char* kContract = "1.1";

enum class Kind { kLoad, kStream, kThroughput, kSustained, kBattery };
enum class LoadMode { kMmap, kRead, kMlock };
enum class FlashAttention { kAuto, kOn, kOff };

// A file to be held against what was sent, in place of any work.
struct Check {
  std::string path;
  std::int64_t bytes = 0;
  // 64 hexadecimal digits in lower case.
  std::string sha256;
};

struct Request {
  std::optional<Check> check;

  std::string model;
  LoadMode load_mode = LoadMode::kMmap;
  // Push the model's pages out of the page cache first, so that the load is a cold one.
  bool evict = false;

  Kind kind = Kind::kStream;
  // Token ids, one list per turn of a conversation; the cache is kept from one turn to the next.
  std::vector<std::vector<Token>> turns;
  // In place of token ids; only a back end that carries a tokenizer takes it.
  std::string text;
  int gen_tokens = 0;
  // Of throughput.
  int repeats = 1;
  // Of sustained and battery: seconds from the first request.
  double seconds = 0;
  // Continue with these instead of the tokens chosen, which are told all the same: both runtimes see one prefix.
  std::vector<Token> forced;
  bool ignore_eos = true;

  // 0: always the likeliest token.
  double temperature = 0;
  std::uint64_t seed = 0;

  int threads = 1;
  // Tokens; 0: what the workload needs.
  int context = 0;
  int batch = 0;
  std::string kv_type;
  FlashAttention flash_attention = FlashAttention::kAuto;
  std::string accelerator = "cpu";
  int gpu_layers = 0;

  // 0: none.
  std::uint64_t memory_limit_bytes = 0;
  double seconds_limit = 0;

  // "-": standard output.
  std::string output = "-";
};

// The request in a JSON text. Throws Failure: bad_request (what, in which field) or contract_unsupported. Fields that are
// not known are ignored.
Request parse_request(std::string_view text);

// Tokens that must fit into the cache at once; for a text at most one token per byte is counted.
std::int64_t context_needed(const Request& request, const std::vector<std::vector<Token>>& turns);

const char* name_of(Kind kind);
const char* name_of(LoadMode mode);

}  // namespace farm
