#!/usr/bin/env bash
# Makes farm-tiny-fp32-xnnpack.pte beside it. Needs farm[executorch]: torch 2.13.0 (CPU), executorch 1.5.1, torchao 0.18.0,
# Python 3.11; the weights are those of `farm models make --family farm-tiny --quant F32`.
set -euo pipefail
farm models make --family farm-tiny --quant fp32-xnnpack --out "$(dirname "$0")"
