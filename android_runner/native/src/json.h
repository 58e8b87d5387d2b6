// A strict JSON reader (RFC 8259) for requests: bounded in depth and size, no value is ever invented.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace farm::json {

// What was wrong, and at which byte.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Value;
using Array = std::vector<Value>;
using Object = std::map<std::string, Value, std::less<>>;

// One JSON value. A number without fraction and exponent that fits 64 bits is an integer, any other a double.
class Value {
 public:
  using Any = std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object>;

  Value() = default;
  // Each kind by itself: gcc 12 takes the move of a whole variant for a use of what it does not hold.
  explicit Value(bool value) : any_(value) {}
  explicit Value(std::int64_t value) : any_(value) {}
  explicit Value(double value) : any_(value) {}
  explicit Value(std::string value) : any_(std::move(value)) {}
  explicit Value(Array value) : any_(std::move(value)) {}
  explicit Value(Object value) : any_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(any_); }
  const bool* boolean() const { return std::get_if<bool>(&any_); }
  const std::int64_t* integer() const { return std::get_if<std::int64_t>(&any_); }
  const std::string* text() const { return std::get_if<std::string>(&any_); }
  const Array* array() const { return std::get_if<Array>(&any_); }
  const Object* object() const { return std::get_if<Object>(&any_); }
  // An integer counts as a number too.
  std::optional<double> number() const;

 private:
  Any any_ = nullptr;
};

constexpr std::size_t kMaxBytes = 16u << 20;
constexpr int kMaxDepth = 32;

// The value of a whole text. Throws Error for anything that is not exactly one JSON value, for a name that stands twice
// in one object, for text that is not UTF-8, and beyond the bounds.
Value parse(std::string_view text);

// Appends `text` as a JSON string to `to`; bytes that are not UTF-8 become U+FFFD, so that a line stays readable.
void append_string(std::string& to, std::string_view text);

}  // namespace farm::json
