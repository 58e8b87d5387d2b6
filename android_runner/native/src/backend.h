// What a runtime must do for the driver: load a model, take tokens, give logits. One program holds one back end.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "request.h"

namespace farm {

// What the program is, known before any model is there.
struct Build {
  // "llama.cpp", "executorch": as the inventory calls it.
  std::string runtime;
  std::string version;
  // Compute back ends that are compiled in or found beside the program.
  std::vector<std::string> accelerators;
  // Suffixes of the model files it reads.
  std::vector<std::string> formats;
};

// What is known of a model once it is loaded.
struct Loaded {
  int vocabulary = 0;
  // Tokens that fit into the cache.
  int context = 0;
  std::vector<Token> end_tokens;
  // Bytes; -1 where the runtime does not tell.
  std::int64_t kv_bytes = -1;
  std::string model;
  // What the runtime chose for this processor.
  std::string cpu_features;
};

// Where the runtime itself spent its time, by its own clock.
struct OwnTimes {
  std::int64_t prefill_ns = 0;
  std::int64_t decode_ns = 0;
  std::string source;
};

class Backend {
 public:
  Backend() = default;
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  virtual Build build() const = 0;

  // Makes the model ready to take tokens. Throws Failure.
  virtual Loaded load(const Request& request) = 0;

  // The token ids of a text. Throws Failure tokenizer_mismatch where the model carries no tokenizer.
  virtual std::vector<Token> tokenize(const std::string& text) = 0;

  // Forgets every token taken.
  virtual void reset() = 0;

  // Takes `count` tokens after those taken before and returns the logits of the last one, `vocabulary` of them, valid
  // until the next call. Complete when it returns. Throws Failure.
  virtual const float* take(const Token* tokens, int count) = 0;

  // Since the last reset.
  virtual OwnTimes own_times() = 0;
};

// Defined once by the back end that is linked in.
std::unique_ptr<Backend> make_backend();

}  // namespace farm
