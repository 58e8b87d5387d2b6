#include "driver.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "clock.h"
#include "device.h"
#include "failure.h"
#include "file_check.h"
#include "memory.h"
#include "sampling.h"

namespace farm {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

class Driver {
 public:
  Driver(const Request& request, Backend& backend, Events& events)
      : request_(request), backend_(backend), events_(events), device_(events), sampler_(request.temperature, request.seed) {}

  void run() {
    begun_ = uptime_ns();
    start();
    device_.tell(uptime_ns());
    if (request_.check) {
      check_file(*request_.check);
    } else {
      load();
      work();
      memory();
    }
    Event end("end", uptime_ns());
    events_.write(end.add("tokens", generated_).add("turns", turn_));
  }

 private:
  void work() {
    switch (request_.kind) {
      case Kind::kLoad: break;
      case Kind::kStream: conversation(); break;
      case Kind::kThroughput: throughput(); break;
      case Kind::kSustained:
      case Kind::kBattery: sustained(); break;
    }
  }

  void check_file(const Check& check) {
    const std::string found = hash_of(check, [this] { check_time(uptime_ns()); });
    Event event("checked", uptime_ns());
    events_.write(event.add("bytes", check.bytes).add("sha256", found));
    if (found != check.sha256) {
      throw Failure(failure_class::kModelInvalid, check.path + " has SHA-256 " + found + ", not " + check.sha256);
    }
  }

  void start() {
    const Build build = backend_.build();
    Event event("start", begun_);
    event.add("contract", kContract).add("pid", getpid()).add("boot_id", boot_id());
    event.add("runtime", build.runtime).add("version", build.version).add("build", FARM_BUILD);
    event.add("backends", build.accelerators).add("formats", build.formats);
    event.add("kinds", {"load", "stream", "throughput", "sustained", "battery"});
    event.add("load_modes", {"mmap", "read", "mlock"});
    event.add("kind", request_.check ? "check" : name_of(request_.kind)).add("load_mode", name_of(request_.load_mode));
    event.add("threads", request_.threads).add("seed", static_cast<std::int64_t>(request_.seed));
    events_.write(event);
  }

  void load() {
    if (request_.memory_limit_bytes > 0 && !limit_memory(request_.memory_limit_bytes)) {
      throw Failure(failure_class::kOptionUnsupported, "this system cannot hold a process to a limit of memory");
    }
    const std::int64_t counting = uptime_ns();
    const FileCache found = file_cache(request_.model);
    FileCache before = found;
    if (request_.evict) {
      if (!evict(request_.model)) {
        throw Failure(failure_class::kOptionUnsupported, "this system cannot evict a file from the page cache");
      }
      before = file_cache(request_.model);
    }
    const std::int64_t beginning = uptime_ns();
    Event begin("load_begin", beginning);
    begin.add("counting_ns", beginning - counting).add("model_bytes", before.size).flag("evicted", request_.evict).add("cached_found_bytes", found.resident);
    events_.write(begin.add("cached_bytes", before.resident));

    try {
      loaded_ = backend_.load(request_);
    } catch (const Failure& failure) {
      throw device_.cause_of(failure);
    }
    const std::int64_t ready = uptime_ns();
    Event end("load_end", ready);
    end.add("vocabulary", loaded_.vocabulary).add("context", loaded_.context).add("kv_bytes", loaded_.kv_bytes);
    end.add("cached_bytes", file_cache(request_.model).resident);
    events_.write(end.add("model", loaded_.model).add("cpu_features", loaded_.cpu_features));
    memory();
    device_.tell(uptime_ns());
    check_model_fits();
  }

  void check_model_fits() {
    if (request_.kind == Kind::kLoad) return;
    turns_ = request_.turns;
    if (!request_.text.empty()) turns_ = {backend_.tokenize(request_.text)};
    for (const auto& turn : turns_) {
      if (turn.empty()) throw Failure(failure_class::kBadRequest, "the text has no tokens");
      check_ids(turn, "the prompt");
    }
    const std::int64_t needed = context_needed(request_, turns_);
    check_ids(request_.forced, "the forced tokens");
    if (loaded_.context > 0 && needed > loaded_.context) {
      throw Failure(failure_class::kContextTooSmall, std::to_string(needed) + " tokens are asked for, the context has " +
                                                         std::to_string(loaded_.context));
    }
  }

  void check_ids(const std::vector<Token>& ids, const char* what) const {
    for (const Token id : ids) {
      if (id >= loaded_.vocabulary) {
        throw Failure(failure_class::kTokenizerMismatch,
                      std::string(what) + " holds token " + std::to_string(id) + ", the model knows " +
                          std::to_string(loaded_.vocabulary) + ": the ids are of another tokenizer");
      }
    }
  }

  void conversation() {
    backend_.reset();
    for (const auto& prompt : turns_) {
      begin_turn("request");
      generate(prompt, request_.gen_tokens);
    }
    tell_own_times();
  }

  // Prompt alone and tokens alone, each from an empty cache, after one of each that does not count.
  void throughput() {
    warm_up();
    for (int repeat = 0; repeat < request_.repeats; ++repeat) {
      backend_.reset();
      begin_turn("prefill");
      prefill(turns_[0]);
      tell_own_times();
      device_.follow(uptime_ns());
      if (request_.gen_tokens == 0) continue;
      backend_.reset();
      begin_turn("decode");
      generate({turns_[0][0]}, request_.gen_tokens);
      tell_own_times();
    }
  }

  void warm_up() {
    backend_.reset();
    take(turns_[0].data(), static_cast<int>(turns_[0].size()));
    backend_.reset();
    take(turns_[0].data(), 1);
    taking_ns_ = 0;
  }

  void sustained() {
    const std::int64_t until = uptime_ns() + static_cast<std::int64_t>(request_.seconds * kSecond);
    do {
      backend_.reset();
      begin_turn("request");
      generate(turns_[0], request_.gen_tokens, until);
      tell_own_times();
      memory();
    } while (uptime_ns() < until);
  }

  void begin_turn(const char* what) {
    Event event("turn", uptime_ns());
    events_.write(event.add("index", turn_++).add("what", what));
  }

  const float* prefill(const std::vector<Token>& prompt) {
    Event begin("prefill_begin", uptime_ns());
    events_.write(begin.add("tokens", static_cast<std::int64_t>(prompt.size())));
    const float* logits = take(prompt.data(), static_cast<int>(prompt.size()));
    Event end("prefill_end", uptime_ns());
    events_.write(end.add("tokens", static_cast<std::int64_t>(prompt.size())));
    return logits;
  }

  void generate(const std::vector<Token>& prompt, int count, std::int64_t until = 0) {
    const float* logits = prefill(prompt);
    for (int index = 0; index < count; ++index) {
      const std::int64_t choosing = uptime_ns();
      const Token chosen = choose(logits);
      const std::int64_t now = uptime_ns();
      choosing_ns_ += now - choosing;
      ++generated_;
      Event event("token", now);
      events_.write(event.add("index", index).add("id", chosen));
      check_time(now);
      device_.follow(now);
      const bool ended = !request_.ignore_eos && std::count(loaded_.end_tokens.begin(), loaded_.end_tokens.end(), chosen);
      if (ended || index + 1 == count || (until > 0 && now >= until)) break;
      const Token next = request_.forced.empty() ? chosen : request_.forced[static_cast<std::size_t>(index)];
      logits = take(&next, 1);
    }
  }

  Token choose(const float* logits) {
    const Token chosen = sampler_.choose(logits, loaded_.vocabulary);
    if (!std::isfinite(logits[chosen])) {
      throw Failure(failure_class::kRuntimeFailed, "the model's logits are not numbers");
    }
    return chosen;
  }

  const float* take(const Token* tokens, int count) {
    const std::int64_t before = uptime_ns();
    const float* logits = nullptr;
    try {
      logits = backend_.take(tokens, count);
    } catch (const Failure& failure) {
      throw device_.cause_of(failure);
    }
    taking_ns_ += uptime_ns() - before;
    return logits;
  }

  // Of the runtime by its own clock, of our calls into it, and of choosing, since the last time they were told.
  void tell_own_times() {
    const OwnTimes own = backend_.own_times();
    Event event("own_times", uptime_ns());
    event.add("prefill_ns", own.prefill_ns).add("decode_ns", own.decode_ns).add("source", own.source);
    events_.write(event.add("taking_ns", taking_ns_).add("choosing_ns", choosing_ns_));
    taking_ns_ = choosing_ns_ = 0;
  }

  void memory() {
    const ProcessMemory now = process_memory();
    Event event("memory", uptime_ns());
    const auto add = [&event](const char* name, std::int64_t bytes) {
      if (bytes >= 0) event.add(name, bytes);
    };
    add("vm_hwm_bytes", now.vm_hwm);
    add("vm_rss_bytes", now.vm_rss);
    add("rss_anon_bytes", now.rss_anon);
    add("rss_file_bytes", now.rss_file);
    add("vm_swap_bytes", now.swap);
    events_.write(event);
  }

  void check_time(std::int64_t now) const {
    if (request_.seconds_limit > 0 && now - begun_ > static_cast<std::int64_t>(request_.seconds_limit * kSecond)) {
      throw Failure(failure_class::kTimedOut, "the limit of " + std::to_string(request_.seconds_limit) + " s is over");
    }
  }

  const Request& request_;
  Backend& backend_;
  Events& events_;
  DeviceWatch device_;
  Sampler sampler_;
  Loaded loaded_;
  std::vector<std::vector<Token>> turns_;
  std::int64_t begun_ = 0;
  std::int64_t turn_ = 0;
  std::int64_t generated_ = 0;
  std::int64_t taking_ns_ = 0;
  std::int64_t choosing_ns_ = 0;
};

}  // namespace

void run(const Request& request, Backend& backend, Events& events) { Driver(request, backend, events).run(); }

}  // namespace farm
