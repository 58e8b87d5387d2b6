#pragma once

#include <ggml-backend.h>
#include <ggml.h>
#include <llama.h>
