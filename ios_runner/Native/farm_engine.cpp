// No exception of C++ may leave through a function that Swift calls: each becomes a failure that it asks for.
#include "farm_engine.h"

#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "backend.h"
#include "failure.h"

struct farm_engine {
  std::unique_ptr<farm::Backend> backend;
  farm::Build build;
  farm::Request request;
  farm::Loaded loaded;
  std::vector<farm::Token> tokens;
  farm::OwnTimes times;
  std::string failure_class;
  std::string failure_message;
};

namespace {

void failed(farm_engine *engine, std::string klass, std::string message) {
  engine->failure_class = std::move(klass);
  engine->failure_message = std::move(message);
}

// What `work` returns, `otherwise` where it throws.
template <typename Result, typename Work>
Result guarded(farm_engine *engine, Result otherwise, Work work) {
  try {
    return work();
  } catch (const farm::Failure &failure) {
    failed(engine, failure.klass(), failure.what());
  } catch (const std::bad_alloc &) {
    failed(engine, farm::failure_class::kMemoryRefused, "the system gave no more memory");
  } catch (const std::exception &error) {
    failed(engine, farm::failure_class::kRuntimeFailed, error.what());
  } catch (...) {
    failed(engine, farm::failure_class::kRuntimeFailed, "the runtime threw something unknown");
  }
  return otherwise;
}

farm::LoadMode load_mode(const std::string &name) {
  if (name == "read") return farm::LoadMode::kRead;
  return name == "mlock" ? farm::LoadMode::kMlock : farm::LoadMode::kMmap;
}

farm::FlashAttention flash_attention(const std::string &name) {
  if (name == "on") return farm::FlashAttention::kOn;
  return name == "off" ? farm::FlashAttention::kOff : farm::FlashAttention::kAuto;
}

farm::Request request_of(const farm_engine_request &from) {
  farm::Request request;
  request.model = from.model;
  request.load_mode = load_mode(from.load_mode);
  request.flash_attention = flash_attention(from.flash_attn);
  request.kv_type = from.kv_type;
  request.accelerator = from.backend;
  request.threads = from.threads;
  request.context = from.context;
  request.batch = from.batch;
  request.gpu_layers = from.gpu_layers;
  return request;
}

const char *nth(const std::vector<std::string> &texts, int32_t index) {
  const auto at = static_cast<std::size_t>(index);
  return index >= 0 && at < texts.size() ? texts[at].c_str() : nullptr;
}

}  // namespace

extern "C" {

farm_engine *farm_engine_new(void) {
  try {
    auto engine = std::make_unique<farm_engine>();
    engine->backend = farm::make_backend();
    engine->build = engine->backend->build();
    return engine.release();
  } catch (...) {
    return nullptr;
  }
}

void farm_engine_free(farm_engine *engine) { delete engine; }

const char *farm_engine_runtime(farm_engine *engine) { return engine->build.runtime.c_str(); }
const char *farm_engine_version(farm_engine *engine) { return engine->build.version.c_str(); }
const char *farm_engine_accelerator(farm_engine *engine, int32_t index) { return nth(engine->build.accelerators, index); }
const char *farm_engine_format(farm_engine *engine, int32_t index) { return nth(engine->build.formats, index); }

int32_t farm_engine_load(farm_engine *engine, const farm_engine_request *request, farm_engine_loaded *loaded) {
  return guarded(engine, -1, [&] {
    engine->request = request_of(*request);
    engine->loaded = engine->backend->load(engine->request);
    const farm::Loaded &found = engine->loaded;
    *loaded = {found.vocabulary,
               found.context,
               found.kv_bytes,
               found.end_tokens.data(),
               static_cast<int32_t>(found.end_tokens.size()),
               found.model.c_str(),
               found.cpu_features.c_str()};
    return 0;
  });
}

int32_t farm_engine_tokenize(farm_engine *engine, const char *text, const int32_t **tokens) {
  return guarded(engine, -1, [&] {
    engine->tokens = engine->backend->tokenize(text);
    *tokens = engine->tokens.data();
    return static_cast<int32_t>(engine->tokens.size());
  });
}

void farm_engine_reset(farm_engine *engine) { engine->backend->reset(); }

const float *farm_engine_take(farm_engine *engine, const int32_t *tokens, int32_t count) {
  return guarded(engine, static_cast<const float *>(nullptr), [&] { return engine->backend->take(tokens, count); });
}

const char *farm_engine_own_times(farm_engine *engine, int64_t *prefill_ns, int64_t *decode_ns) {
  engine->times = engine->backend->own_times();
  *prefill_ns = engine->times.prefill_ns;
  *decode_ns = engine->times.decode_ns;
  return engine->times.source.c_str();
}

const char *farm_engine_failure_class(farm_engine *engine) { return engine->failure_class.c_str(); }
const char *farm_engine_failure_message(farm_engine *engine) { return engine->failure_message.c_str(); }
}
