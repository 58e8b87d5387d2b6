// llama.cpp by its C API (llama.h), as Debian packages it or built from source.
#include <ggml-backend.h>
#include <ggml.h>
#include <llama.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <deque>
#include <mutex>

#include "backend.h"
#include "failure.h"
#include "fatal.h"

#ifndef FARM_LLAMA_VERSION
#define FARM_LLAMA_VERSION ""
#endif

namespace farm {
namespace {

constexpr std::size_t kKeptLines = 64;
constexpr int kContextStep = 256;
constexpr int kDefaultBatch = 2048;
constexpr double kNsPerMs = 1e6;

// What the library said last: it tells why it failed in words only.
class Log {
 public:
  static void take(ggml_log_level level, const char* text, void* self) {
    static_cast<Log*>(self)->add(level, text);
  }

  // The first kept line that holds one of `words`, "" for none.
  std::string find(std::initializer_list<const char*> words) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const std::string& line : lines_) {
      for (const char* word : words) {
        if (line.find(word) != std::string::npos) return trimmed(line);
      }
    }
    return "";
  }

  std::string last() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return lines_.empty() ? "it gave no reason" : trimmed(lines_.back());
  }

 private:
  void add(ggml_log_level level, const char* text) {
    const std::lock_guard<std::mutex> lock(mutex_);
    // Beside what goes wrong: which of several CPU back ends was chosen.
    const bool chosen = std::strstr(text, "loaded CPU backend from") != nullptr;
    if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN || chosen) std::fputs(text, stderr);
    if (level == GGML_LOG_LEVEL_CONT || std::strlen(text) < 2) return;
    if (level == GGML_LOG_LEVEL_ERROR || std::strstr(text, "size = ") != nullptr) lines_.emplace_back(text);
    if (lines_.size() > kKeptLines) lines_.pop_front();
  }

  static std::string trimmed(std::string line) {
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
    return line;
  }

  std::mutex mutex_;
  std::deque<std::string> lines_;
};

Log& library_log() {
  static Log log;
  return log;
}

void aborted(const char* message) {
  fatal(failure_class::kRuntimeFailed, std::string("llama.cpp gave up: ") + message);
}

// llama.h names the way to load a model by an enumeration since mid-2026 and by two switches before.
constexpr int kLoadNone = 0;
constexpr int kLoadMmap = 1;
constexpr int kLoadMlock = 2;

template <typename Params>
auto set_load_mode(Params& params, LoadMode mode, int) -> decltype(params.load_mode, void()) {
  const int value = mode == LoadMode::kMmap ? kLoadMmap : mode == LoadMode::kMlock ? kLoadMlock : kLoadNone;
  params.load_mode = static_cast<decltype(params.load_mode)>(value);
}

template <typename Params>
void set_load_mode(Params& params, LoadMode mode, long) {
  params.use_mmap = mode == LoadMode::kMmap;
  params.use_mlock = mode == LoadMode::kMlock;
}

// Only the last token's logits are read; older libraries make room for those of a whole batch.
template <typename Params>
auto set_one_output(Params& params, int) -> decltype(params.n_outputs_max, void()) {
  params.n_outputs_max = 1;
}

template <typename Params>
void set_one_output(Params&, long) {}

bool starts_with_any_case(const std::string& text, const std::string& start) {
  return text.size() >= start.size() && std::equal(start.begin(), start.end(), text.begin(), [](char a, char b) {
           return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
         });
}

ggml_type kv_type(const std::string& name) {
  static const std::pair<const char*, ggml_type> kTypes[] = {
      {"f32", GGML_TYPE_F32},   {"f16", GGML_TYPE_F16},   {"bf16", GGML_TYPE_BF16},     {"q8_0", GGML_TYPE_Q8_0},
      {"q4_0", GGML_TYPE_Q4_0}, {"q4_1", GGML_TYPE_Q4_1}, {"iq4_nl", GGML_TYPE_IQ4_NL}, {"q5_0", GGML_TYPE_Q5_0},
      {"q5_1", GGML_TYPE_Q5_1}};
  for (const auto& [word, type] : kTypes) {
    if (name == word) return type;
  }
  throw Failure(failure_class::kOptionUnsupported, "llama.cpp has no KV cache type " + name);
}

struct FreeModel {
  void operator()(llama_model* model) const { llama_model_free(model); }
};
struct FreeContext {
  void operator()(llama_context* context) const { llama_free(context); }
};

class LlamaBackend final : public Backend {
 public:
  LlamaBackend() {
    llama_log_set(Log::take, &library_log());
    ggml_set_abort_callback(aborted);
    ggml_backend_load_all();
    llama_backend_init();
  }

  Build build() const override {
    Build found{"llama.cpp", FARM_LLAMA_VERSION, {}, {"gguf"}};
    for (std::size_t index = 0; index < ggml_backend_reg_count(); ++index) {
      found.accelerators.emplace_back(ggml_backend_reg_name(ggml_backend_reg_get(index)));
    }
    return found;
  }

  Loaded load(const Request& request) override {
    if (ggml_backend_dev_count() == 0) {
      throw Failure(failure_class::kRuntimeFailed, "no compute back end (libggml-*.so) of llama.cpp loads beside the program");
    }
    load_model(request);
    make_context(request);
    const llama_vocab* vocabulary = llama_model_get_vocab(model_.get());
    Loaded loaded;
    loaded.vocabulary = llama_vocab_n_tokens(vocabulary);
    loaded.context = static_cast<int>(llama_n_ctx(context_.get()));
    for (Token token = 0; token < loaded.vocabulary; ++token) {
      if (llama_vocab_is_eog(vocabulary, token)) loaded.end_tokens.push_back(token);
    }
    char text[256] = {};
    llama_model_desc(model_.get(), text, sizeof text);
    loaded.model = text;
    loaded.cpu_features = llama_print_system_info();
    loaded.kv_bytes = kv_bytes();
    return loaded;
  }

  std::vector<Token> tokenize(const std::string& text) override {
    const llama_vocab* vocabulary = llama_model_get_vocab(model_.get());
    std::vector<Token> tokens(text.size() + 8);
    const auto length = static_cast<std::int32_t>(text.size());
    const std::int32_t count = llama_tokenize(vocabulary, text.data(), length, tokens.data(),
                                              static_cast<std::int32_t>(tokens.size()), true, false);
    if (count < 0) throw Failure(failure_class::kTokenizerMismatch, "the model's tokenizer does not take the text");
    tokens.resize(static_cast<std::size_t>(count));
    return tokens;
  }

  void reset() override {
    llama_memory_clear(llama_get_memory(context_.get()), false);
    llama_perf_context_reset(context_.get());
  }

  const float* take(const Token* tokens, int count) override {
    while (count > 0) {
      const int some = std::min(count, batch_);
      // The library's signature asks for tokens that may change; it does not change them.
      const llama_batch batch = llama_batch_get_one(const_cast<Token*>(tokens), some);
      const int status = llama_decode(context_.get(), batch);
      if (status == 1) throw Failure(failure_class::kContextTooSmall, "the KV cache has no room for the next tokens");
      if (status != 0) {
        throw Failure(failure_class::kRuntimeFailed,
                      "llama_decode returned " + std::to_string(status) + ": " + library_log().last());
      }
      tokens += some;
      count -= some;
    }
    llama_synchronize(context_.get());
    const float* logits = llama_get_logits_ith(context_.get(), -1);
    if (logits == nullptr) throw Failure(failure_class::kRuntimeFailed, "llama.cpp gave no logits");
    return logits;
  }

  OwnTimes own_times() override {
    const llama_perf_context_data data = llama_perf_context(context_.get());
    return {static_cast<std::int64_t>(data.n_p_eval > 0 ? data.t_p_eval_ms * kNsPerMs : 0),
            static_cast<std::int64_t>(data.n_eval > 0 ? data.t_eval_ms * kNsPerMs : 0), "llama_perf_context"};
  }

 private:
  void load_model(const Request& request) {
    llama_model_params params = llama_model_default_params();
    set_load_mode(params, request.load_mode, 0);
    params.n_gpu_layers = request.gpu_layers;
    choose_devices(request);
    params.devices = devices_.data();
    model_.reset(llama_model_load_from_file(request.model.c_str(), params));
    if (model_ != nullptr) return;
    fail_to_load();
  }

  // A list of devices that ends with a null, empty but for that on the CPU.
  void choose_devices(const Request& request) {
    devices_.clear();
    if (request.accelerator != "cpu") {
      for (std::size_t index = 0; index < ggml_backend_dev_count(); ++index) {
        ggml_backend_dev_t device = ggml_backend_dev_get(index);
        if (starts_with_any_case(ggml_backend_dev_name(device), request.accelerator)) devices_.push_back(device);
      }
      if (devices_.empty()) {
        throw Failure(failure_class::kOptionUnsupported, "no back end " + request.accelerator + " answers here");
      }
    } else if (request.gpu_layers > 0) {
      throw Failure(failure_class::kOptionUnsupported, "gpu_layers needs another backend than cpu");
    }
    devices_.push_back(nullptr);
  }

  [[noreturn]] static void fail_to_load() {
    Log& log = library_log();
    const std::string memory = log.find({"Cannot allocate memory", "failed to allocate", "unable to allocate"});
    if (!memory.empty()) throw Failure(failure_class::kMemoryRefused, memory);
    const std::string unknown = log.find({"unknown model architecture", "unknown pre-tokenizer", "unsupported"});
    if (!unknown.empty()) throw Failure(failure_class::kModelUnsupported, unknown);
    const std::string why = log.find({"error loading model"});
    throw Failure(failure_class::kModelInvalid, why.empty() ? log.last() : why);
  }

  void make_context(const Request& request) {
    llama_context_params params = llama_context_default_params();
    const std::int64_t wanted =
        request.context > 0 ? request.context : context_needed(request, request.turns) + kContextStep - 1;
    params.n_ctx = static_cast<std::uint32_t>(request.context > 0 ? wanted : wanted / kContextStep * kContextStep);
    batch_ = std::min(request.batch > 0 ? request.batch : kDefaultBatch, static_cast<int>(params.n_ctx));
    params.n_batch = static_cast<std::uint32_t>(batch_);
    params.n_ubatch = std::min(params.n_ubatch, params.n_batch);
    params.n_threads = params.n_threads_batch = request.threads;
    params.no_perf = false;
    set_one_output(params, 0);
    if (!request.kv_type.empty()) params.type_k = params.type_v = kv_type(request.kv_type);
    params.flash_attn_type = request.flash_attention == FlashAttention::kAuto ? LLAMA_FLASH_ATTN_TYPE_AUTO
                             : request.flash_attention == FlashAttention::kOn ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                                                                              : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    context_.reset(llama_init_from_model(model_.get(), params));
    if (context_ != nullptr) return;
    const std::string memory = library_log().find({"failed to allocate", "Cannot allocate memory"});
    if (!memory.empty()) throw Failure(failure_class::kMemoryRefused, memory);
    throw Failure(failure_class::kOptionUnsupported, "llama.cpp made no context: " + library_log().last());
  }

  // The library tells it in its log only: "llama_kv_cache: size = 45.00 MiB (...".
  static std::int64_t kv_bytes() {
    const std::string line = library_log().find({"llama_kv_cache: size ="});
    const std::size_t at = line.find("size =");
    double mebibytes = 0;
    if (at == std::string::npos || std::sscanf(line.c_str() + at, "size = %lf MiB", &mebibytes) != 1) return -1;
    return static_cast<std::int64_t>(mebibytes * 1024 * 1024);
  }

  std::vector<ggml_backend_dev_t> devices_;
  std::unique_ptr<llama_model, FreeModel> model_;
  std::unique_ptr<llama_context, FreeContext> context_;
  int batch_ = kDefaultBatch;
};

}  // namespace

std::unique_ptr<Backend> make_backend() { return std::make_unique<LlamaBackend>(); }

}  // namespace farm
