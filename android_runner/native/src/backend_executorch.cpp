// ExecuTorch behind the contract: a program (.pte) whose method forward(tokens int64 [1, S], input_pos int64 [1]) gives
// the logits of the last token and keeps its cache inside, as mutable buffers.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/backend/interface.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "backend.h"
#include "clock.h"
#include "executorch_errors.h"
#include "failure.h"

#if __has_include(<executorch/extension/threadpool/threadpool.h>)
#include <executorch/extension/threadpool/threadpool.h>
#else
// The wheel holds the thread pool's library without this header: the names used here, as ExecuTorch 1.x declares them.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  std::size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(std::uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool
#endif

namespace farm {
namespace {

using executorch::aten::ScalarType;
using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::Error;
using executorch::runtime::EValue;

constexpr const char* kForward = "forward";

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return text;
}

std::vector<std::string> registered_backends() {
  std::vector<std::string> names;
  for (std::size_t index = 0; index < executorch::runtime::get_num_registered_backends(); ++index) {
    const auto name = executorch::runtime::get_backend_name(index);
    if (name.ok()) names.emplace_back(*name);
  }
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

Module::LoadMode mode_of(LoadMode mode) {
  switch (mode) {
    case LoadMode::kRead: return Module::LoadMode::File;
    case LoadMode::kMlock: return Module::LoadMode::MmapUseMlock;
    case LoadMode::kMmap: break;
  }
  return Module::LoadMode::Mmap;
}

void refuse_options(const Request& request) {
  const auto refuse = [](const std::string& option, const char* why) {
    throw Failure(failure_class::kOptionUnsupported, option + ": " + why);
  };
  if (!request.kv_type.empty()) refuse("kv_type", "the type of a PTE's cache is fixed when it is exported");
  if (request.flash_attention != FlashAttention::kAuto) {
    refuse("flash_attn", "the attention of a PTE is fixed when it is exported");
  }
  if (request.gpu_layers > 0) refuse("gpu_layers", "what runs where is fixed when a PTE is exported");
}

void set_threads(int threads) {
  namespace pool = executorch::extension::threadpool;
  pool::ThreadPool* found = pool::get_threadpool();
  if (found == nullptr) throw Failure(failure_class::kRuntimeFailed, "ExecuTorch has no thread pool on this system");
  const auto wanted = static_cast<std::size_t>(threads);
  if (found->get_thread_count() == wanted) return;
  if (!found->_unsafe_reset_threadpool(static_cast<std::uint32_t>(threads)) || found->get_thread_count() != wanted) {
    throw Failure(failure_class::kOptionUnsupported,
                  "threads: the thread pool has " + std::to_string(found->get_thread_count()) + ", not " +
                      std::to_string(threads));
  }
}

class Executorch final : public Backend {
 public:
  Executorch() { executorch_log::begin(); }

  Build build() const override { return {"executorch", FARM_EXECUTORCH_VERSION, registered_backends(), {"pte"}}; }

  Loaded load(const Request& request) override {
    refuse_options(request);
    set_threads(request.threads);
    executorch_log::clear();
    module_ = std::make_unique<Module>(request.model, mode_of(request.load_mode));
    // Anything less follows pointers of a broken file.
    check_loaded(module_->load(executorch::runtime::Program::Verification::InternalConsistency), request);
    read_constants();
    check_delegates(request);
    check_loaded(module_->load_method(kForward), request);
    if (request.context > context_) {
      throw Failure(failure_class::kContextTooSmall, "a context of " + std::to_string(request.context) +
                                                         " is asked for, the model was exported for " +
                                                         std::to_string(context_));
    }
    if (request.batch > 0) chunk_ = std::min(chunk_, request.batch);
    buffer_.resize(static_cast<std::size_t>(chunk_));
    one_ = inputs(1);

    Loaded loaded;
    loaded.vocabulary = vocabulary_;
    loaded.context = context_;
    loaded.end_tokens = end_tokens_;
    loaded.model = "pte (" + joined(model_backends_) + ")";
    return loaded;
  }

  std::vector<Token> tokenize(const std::string&) override {
    throw Failure(failure_class::kTokenizerMismatch, "a PTE carries no tokenizer: the prompt must be token ids");
  }

  void reset() override {
    position_ = 0;
    times_ = {0, 0, "time in Module::execute, by the runner's clock"};
  }

  const float* take(const Token* tokens, int count) override {
    const bool prefill = count > 1 || position_ == 0;
    if (position_ + count > context_) {
      throw Failure(failure_class::kContextTooSmall, std::to_string(position_ + count) + " tokens do not fit into the " +
                                                         std::to_string(context_) + " the model was exported for");
    }
    const float* logits = nullptr;
    for (int done = 0; done < count;) {
      const int size = std::min(chunk_, count - done);
      std::copy(tokens + done, tokens + done + size, buffer_.begin());
      input_position_ = position_;
      const std::int64_t before = uptime_ns();
      logits = size == 1 ? execute(one_) : execute(inputs(size));
      (prefill ? times_.prefill_ns : times_.decode_ns) += uptime_ns() - before;
      done += size;
      position_ += size;
    }
    return logits;
  }

  OwnTimes own_times() override { return times_; }

 private:
  static void check_loaded(Error error, const Request& request) {
    if (error == Error::Ok) return;
    if (request.load_mode == LoadMode::kMlock && executorch_log::text().find("mlock") != std::string::npos) {
      throw Failure(failure_class::kMemoryRefused, "the system does not lock the model in memory: " + executorch_log::text());
    }
    fail(error, "the model " + request.model + " cannot be loaded");
  }

  // The whole numbers that a constant method gives.
  std::vector<std::int64_t> constants(const char* method) {
    executorch_log::clear();
    const auto result = module_->execute(method);
    if (!result.ok()) fail(result.error(), std::string("the model's method ") + method + " does not run");
    std::vector<std::int64_t> values;
    for (const EValue& value : *result) {
      if (value.isInt()) {
        values.push_back(value.toInt());
      } else if (value.isTensor() && value.toTensor().scalar_type() == ScalarType::Long) {
        const auto tensor = value.toTensor();
        const auto* data = tensor.const_data_ptr<std::int64_t>();
        values.insert(values.end(), data, data + tensor.numel());
      } else {
        throw Failure(failure_class::kModelUnsupported,
                      std::string("the model's method ") + method + " gives no whole numbers");
      }
    }
    return values;
  }

  int constant(const std::unordered_set<std::string>& known, const char* method) {
    constexpr std::int64_t kMost = 1 << 24;
    if (known.count(method) == 0) {
      throw Failure(failure_class::kModelUnsupported,
                    std::string("the model has no method ") + method + ": it was not exported as a language model");
    }
    const std::vector<std::int64_t> values = constants(method);
    if (values.size() != 1 || values[0] < 1 || values[0] > kMost) {
      throw Failure(failure_class::kModelInvalid, std::string("the model's method ") + method + " gives no count");
    }
    return static_cast<int>(values[0]);
  }

  void read_constants() {
    const auto names = module_->method_names();
    if (!names.ok()) fail(names.error(), "the model's methods cannot be listed");
    if (names->count(kForward) == 0) {
      throw Failure(failure_class::kModelUnsupported, "the model has no method forward");
    }
    vocabulary_ = constant(*names, "get_vocab_size");
    context_ = constant(*names, "get_max_context_len");
    chunk_ = std::min(constant(*names, "get_max_seq_len"), context_);
    end_tokens_.clear();
    if (names->count("get_eos_ids") == 0) return;
    for (const std::int64_t id : constants("get_eos_ids")) {
      if (id >= 0 && id < vocabulary_) end_tokens_.push_back(static_cast<Token>(id));
    }
  }

  void check_delegates(const Request& request) {
    const auto meta = module_->method_meta(kForward);
    if (!meta.ok()) fail(meta.error(), "the model's method forward cannot be read");
    model_backends_.clear();
    for (std::size_t index = 0; index < meta->num_backends(); ++index) {
      const auto name = meta->get_backend_name(index);
      // One for each delegated part of the graph.
      const bool known = name.ok() && std::count(model_backends_.begin(), model_backends_.end(), *name) > 0;
      if (name.ok() && !known) model_backends_.emplace_back(*name);
    }
    for (const std::string& name : model_backends_) {
      const auto* backend = executorch::runtime::get_backend_class(name.c_str());
      if (backend == nullptr || !backend->is_available()) {
        throw Failure(failure_class::kModelUnsupported,
                      "the model needs the back end " + name + ", which this " +
                          (backend == nullptr ? "program lacks (it has " + joined(registered_backends()) + ")"
                                              : "system does not offer"));
      }
    }
    const std::string wanted = lower(request.accelerator);
    const auto named = [&wanted](const std::string& name) { return lower(name).rfind(wanted, 0) == 0; };
    if (wanted != "cpu" && std::none_of(model_backends_.begin(), model_backends_.end(), named)) {
      throw Failure(failure_class::kOptionUnsupported,
                    "backend: " + request.accelerator + " is asked for, the model is exported for " +
                        joined(model_backends_));
    }
    check_shapes(*meta);
  }

  void check_shapes(const executorch::runtime::MethodMeta& meta) const {
    const auto is_long = [&meta](std::size_t index, std::size_t dimensions) {
      const auto input = meta.input_tensor_meta(index);
      return input.ok() && input->scalar_type() == ScalarType::Long && input->sizes().size() == dimensions;
    };
    if (meta.num_inputs() != 2 || !is_long(0, 2) || !is_long(1, 1)) {
      throw Failure(failure_class::kModelUnsupported,
                    "the model's forward does not take tokens int64 [1, S] and input_pos int64 [1]");
    }
    const auto output = meta.output_tensor_meta(0);
    if (!output.ok() || output->scalar_type() != ScalarType::Float || output->sizes().empty() ||
        output->sizes()[output->sizes().size() - 1] != vocabulary_) {
      throw Failure(failure_class::kModelUnsupported,
                    "the model's forward does not give logits float32 [..., " + std::to_string(vocabulary_) + "]");
    }
  }

  // Views of the first `size` tokens of the buffer and of their position.
  std::vector<EValue> inputs(int size) {
    tokens_ = from_blob(buffer_.data(), {1, size}, ScalarType::Long);
    if (size == 1) token_ = tokens_;
    if (!at_) at_ = from_blob(&input_position_, {1}, ScalarType::Long);
    return {EValue(*tokens_), EValue(*at_)};
  }

  const float* execute(const std::vector<EValue>& inputs) {
    executorch_log::clear();
    const auto result = module_->execute(kForward, inputs);
    if (!result.ok()) {
      const bool memory = failure_class_of(result.error()) == failure_class::kMemoryRefused;
      throw Failure(memory ? failure_class::kMemoryRefused : failure_class::kRuntimeFailed,
                    std::string("the model does not run: ") + executorch::runtime::to_string(result.error()) + " (" +
                        executorch_log::text() + ")");
    }
    if (result->empty() || !(*result)[0].isTensor()) {
      throw Failure(failure_class::kRuntimeFailed, "the model gave no logits");
    }
    const auto logits = (*result)[0].toTensor();
    if (logits.numel() < vocabulary_ || logits.const_data_ptr<float>() == nullptr) {
      throw Failure(failure_class::kRuntimeFailed, "the model gave " + std::to_string(logits.numel()) +
                                                       " logits for a vocabulary of " + std::to_string(vocabulary_));
    }
    // One row, or one for each token: the last counts. It stays where it is until the next call.
    return logits.const_data_ptr<float>() + (logits.numel() - vocabulary_);
  }

  std::unique_ptr<Module> module_;
  std::vector<std::string> model_backends_;
  std::vector<Token> end_tokens_;
  int vocabulary_ = 0;
  int context_ = 0;
  // Most tokens of one call.
  int chunk_ = 1;
  int position_ = 0;
  std::vector<std::int64_t> buffer_;
  std::int64_t input_position_ = 0;
  TensorPtr tokens_;
  TensorPtr token_;
  TensorPtr at_;
  std::vector<EValue> one_;
  OwnTimes times_;
};

}  // namespace

std::unique_ptr<Backend> make_backend() { return std::make_unique<Executorch>(); }

}  // namespace farm
