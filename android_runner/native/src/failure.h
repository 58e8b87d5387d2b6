// Why a run is no measurement: the class of the `error` event and what stands beside it.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace farm {

namespace failure_class {
inline constexpr const char* kBadRequest = "bad_request";
inline constexpr const char* kContractUnsupported = "contract_unsupported";
inline constexpr const char* kOptionUnsupported = "option_unsupported";
inline constexpr const char* kModelMissing = "model_missing";
inline constexpr const char* kModelInvalid = "model_invalid";
inline constexpr const char* kModelUnsupported = "model_unsupported";
inline constexpr const char* kTokenizerMismatch = "tokenizer_mismatch";
inline constexpr const char* kContextTooSmall = "context_too_small";
inline constexpr const char* kMemoryRefused = "memory_refused";
inline constexpr const char* kOutputUnwritable = "output_unwritable";
inline constexpr const char* kTimedOut = "timed_out";
inline constexpr const char* kNotFrontmost = "not_frontmost";
inline constexpr const char* kRuntimeFailed = "runtime_failed";
inline constexpr const char* kCrashed = "crashed";
}  // namespace failure_class

class Failure : public std::runtime_error {
 public:
  Failure(std::string klass, const std::string& message) : std::runtime_error(message), klass_(std::move(klass)) {}
  const std::string& klass() const { return klass_; }

 private:
  std::string klass_;
};

}  // namespace farm
