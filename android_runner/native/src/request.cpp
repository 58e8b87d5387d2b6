#include "request.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "failure.h"
#include "json.h"

namespace farm {
namespace {

constexpr std::int64_t kMostTokens = 1 << 22;
constexpr std::int64_t kMostThreads = 1024;

constexpr std::array<std::pair<const char*, Kind>, 5> kKinds{{{"load", Kind::kLoad},
                                                              {"stream", Kind::kStream},
                                                              {"throughput", Kind::kThroughput},
                                                              {"sustained", Kind::kSustained},
                                                              {"battery", Kind::kBattery}}};
constexpr std::array<std::pair<const char*, LoadMode>, 3> kLoadModes{
    {{"mmap", LoadMode::kMmap}, {"read", LoadMode::kRead}, {"mlock", LoadMode::kMlock}}};

[[noreturn]] void wrong(const std::string& where, const std::string& what) {
  throw Failure(failure_class::kBadRequest, where + ": " + what);
}

// Reads the members of one object; the name of each goes into the messages with its path.
class Section {
 public:
  Section(const json::Object& members, std::string path) : members_(members), path_(std::move(path)) {}

  const json::Value* find(std::string_view name) const {
    const auto found = members_.find(name);
    return found == members_.end() || found->second.is_null() ? nullptr : &found->second;
  }

  std::string where(std::string_view name) const { return path_ + std::string(name); }

  Section section(std::string_view name) const {
    static const json::Object kNone;
    const json::Value* value = find(name);
    if (value != nullptr && value->object() == nullptr) wrong(where(name), "must be an object");
    return Section(value != nullptr ? *value->object() : kNone, where(name) + ".");
  }

  std::int64_t integer(std::string_view name, std::int64_t otherwise, std::int64_t least, std::int64_t most) const {
    const json::Value* value = find(name);
    if (value == nullptr) return otherwise;
    const std::int64_t* found = value->integer();
    if (found == nullptr || *found < least || *found > most) {
      wrong(where(name), "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    }
    return *found;
  }

  double number(std::string_view name, double otherwise) const {
    const json::Value* value = find(name);
    if (value == nullptr) return otherwise;
    const auto found = value->number();
    if (!found || *found < 0) wrong(where(name), "must be a number of at least 0");
    return *found;
  }

  bool boolean(std::string_view name, bool otherwise) const {
    const json::Value* value = find(name);
    if (value == nullptr) return otherwise;
    if (value->boolean() == nullptr) wrong(where(name), "must be true or false");
    return *value->boolean();
  }

  std::string text(std::string_view name, std::string otherwise) const {
    const json::Value* value = find(name);
    if (value == nullptr) return otherwise;
    if (value->text() == nullptr) wrong(where(name), "must be a text");
    if (value->text()->find('\0') != std::string::npos) wrong(where(name), "must not hold a zero byte");
    return *value->text();
  }

  template <typename Choice, std::size_t Count>
  Choice choice(std::string_view name, Choice otherwise,
                const std::array<std::pair<const char*, Choice>, Count>& choices) const {
    if (find(name) == nullptr) return otherwise;
    const std::string found = text(name, "");
    std::string known;
    for (const auto& [word, value] : choices) {
      if (found == word) return value;
      known += (known.empty() ? "" : ", ") + std::string(word);
    }
    wrong(where(name), "\"" + found + "\" is none of " + known);
  }

 private:
  const json::Object& members_;
  std::string path_;
};

std::vector<Token> tokens(const json::Value& value, const std::string& where) {
  if (value.array() == nullptr) wrong(where, "must be a list of token ids");
  std::vector<Token> ids;
  ids.reserve(value.array()->size());
  for (const json::Value& item : *value.array()) {
    const std::int64_t* id = item.integer();
    if (id == nullptr || *id < 0 || *id > std::numeric_limits<Token>::max()) {
      wrong(where, "must hold token ids only, from 0");
    }
    ids.push_back(static_cast<Token>(*id));
  }
  return ids;
}

void check_contract(const Section& top) {
  const std::string found = top.text("contract", "");
  const std::size_t dot = found.find('.');
  const std::string major = found.substr(0, dot);
  if (major.empty() || major.find_first_not_of("0123456789") != std::string::npos || major.size() > 6) {
    wrong("contract", "must name a version, such as \"" + std::string(kContract) + "\"");
  }
  if (std::stoi(major) != kContractMajor) {
    throw Failure(failure_class::kContractUnsupported,
                  "contract " + found + " is asked for, this runner speaks " + kContract);
  }
}

void read_workload(const Section& workload, Request& request) {
  if (workload.find("kind") == nullptr) wrong(workload.where("kind"), "is missing");
  request.kind = workload.choice("kind", request.kind, kKinds);
  request.text = workload.text("text", "");
  request.gen_tokens = static_cast<int>(workload.integer("gen_tokens", 0, 0, kMostTokens));
  request.repeats = static_cast<int>(workload.integer("repeats", 1, 1, 1000));
  request.seconds = workload.number("seconds", 0);
  request.ignore_eos = workload.boolean("ignore_eos", true);
  if (const json::Value* prompt = workload.find("prompt")) {
    request.turns.push_back(tokens(*prompt, workload.where("prompt")));
  }
  if (const json::Value* turns = workload.find("turns")) {
    if (!request.turns.empty()) wrong(workload.where("turns"), "stands beside prompt: give one of them");
    if (turns->array() == nullptr) wrong(workload.where("turns"), "must be a list of lists of token ids");
    for (const json::Value& turn : *turns->array()) request.turns.push_back(tokens(turn, workload.where("turns")));
  }
  if (const json::Value* forced = workload.find("forced")) {
    request.forced = tokens(*forced, workload.where("forced"));
  }
}

void check_workload(const Section& workload, const Request& request) {
  if (request.kind == Kind::kLoad) return;
  if (request.text.empty() == request.turns.empty()) {
    wrong(workload.where("prompt"), "exactly one of prompt, turns and text must be given");
  }
  for (const auto& turn : request.turns) {
    if (turn.empty()) wrong(workload.where("prompt"), "must not be empty");
  }
  if (request.gen_tokens == 0 && request.kind != Kind::kThroughput) {
    wrong(workload.where("gen_tokens"), "must be at least 1");
  }
  const bool lasts = request.kind == Kind::kSustained || request.kind == Kind::kBattery;
  if (lasts && request.seconds <= 0) wrong(workload.where("seconds"), "must be above 0");
  if (request.turns.size() > 1 && request.kind != Kind::kStream) {
    wrong(workload.where("turns"), "a conversation is of kind stream");
  }
  if (!request.forced.empty() && (request.kind != Kind::kStream || request.turns.size() > 1)) {
    wrong(workload.where("forced"), "is for a stream of one turn");
  }
  if (!request.forced.empty() && request.forced.size() + 1 < static_cast<std::size_t>(request.gen_tokens)) {
    wrong(workload.where("forced"), "must hold at least gen_tokens - 1 ids");
  }
}

Check read_check(const Section& top) {
  for (const char* name : {"model", "workload"}) {
    if (top.find(name) != nullptr) wrong(top.where(name), "stands beside check: give one of them");
  }
  const Section section = top.section("check");
  Check check;
  check.path = section.text("path", "");
  if (check.path.empty()) wrong(section.where("path"), "is missing");
  if (section.find("bytes") == nullptr) wrong(section.where("bytes"), "is missing");
  check.bytes = section.integer("bytes", 0, 0, std::numeric_limits<std::int64_t>::max());
  check.sha256 = section.text("sha256", "");
  const bool hexadecimal = check.sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (check.sha256.size() != 64 || !hexadecimal) {
    wrong(section.where("sha256"), "must be 64 hexadecimal digits in lower case");
  }
  return check;
}

void read_work(const Section& top, Request& request) {
  const Section model = top.section("model");
  request.model = model.text("path", "");
  if (request.model.empty()) wrong(model.where("path"), "is missing");
  request.load_mode = model.choice("load_mode", request.load_mode, kLoadModes);
  constexpr std::array<std::pair<const char*, bool>, 2> kCaches{{{"keep", false}, {"evict", true}}};
  request.evict = model.choice("page_cache", request.evict, kCaches);

  const Section workload = top.section("workload");
  read_workload(workload, request);
  check_workload(workload, request);
}

}  // namespace

Request parse_request(std::string_view text) {
  json::Value parsed;
  try {
    parsed = json::parse(text);
  } catch (const json::Error& error) {
    throw Failure(failure_class::kBadRequest, std::string("not JSON: ") + error.what());
  }
  if (parsed.object() == nullptr) throw Failure(failure_class::kBadRequest, "the request must be an object");
  const Section top(*parsed.object(), "");
  check_contract(top);

  Request request;
  if (top.find("check") != nullptr) {
    request.check = read_check(top);
  } else {
    read_work(top, request);
  }

  const Section sampling = top.section("sampling");
  request.temperature = sampling.number("temperature", 0);
  request.seed = static_cast<std::uint64_t>(sampling.integer("seed", 0, 0, std::numeric_limits<std::int64_t>::max()));

  request.threads = static_cast<int>(top.integer("threads", 1, 1, kMostThreads));
  request.context = static_cast<int>(top.integer("context", 0, 0, kMostTokens));
  request.batch = static_cast<int>(top.integer("batch", 0, 0, kMostTokens));
  request.kv_type = top.text("kv_type", "");
  constexpr std::array<std::pair<const char*, FlashAttention>, 3> kFlash{
      {{"auto", FlashAttention::kAuto}, {"on", FlashAttention::kOn}, {"off", FlashAttention::kOff}}};
  request.flash_attention = top.choice("flash_attn", request.flash_attention, kFlash);
  request.accelerator = top.text("backend", request.accelerator);
  request.gpu_layers = static_cast<int>(top.integer("gpu_layers", 0, 0, 10000));

  const Section limits = top.section("limits");
  request.memory_limit_bytes =
      static_cast<std::uint64_t>(limits.integer("memory_bytes", 0, 0, std::numeric_limits<std::int64_t>::max()));
  request.seconds_limit = limits.number("seconds", 0);
  request.output = top.text("output", request.output);
  return request;
}

std::int64_t context_needed(const Request& request, const std::vector<std::vector<Token>>& turns) {
  if (request.kind == Kind::kLoad) return 1;
  const auto size = [](const std::vector<Token>& turn) { return static_cast<std::int64_t>(turn.size()); };
  const std::int64_t first = turns.empty() ? static_cast<std::int64_t>(request.text.size()) : size(turns[0]);
  if (request.kind == Kind::kThroughput) return std::max<std::int64_t>(first, request.gen_tokens + 1);
  std::int64_t needed = first + request.gen_tokens;
  for (std::size_t index = 1; index < turns.size(); ++index) needed += size(turns[index]) + request.gen_tokens;
  return needed;
}

const char* name_of(Kind kind) {
  for (const auto& [name, value] : kKinds) {
    if (value == kind) return name;
  }
  return "";
}

const char* name_of(LoadMode mode) {
  for (const auto& [name, value] : kLoadModes) {
    if (value == mode) return name;
  }
  return "";
}

}  // namespace farm
