// A runtime whose truth is known: for the self-test of what farm measures. Ready and done with tokens at times that were
// asked for, it takes known memory and dies in a chosen way. What it is to do stands as JSON in the environment variable
// FARM_SCRIPT (docs/selftest.md); the model is any file.
//
// After the last event of a whole run it tells what it did as one more line, {"event":"truth",...}: times by
// CLOCK_MONOTONIC, memory as it was asked for on top of what the process had before.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "backend.h"
#include "calibration_script.h"
#include "clock.h"
#include "events.h"
#include "failure.h"
#include "fatal.h"
#include "memory.h"

namespace farm {
namespace {

constexpr int kVocabulary = 32000;
constexpr int kContext = 4096;
constexpr std::size_t kTold = 4096;
constexpr std::size_t kFewBytes = std::size_t{64} << 20;
constexpr std::int64_t kSecond = 1'000'000'000;

std::int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * kSecond + now.tv_nsec;
}

// Works until this thread has had so much CPU time: what slows the phone down slows it down as much.
void work(std::int64_t cpu_ns) {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  const std::int64_t begun = static_cast<std::int64_t>(now.tv_sec) * kSecond + now.tv_nsec;
  do {
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  } while (static_cast<std::int64_t>(now.tv_sec) * kSecond + now.tv_nsec - begun < cpu_ns);
}

void until(std::int64_t due_ns) {
  timespec due{};
  due.tv_sec = static_cast<time_t>(due_ns / kSecond);
  due.tv_nsec = static_cast<long>(due_ns % kSecond);
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr) == EINTR) continue;
}

// Every page gets other content, so that nothing merges or compresses them to almost nothing.
bool touched(char* memory, std::size_t size) {
  if (memory == MAP_FAILED) return false;
  madvise(memory, size, MADV_NOHUGEPAGE);
  std::uint64_t seed = 88172645463325252u;
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  for (std::size_t at = 0; at + sizeof seed <= size; at += page) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    std::memcpy(memory + at, &seed, sizeof seed);
  }
  return true;
}

// Maps a file and reads every page of it; the mapping stays. Returns its size.
std::int64_t read_mapped(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (file < 0 || fstat(file, &info) != 0) throw Failure(failure_class::kModelMissing, path + ": " + std::strerror(errno));
  const auto size = static_cast<std::size_t>(info.st_size);
  const void* mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped == MAP_FAILED) throw Failure(failure_class::kMemoryRefused, path + ": " + std::strerror(errno));
  const auto* bytes = static_cast<const volatile char*>(mapped);
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  unsigned sum = 0;
  for (std::size_t at = 0; at < size; at += page) sum += static_cast<unsigned char>(bytes[at]);
  volatile unsigned sink = sum;
  (void)sink;
  return info.st_size;
}

class CalibrationBackend final : public Backend {
 public:
  ~CalibrationBackend() override {
    if (memory_.joinable()) memory_.join();
    // A run that failed tells nothing.
    if (done_ && std::uncaught_exceptions() == 0) tell_truth();
  }

  Build build() const override { return {"calibration", "1", {"CPU"}, {"bin"}}; }

  Loaded load(const Request& request) override {
    const std::int64_t begun = monotonic_ns();
    if (request.load_mode != LoadMode::kMmap || !request.kv_type.empty() || request.gpu_layers > 0) {
      throw Failure(failure_class::kOptionUnsupported, "the calibration runtime maps its model and has no cache");
    }
    script_ = parse_script(std::getenv("FARM_SCRIPT"));
    logits_.assign(kVocabulary, 0.0f);
    // Its pages are there before the base is noted.
    ends_.assign(kTold, 0);
    ends_.clear();
    base_ = process_memory();
    if (script_.anon_bytes > 0) memory_ = std::thread([this, begun] { take_memory(begun + script_.anon_at_ns); });
    if (script_.map_model) load_file(request.model);
    until(begun + script_.load_ns);
    load_ns_ = monotonic_ns() - begun;
    Loaded loaded;
    loaded.vocabulary = kVocabulary;
    loaded.context = request.context > 0 ? request.context : kContext;
    loaded.model = "calibration";
    return loaded;
  }

  std::vector<Token> tokenize(const std::string& text) override { return {text.begin(), text.end()}; }

  void reset() override {
    ends_.clear();
    taken_ = 0;
    between_ns_ = late_max_ns_ = 0;
    own_ = {0, 0, "CLOCK_MONOTONIC"};
  }

  const float* take(const Token*, int) override {
    const std::int64_t begun = monotonic_ns();
    if (taken_ == 0) {
      first_begun_ns_ = begun;
      due_ns_ = begun + script_.first_ns;
    } else {
      between_ns_ += begun - ended_ns_;
      due_ns_ += script_.intervals_ns[static_cast<std::size_t>(taken_ - 1) % script_.intervals_ns.size()];
    }
    if (taken_ == script_.die_at) die();
    if (taken_ > 0 && script_.cpu_ns > 0) {
      work(script_.cpu_ns);
      due_ns_ = monotonic_ns();
    } else {
      until(due_ns_);
    }
    logits_[static_cast<std::size_t>(taken_) % logits_.size()] = static_cast<float>(taken_ + 1);
    ended_ns_ = monotonic_ns();
    (taken_ == 0 ? own_.prefill_ns : own_.decode_ns) += ended_ns_ - begun;
    late_max_ns_ = std::max(late_max_ns_, ended_ns_ - due_ns_);
    if (ends_.size() < kTold) ends_.push_back(ended_ns_);
    ++taken_;
    return logits_.data();
  }

  // The driver asks when its work is done.
  OwnTimes own_times() override {
    if (memory_.joinable()) memory_.join();
    if (memory_refused_) throw Failure(failure_class::kMemoryRefused, "the memory of the script was not given");
    done_ = true;
    return own_;
  }

 private:
  void load_file(const std::string& path) {
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    file_bytes_ = read_mapped(path);
    getrusage(RUSAGE_SELF, &after);
    // The kernel counts blocks of 512 bytes, whatever those of the storage are.
    storage_bytes_ = static_cast<std::int64_t>(after.ru_inblock - before.ru_inblock) * 512;
    major_faults_ = after.ru_majflt - before.ru_majflt;
  }

  void take_memory(std::int64_t at_ns) {
    const auto size = static_cast<std::size_t>(script_.anon_bytes);
    until(at_ns);
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory_refused_ = !touched(static_cast<char*>(memory), size);
    if (memory_refused_ || script_.anon_hold_ns == 0) return;
    until(monotonic_ns() + script_.anon_hold_ns);
    munmap(memory, size);
  }

  [[noreturn]] void die() {
    std::signal(SIGABRT, SIG_DFL);
    switch (script_.death) {
      case Death::kExit: _exit(3);
      case Death::kSegv: *reinterpret_cast<volatile int*>(nowhere_) = 1; break;
      case Death::kKill: std::raise(SIGKILL); break;
      case Death::kGarbage: write_garbage(); _exit(0);
      case Death::kNoMemory: refuse_memory();
      case Death::kAbort: break;
    }
    std::abort();
  }

  // A line that is cut, one that is no event, and bytes; then an end as if all were well.
  void write_garbage() {
    std::string garbage = "{\"event\":\"token\",\"t\":99\n{{{]}\n{\"event\":\"token\",\"index\":\"two\"}\n";
    unsigned seed = 12345;
    for (int at = 0; at < 4096; ++at) {
      seed = seed * 1103515245u + 12345u;
      garbage += static_cast<char>(seed >> 16 & 255);
    }
    if (process_events() == nullptr) std::abort();
    process_events()->write_last(garbage);
  }

  // More than the kernel gives under a limit: the allocation itself fails, as it would on a full phone.
  [[noreturn]] void refuse_memory() {
    if (!limit_memory(kFewBytes)) throw Failure(failure_class::kOptionUnsupported, "this system cannot refuse memory");
    std::vector<char> taken(4 * kFewBytes);
    throw Failure(failure_class::kRuntimeFailed, "memory was given against the limit: " + std::to_string(taken.size()));
  }

  void tell_truth() noexcept {
    if (process_events() == nullptr) return;
    try {
      Event truth("truth", uptime_ns());
      truth.add("load_ns", load_ns_).add("first_begun_ns", first_begun_ns_).numbers("taken_ns", ends_);
      truth.add("between_ns", between_ns_).add("late_max_ns", late_max_ns_);
      truth.add("base_anon_bytes", base_.rss_anon).add("base_file_bytes", base_.rss_file);
      truth.add("anon_bytes", script_.anon_bytes).add("file_bytes", file_bytes_);
      truth.add("storage_bytes", storage_bytes_).add("major_faults", major_faults_);
      process_events()->write(truth);
    } catch (const std::exception&) {
      // The run is whole; that it has no truth is seen by whoever looks for it.
    }
  }

  Script script_;
  std::vector<float> logits_;
  ProcessMemory base_;
  std::thread memory_;
  // Read after the thread was joined.
  bool memory_refused_ = false;
  bool done_ = false;
  OwnTimes own_;
  std::vector<std::int64_t> ends_;
  // The compiler must not see that nothing is there.
  volatile std::uintptr_t nowhere_ = 8;
  std::int64_t taken_ = 0;
  std::int64_t due_ns_ = 0;
  std::int64_t ended_ns_ = 0;
  std::int64_t first_begun_ns_ = 0;
  std::int64_t between_ns_ = 0;
  std::int64_t late_max_ns_ = 0;
  std::int64_t load_ns_ = 0;
  std::int64_t file_bytes_ = 0;
  std::int64_t storage_bytes_ = 0;
  std::int64_t major_faults_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_backend() { return std::make_unique<CalibrationBackend>(); }

}  // namespace farm
