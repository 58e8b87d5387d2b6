// Whether a file arrived as it was sent.
#pragma once

#include <functional>
#include <string>

#include "request.h"

namespace farm {

// The SHA-256 of the file, in hexadecimal digits; `each` is called between blocks and may throw. Throws Failure
// model_missing where it cannot be opened, model_invalid where it is no file, has another size, or cannot be read whole.
std::string hash_of(const Check& check, const std::function<void()>& each);

}  // namespace farm
