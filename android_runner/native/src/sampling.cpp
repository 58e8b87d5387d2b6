#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace farm {
namespace {

// In blocks: the largest of a block is found without a branch per value, its place only in the block that has it.
Token likeliest(const float* logits, int count) {
  constexpr int kBlock = 64;
  int best_block = 0;
  float best = std::numeric_limits<float>::lowest();
  for (int at = 0; at < count; at += kBlock) {
    const int end = std::min(at + kBlock, count);
    float largest = std::numeric_limits<float>::lowest();
    for (int index = at; index < end; ++index) largest = logits[index] > largest ? logits[index] : largest;
    if (largest > best) {
      best = largest;
      best_block = at;
    }
  }
  const int end = std::min(best_block + kBlock, count);
  for (int index = best_block; index < end; ++index) {
    if (logits[index] == best) return index;
  }
  return best_block;
}

}  // namespace

Token Sampler::choose(const float* logits, int count) {
  const Token first = likeliest(logits, count);
  if (temperature_ <= 0) return first;
  const double most = logits[first];
  weights_.resize(static_cast<std::size_t>(count));
  double sum = 0;
  for (int index = 0; index < count; ++index) {
    sum += std::exp((logits[index] - most) / temperature_);
    weights_[static_cast<std::size_t>(index)] = sum;
  }
  // 53 bits, the same on every C++ library, which std::uniform_real_distribution is not.
  const double drawn = static_cast<double>(random_() >> 11) * 0x1.0p-53 * sum;
  const auto found = std::upper_bound(weights_.begin(), weights_.end(), drawn);
  return static_cast<Token>(std::min<std::ptrdiff_t>(found - weights_.begin(), count - 1));
}

}  // namespace farm
