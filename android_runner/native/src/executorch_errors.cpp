#include "executorch_errors.h"

#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

#include <algorithm>
#include <cstdio>
#include <mutex>

namespace farm {
namespace {

using executorch::runtime::Error;

constexpr std::size_t kMostKept = 600;

std::mutex& mutex() {
  static std::mutex one;
  return one;
}

std::string& said() {
  static std::string text;
  return text;
}

void keep(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, std::size_t, const char* message,
          std::size_t length) {
  if (level != kError && level != kFatal) return;
  // The runtime ends the process after this one: nobody else will tell of it.
  if (level == kFatal) std::fprintf(stderr, "farm-runner: executorch: %.*s\n", static_cast<int>(length), message);
  const std::lock_guard<std::mutex> hold(mutex());
  if (said().size() > kMostKept) return;
  if (!said().empty()) said() += " | ";
  said().append(message, std::min(length, kMostKept));
}

}  // namespace

namespace executorch_log {

void begin() {
  executorch::runtime::register_pal(executorch::runtime::PalImpl::create(&keep, "farm-runner"));
  executorch::runtime::runtime_init();
}

void clear() {
  const std::lock_guard<std::mutex> hold(mutex());
  said().clear();
}

std::string text() {
  const std::lock_guard<std::mutex> hold(mutex());
  return said();
}

}  // namespace executorch_log

const char* failure_class_of(Error error) {
  switch (error) {
    case Error::MemoryAllocationFailed:
    case Error::OutOfResources:
    case Error::DelegateMemoryAllocationFailed: return failure_class::kMemoryRefused;
    case Error::OperatorMissing:
    case Error::NotSupported:
    case Error::NotImplemented:
    case Error::NotFound:
    case Error::DelegateInvalidCompatibility: return failure_class::kModelUnsupported;
    case Error::AccessFailed: return failure_class::kModelMissing;
    case Error::InvalidProgram:
    case Error::InvalidExternalData:
    case Error::InvalidArgument:
    case Error::InvalidType: return failure_class::kModelInvalid;
    default: return failure_class::kRuntimeFailed;
  }
}

void fail(Error error, const std::string& what) {
  std::string message = what + ": " + executorch::runtime::to_string(error);
  const std::string log = executorch_log::text();
  if (!log.empty()) message += " (" + log + ")";
  throw Failure(failure_class_of(error), message);
}

}  // namespace farm
