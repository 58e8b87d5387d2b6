// Choosing the next token.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "request.h"

namespace farm {

class Sampler {
 public:
  // Temperature 0: always the likeliest token, the first of equal ones. Otherwise drawn from the softmax by `seed`.
  Sampler(double temperature, std::uint64_t seed) : temperature_(temperature), random_(seed) {}

  Token choose(const float* logits, int count);

 private:
  double temperature_;
  std::mt19937_64 random_;
  std::vector<double> weights_;
};

}  // namespace farm
