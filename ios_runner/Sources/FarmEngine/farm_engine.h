// A back end of farm-runner (android_runner/native/src/backend.h) for programs that do not speak C++.
//
// Pointers given back are valid until the next call with the same engine. One thread at a time.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct farm_engine farm_engine;

// As in the request of the contract.
typedef struct {
  const char *model;
  const char *load_mode;
  const char *flash_attn;
  const char *kv_type;
  const char *backend;
  int32_t threads;
  int32_t context;
  int32_t batch;
  int32_t gpu_layers;
} farm_engine_request;

typedef struct {
  int32_t vocabulary;
  int32_t context;
  int64_t kv_bytes;
  const int32_t *end_tokens;
  int32_t end_token_count;
  const char *model;
  const char *cpu_features;
} farm_engine_loaded;

// Null where the runtime cannot be begun with.
farm_engine *farm_engine_new(void);
void farm_engine_free(farm_engine *engine);

const char *farm_engine_runtime(farm_engine *engine);
const char *farm_engine_version(farm_engine *engine);
// Null from `index` of the last one on.
const char *farm_engine_accelerator(farm_engine *engine, int32_t index);
const char *farm_engine_format(farm_engine *engine, int32_t index);

// 0, or -1 with a failure.
int32_t farm_engine_load(farm_engine *engine, const farm_engine_request *request, farm_engine_loaded *loaded);
// The ids of a text; their count, or -1 with a failure.
int32_t farm_engine_tokenize(farm_engine *engine, const char *text, const int32_t **tokens);
void farm_engine_reset(farm_engine *engine);
// The logits of the last token, null with a failure.
const float *farm_engine_take(farm_engine *engine, const int32_t *tokens, int32_t count);
const char *farm_engine_own_times(farm_engine *engine, int64_t *prefill_ns, int64_t *decode_ns);

// Class and message of the last failure.
const char *farm_engine_failure_class(farm_engine *engine);
const char *farm_engine_failure_message(farm_engine *engine);

#ifdef __cplusplus
}
#endif
