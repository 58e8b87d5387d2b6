// What ExecuTorch's error codes and log say, as failures of the contract.
#pragma once

#include <executorch/runtime/core/error.h>

#include <string>

#include "failure.h"

namespace farm {

// The errors that the runtime has logged: a code alone names neither the operator nor the back end.
namespace executorch_log {

// From now on the log is kept here, in place of standard error.
void begin();
void clear();
std::string text();

}  // namespace executorch_log

// One of the constants in failure_class.
const char* failure_class_of(executorch::runtime::Error error);

// Throws Failure with the error's name and the log.
[[noreturn]] void fail(executorch::runtime::Error error, const std::string& what);

}  // namespace farm
