#include "json.h"

#include <charconv>
#include <cmath>

namespace farm::json {
namespace {

// Length of the UTF-8 sequence at the start of `text`, 0 where there is none (RFC 3629, no surrogates, shortest form).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const auto follows = [&](std::size_t at, unsigned low = 0x80, unsigned high = 0xBF) {
    return at < text.size() && byte(at) >= low && byte(at) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return follows(1, low, high) && follows(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

void append_code_point(std::string& to, unsigned code) {
  if (code < 0x80) {
    to += static_cast<char>(code);
  } else if (code < 0x800) {
    to += static_cast<char>(0xC0 | (code >> 6));
    to += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    to += static_cast<char>(0xE0 | (code >> 12));
    to += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    to += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    to += static_cast<char>(0xF0 | (code >> 18));
    to += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    to += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    to += static_cast<char>(0x80 | (code & 0x3F));
  }
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Value whole() {
    Value value = any(0);
    skip_space();
    if (at_ != text_.size()) fail("something follows the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw Error(std::string(what) + " at byte " + std::to_string(at_));
  }

  bool more() const { return at_ < text_.size(); }
  char peek() const { return more() ? text_[at_] : '\0'; }

  void skip_space() {
    while (more() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }

  void expect(char wanted, const char* what) {
    if (!more() || text_[at_] != wanted) fail(what);
    ++at_;
  }

  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Value any(int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    skip_space();
    switch (peek()) {
      case '{': return object(depth);
      case '[': return array(depth);
      case '"': return Value(string());
      case 't': if (take("true")) return Value(true); break;
      case 'f': if (take("false")) return Value(false); break;
      case 'n': if (take("null")) return Value(); break;
      default: if (peek() == '-' || (peek() >= '0' && peek() <= '9')) return number();
    }
    fail("no value");
  }

  Value object(int depth) {
    ++at_;
    Object members;
    skip_space();
    if (peek() == '}') {
      ++at_;
      return Value(std::move(members));
    }
    for (;;) {
      skip_space();
      if (peek() != '"') fail("a name in quotes is missing");
      std::string name = string();
      skip_space();
      expect(':', "a colon is missing");
      if (!members.emplace(std::move(name), any(depth + 1)).second) fail("a name stands twice");
      skip_space();
      if (peek() == ',') {
        ++at_;
        continue;
      }
      expect('}', "an object does not end");
      return Value(std::move(members));
    }
  }

  Value array(int depth) {
    ++at_;
    Array items;
    skip_space();
    if (peek() == ']') {
      ++at_;
      return Value(std::move(items));
    }
    for (;;) {
      items.push_back(any(depth + 1));
      skip_space();
      if (peek() == ',') {
        ++at_;
        continue;
      }
      expect(']', "an array does not end");
      return Value(std::move(items));
    }
  }

  unsigned hex4() {
    unsigned code = 0;
    for (int digit = 0; digit < 4; ++digit) {
      const char c = peek();
      code <<= 4;
      if (c >= '0' && c <= '9') code |= static_cast<unsigned>(c - '0');
      else if (c >= 'a' && c <= 'f') code |= static_cast<unsigned>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F') code |= static_cast<unsigned>(c - 'A' + 10);
      else fail("four hexadecimal digits are missing");
      ++at_;
    }
    return code;
  }

  void escape(std::string& to) {
    const char c = peek();
    ++at_;
    switch (c) {
      case '"': case '\\': case '/': to += c; return;
      case 'b': to += '\b'; return;
      case 'f': to += '\f'; return;
      case 'n': to += '\n'; return;
      case 'r': to += '\r'; return;
      case 't': to += '\t'; return;
      case 'u': break;
      default: fail("no such escape");
    }
    unsigned code = hex4();
    if (code >= 0xDC00 && code <= 0xDFFF) fail("half of a surrogate pair");
    if (code >= 0xD800 && code <= 0xDBFF) {
      if (!take("\\u")) fail("half of a surrogate pair");
      const unsigned low = hex4();
      if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_code_point(to, code);
  }

  std::string string() {
    ++at_;
    std::string read;
    for (;;) {
      if (!more()) fail("a string does not end");
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') {
        ++at_;
        return read;
      }
      if (c == '\\') {
        ++at_;
        escape(read);
        continue;
      }
      if (c < 0x20) fail("a control character in a string");
      const std::size_t length = utf8_length(text_.substr(at_));
      if (length == 0) fail("text that is not UTF-8");
      read.append(text_.substr(at_, length));
      at_ += length;
    }
  }

  void digits() {
    if (peek() < '0' || peek() > '9') fail("a digit is missing");
    while (peek() >= '0' && peek() <= '9') ++at_;
  }

  Value number() {
    const std::size_t begin = at_;
    bool whole = true;
    if (peek() == '-') ++at_;
    if (peek() == '0') ++at_;
    else digits();
    if (peek() == '.') {
      whole = false;
      ++at_;
      digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      whole = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
    const std::string word(text_.substr(begin, at_ - begin));
    if (whole) {
      std::int64_t value = 0;
      const auto done = std::from_chars(word.data(), word.data() + word.size(), value);
      if (done.ec == std::errc()) return Value(value);
    }
    // Not from_chars: the C++ library of older NDKs has it for integers only.
    const double value = std::strtod(word.c_str(), nullptr);
    if (!std::isfinite(value)) fail("a number that is too large");
    return Value(value);
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::optional<double> Value::number() const {
  if (const auto* whole = std::get_if<std::int64_t>(&any_)) return static_cast<double>(*whole);
  if (const auto* real = std::get_if<double>(&any_)) return *real;
  return std::nullopt;
}

Value parse(std::string_view text) {
  if (text.size() > kMaxBytes) throw Error("more than 16 MiB");
  return Reader(text).whole();
}

void append_string(std::string& to, std::string_view text) {
  static const char* const kHex = "0123456789abcdef";
  to += '"';
  while (!text.empty()) {
    const auto c = static_cast<unsigned char>(text[0]);
    if (c == '"' || c == '\\') {
      to += '\\';
      to += static_cast<char>(c);
    } else if (c == '\n') {
      to += "\\n";
    } else if (c < 0x20 || c == 0x7F) {
      to += "\\u00";
      to += kHex[c >> 4];
      to += kHex[c & 15];
    } else {
      const std::size_t length = utf8_length(text);
      if (length == 0) {
        to += "\xEF\xBF\xBD";
      } else {
        to.append(text.substr(0, length));
        text.remove_prefix(length);
        continue;
      }
    }
    text.remove_prefix(1);
  }
  to += '"';
}

}  // namespace farm::json
