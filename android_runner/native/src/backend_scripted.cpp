// A runtime without a model: its "model" file is a JSON text that says how it behaves. For the tests of everything else.
//
//   {"vocabulary": 97, "context": 64, "name": "what load_end calls the model", "fail": {"at": "load" | "take", "after": COUNT, "as": CLASS | "nan" | "throw" | "bad_alloc" | "fatal"}}
//
// The likeliest next token depends on every token taken since the last reset, so that a lost or doubled one shows.
#include <fstream>
#include <iterator>
#include <limits>
#include <new>

#include "backend.h"
#include "failure.h"
#include "fatal.h"
#include "json.h"

namespace farm {
namespace {

class ScriptedBackend final : public Backend {
 public:
  Build build() const override { return {"scripted", "1", {"CPU"}, {"json"}}; }

  Loaded load(const Request& request) override {
    std::ifstream file(request.model, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    try {
      script_ = json::parse(text);
    } catch (const json::Error& error) {
      throw Failure(failure_class::kModelInvalid, std::string("no script: ") + error.what());
    }
    if (script_.object() == nullptr) throw Failure(failure_class::kModelInvalid, "no script: not an object");
    const json::Object& script = *script_.object();
    Loaded loaded;
    loaded.vocabulary = static_cast<int>(integer(script, "vocabulary", 97));
    loaded.context = request.context > 0 ? request.context : static_cast<int>(integer(script, "context", 4096));
    loaded.end_tokens = {0};
    const auto name = script.find("name");
    const std::string* named = name == script.end() ? nullptr : name->second.text();
    loaded.model = named == nullptr ? "scripted" : *named;
    logits_.assign(static_cast<std::size_t>(loaded.vocabulary), 0.0f);
    read_failure(script);
    if (fail_at_ == "load") fail();
    return loaded;
  }

  std::vector<Token> tokenize(const std::string& text) override {
    std::vector<Token> tokens;
    for (const unsigned char c : text) tokens.push_back(c % static_cast<Token>(logits_.size()));
    return tokens;
  }

  void reset() override {
    state_ = 1;
    own_ = {0, 0, "scripted"};
  }

  const float* take(const Token* tokens, int count) override {
    if (fail_at_ == "take" && taken_++ >= fail_after_) fail();
    for (int index = 0; index < count; ++index) state_ = state_ * 6364136223846793005u + static_cast<unsigned>(tokens[index]);
    std::fill(logits_.begin(), logits_.end(), 0.0f);
    const std::size_t likeliest = (state_ >> 33) % logits_.size();
    logits_[likeliest] = 1.0f;
    if (not_numbers_) logits_.assign(logits_.size(), std::numeric_limits<float>::quiet_NaN());
    return logits_.data();
  }

  OwnTimes own_times() override { return own_; }

 private:
  static std::int64_t integer(const json::Object& from, std::string_view name, std::int64_t otherwise) {
    const auto found = from.find(name);
    return found != from.end() && found->second.integer() != nullptr ? *found->second.integer() : otherwise;
  }

  void read_failure(const json::Object& script) {
    const auto found = script.find("fail");
    if (found == script.end() || found->second.object() == nullptr) return;
    const json::Object& failure = *found->second.object();
    const auto word = [&failure](std::string_view name) {
      const auto member = failure.find(name);
      return member != failure.end() && member->second.text() != nullptr ? *member->second.text() : std::string();
    };
    fail_at_ = word("at");
    fail_as_ = word("as");
    fail_after_ = integer(failure, "after", 0);
  }

  void fail() {
    if (fail_as_ == "throw") throw std::runtime_error("something unforeseen");
    if (fail_as_ == "bad_alloc") throw std::bad_alloc();
    if (fail_as_ == "fatal") fatal(failure_class::kRuntimeFailed, "the runtime gave up");
    if (fail_as_ == "nan") {
      not_numbers_ = true;
      return;
    }
    throw Failure(fail_as_, "as the script says");
  }

  json::Value script_;
  std::vector<float> logits_;
  std::uint64_t state_ = 1;
  OwnTimes own_;
  std::string fail_at_;
  std::string fail_as_;
  std::int64_t fail_after_ = 0;
  std::int64_t taken_ = 0;
  bool not_numbers_ = false;
};

}  // namespace

std::unique_ptr<Backend> make_backend() { return std::make_unique<ScriptedBackend>(); }

}  // namespace farm
