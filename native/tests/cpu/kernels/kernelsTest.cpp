#include "cpu/kernels/half.h"
#include "cpu/memory/packing.h"
#include "cpu/memory/quantizedActivations.h"
#include "tests/cpu/kernels/kernelsUnderTest.h"
#include "tests/support/checks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

using namespace scenebus::cpu;

namespace {

/** Random weights in the convention of the checkpoints, with what they mean in double precision. */
struct RandomWeights {
  std::vector<std::uint8_t> bytes;
  std::vector<float> scales;
  std::vector<double> meaning;
  PackSource source;

  RandomWeights(int bits, int rows, int columns, int groupSize, float scaleOf = 0.01f) {
    std::uniform_int_distribution<int> value(bits == 4 ? -8 : -128, bits == 4 ? 7 : 127);
    std::uniform_real_distribution<float> scale(0.5f * scaleOf, 2.0f * scaleOf);
    const std::size_t count = static_cast<std::size_t>(rows) * columns;
    bytes.assign(bits == 4 ? count / 2 : count, 0);
    for (std::size_t i = 0; i < count / groupSize; ++i)
      scales.push_back(floatFromBf16(static_cast<std::uint16_t>(bitsOfFloat(scale(generator())) >> 16)));
    meaning.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      const int v = value(generator());
      meaning[i] = static_cast<double>(v) * scales[i / groupSize];
      if (bits == 4)
        bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] | (v + 8) << (i % 2 * 4));
      else
        bytes[i] = static_cast<std::uint8_t>(v + 128);
    }
    source.kind = bits == 4 ? PackSource::Kind::kInt4 : PackSource::Kind::kInt8;
    source.values = bytes.data();
    source.scales = {scales.data(), ScalarType::kF32};
    source.rows = rows;
    source.columns = columns;
    source.groupSize = groupSize;
  }
};

/** What a quantised activation means. */
double activationOf(const QuantizedTokens& q, int token, int k) {
  const std::ptrdiff_t block = q.firstBlock(token) + k / 32 * q.tileWidth(token);
  return static_cast<double>(q.values[block * 32 + k % 32]) * q.scales[block];
}

float packedScale(const PackedMatrix& m, int row, int scaleGroup) {
  std::uint16_t scale;
  std::memcpy(&scale, m.data + row / 16 * m.groupBytes() + m.scalesOffset(scaleGroup) + row % 16 * sizeof(scale),
              sizeof(scale));
  return floatFromF16(scale) * m.rowFactors[row];
}

std::vector<float> packedMatmul(const Kernels& kernels, const PackedMatrix& weights, const QuantizedTokens& x) {
  std::vector<float> y(static_cast<std::size_t>(x.tokens) * weights.rows, std::nanf(""));
  // In two pieces, as threads share the work: kernels take groups together that lie in one piece.
  const int middle = weights.rowGroups() / 4;
  kernels.packedMatmul(weights, 0, middle, x, y.data(), weights.rows);
  kernels.packedMatmul(weights, middle, weights.rowGroups(), x, y.data(), weights.rows);
  return y;
}

} // namespace

TEST_CASE("half: every float16 value survives the way to float and back") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = floatFromF16(static_cast<std::uint16_t>(bits));
    if (std::isnan(value))
      CHECK(std::isnan(floatFromF16(f16FromFloat(value))));
    else
      CHECK(f16FromFloat(value) == bits);
  }
}

TEST_CASE("half: rounds to nearest, ties to even, and to infinity") {
  CHECK(floatFromF16(f16FromFloat(1.0f + 0x1p-11f)) == 1.0f);
  CHECK(floatFromF16(f16FromFloat(1.0f + 3 * 0x1p-11f)) == 1.0f + 0x1p-9f);
  CHECK(floatFromF16(f16FromFloat(0x1p-25f)) == 0.0f);
  CHECK(floatFromF16(f16FromFloat(3 * 0x1p-25f)) == 0x1p-23f);
  CHECK(floatFromF16(f16FromFloat(65519.0f)) == 65504.0f);
  CHECK(std::isinf(floatFromF16(f16FromFloat(65520.0f))));
}

TEST_CASE("quantise: within half a step of the value, sums right, equal bits on every set") {
  for (const int columns : {32, 64, 96, 4096}) {
    auto x = normalValues(static_cast<std::size_t>(columns), 3.0f);
    x[5] = 1000.0f;
    std::fill(x.begin() + columns - 32, x.end(), columns % 64 == 0 ? 0.0f : 1e-35f);
    std::vector<std::int8_t> reference(x.size());
    std::vector<float> referenceScales(x.size() / 32);
    std::vector<std::int32_t> referenceBiases(x.size() / 32);
    scalarKernels().quantizeToken(x.data(), columns, 1, reference.data(), referenceScales.data(),
                                  referenceBiases.data());
    for (int k = 0; k < columns; ++k)
      CHECK(std::fabs(reference[k] * referenceScales[k / 32] - x[k]) <= 0.5001f * referenceScales[k / 32] + 1e-30f);
    for (int b = 0; b < columns / 32; ++b) {
      int sum = 0;
      for (int k = 0; k < 32; ++k)
        sum += reference[b * 32 + k];
      CHECK(referenceBiases[b] == -8 * sum);
    }
    for (const auto* kernels : fastKernels()) {
      std::vector<std::int8_t> values(x.size());
      std::vector<float> scales(x.size() / 32);
      std::vector<std::int32_t> biases(x.size() / 32);
      kernels->quantizeToken(x.data(), columns, 1, values.data(), scales.data(), biases.data());
      CHECK_MESSAGE(values == reference && scales == referenceScales && biases == referenceBiases, "%s, %d columns",
                    nameOf(kernels), columns);
    }
  }
}

TEST_CASE("quantise: a block that is not finite becomes zeros with the scale NaN, alone, on every set") {
  for (const int columns : {32, 96, 160}) {
    for (const float bad : kNotFinite) {
      for (const int at : {0, 7, 8, 31, columns - 1}) {
        auto x = normalValues(static_cast<std::size_t>(columns));
        x[0] = std::numeric_limits<float>::max(); // finite, and no obstacle
        x[static_cast<std::size_t>(at)] = bad;
        for (const auto* kernels : allKernels()) {
          std::vector<std::int8_t> values(x.size(), 55);
          std::vector<float> scales(x.size() / 32, 5.0f);
          std::vector<std::int32_t> biases(x.size() / 32, 5);
          kernels->quantizeToken(x.data(), columns, 1, values.data(), scales.data(), biases.data());
          for (int block = 0; block < columns / 32; ++block) {
            const bool isBad = block == at / 32;
            CHECK_MESSAGE(std::isnan(scales[static_cast<std::size_t>(block)]) == isBad, "%s, %g at %d of %d, block %d",
                          nameOf(kernels), bad, at, columns, block);
            int sum = 0;
            for (int k = 0; k < 32; ++k) {
              sum += values[static_cast<std::size_t>(block) * 32 + k];
              CHECK_MESSAGE(!isBad || values[static_cast<std::size_t>(block) * 32 + k] == 0, "%s", nameOf(kernels));
            }
            CHECK(biases[static_cast<std::size_t>(block)] == -8 * sum);
          }
        }
      }
    }
  }
}

TEST_CASE("matmuls: an input that is not finite makes every output of its token NaN or infinite, and of no other") {
  ThreadPool pool(1);
  const int rows = 37, columns = 160;
  const auto floats = normalValues(static_cast<std::size_t>(rows) * columns);
  std::vector<std::uint16_t> halves[2];
  for (const float value : floats) {
    halves[0].push_back(f16FromFloat(value));
    halves[1].push_back(static_cast<std::uint16_t>(bitsOfFloat(value) >> 16));
  }
  const FloatMatrix matrices[] = {{floats.data(), ScalarType::kF32, rows, columns},
                                  {halves[0].data(), ScalarType::kF16, rows, columns},
                                  {halves[1].data(), ScalarType::kBf16, rows, columns}};
  for (const float bad : kNotFinite) {
    for (const int tokens : {1, 3, 9}) {
      auto x = normalValues(static_cast<std::size_t>(tokens) * columns);
      const int badToken = tokens / 2;
      x[static_cast<std::size_t>(badToken) * columns + 77] = bad;
      for (const auto* kernels : allKernels()) {
        const auto check = [&](const std::vector<float>& y, const char* what) {
          for (int token = 0; token < tokens; ++token)
            for (int i = 0; i < rows; ++i)
              CHECK_MESSAGE(std::isfinite(y[static_cast<std::size_t>(token) * rows + i]) == (token != badToken),
                            "%s, %s weights, %g, token %d of %d", nameOf(kernels), what, bad, token, tokens);
        };
        for (const int bits : {4, 8}) {
          const RandomWeights weights(bits, rows, columns, 32);
          const OwnedPackedMatrix packed(weights.source);
          QuantizedActivations activations;
          activations.assign(*kernels, pool, x.data(), tokens, columns);
          check(packedMatmul(*kernels, packed.view(), activations.view()), bits == 4 ? "int4" : "int8");
        }
        for (const auto& matrix : matrices) {
          std::vector<float> y(static_cast<std::size_t>(tokens) * rows);
          kernels->floatMatmul(matrix, 0, rows, x.data(), tokens, y.data(), rows);
          check(y, "float");
        }
      }
    }
  }
}

TEST_CASE("quantise: tokens in tiles keep their values, whatever their number") {
  ThreadPool pool(2);
  for (const int tokens : {1, 7, 8, 9, 21}) {
    const auto x = normalValues(static_cast<std::size_t>(tokens) * 96);
    for (const auto* kernels : allKernels()) {
      QuantizedActivations activations;
      activations.assign(*kernels, pool, x.data(), tokens, 96);
      const auto& q = activations.view();
      for (int token = 0; token < tokens; ++token)
        for (int k = 0; k < 96; ++k)
          CHECK(std::fabs(activationOf(q, token, k) - x[static_cast<std::size_t>(token) * 96 + k]) < 0.02);
    }
  }
}

TEST_CASE("packed matmuls: the reference is exact for the quantised inputs; odd numbers of rows, all group sizes") {
  ThreadPool pool(1);
  for (const int bits : {4, 8}) {
    for (const int groupSize : {32, 64, 128, 384}) {
      for (const int rows : {1, 15, 16, 17, 45}) {
        const RandomWeights weights(bits, rows, 384, groupSize);
        const OwnedPackedMatrix packed(weights.source);
        const auto x = normalValues(384 * 3);
        QuantizedActivations activations;
        activations.assign(scalarKernels(), pool, x.data(), 3, 384);
        const auto& q = activations.view();
        const auto y = packedMatmul(scalarKernels(), packed.view(), q);
        for (int t = 0; t < 3; ++t) {
          for (int row = 0; row < rows; ++row) {
            double exact = 0, magnitude = 0;
            for (int k = 0; k < 384; ++k) {
              const double product = weights.meaning[static_cast<std::size_t>(row) * 384 + k] * activationOf(q, t, k);
              exact += product;
              magnitude += std::fabs(product);
            }
            CHECK_MESSAGE(std::fabs(y[static_cast<std::size_t>(t) * rows + row] - exact) <= 1e-6 * magnitude,
                          "bits %d group %d row %d of %d", bits, groupSize, row, rows);
          }
        }
      }
    }
  }
}

TEST_CASE("packed matmuls: with int8 activations within the bound that their rounding explains") {
  ThreadPool pool(1);
  const RandomWeights weights(4, 64, 1024, 128);
  const OwnedPackedMatrix packed(weights.source);
  const auto x = normalValues(1024);
  QuantizedActivations activations;
  activations.assign(scalarKernels(), pool, x.data(), 1, 1024);
  const auto y = packedMatmul(scalarKernels(), packed.view(), activations.view());
  for (int row = 0; row < 64; ++row) {
    double exact = 0, bound = 0;
    for (int k = 0; k < 1024; ++k) {
      const double w = weights.meaning[static_cast<std::size_t>(row) * 1024 + k];
      exact += w * x[static_cast<std::size_t>(k)];
      // Each input is off by at most half a step of its block.
      bound += std::fabs(w) * 0.5001 * activations.view().scales[k / 32];
    }
    CHECK(std::fabs(y[static_cast<std::size_t>(row)] - exact) <= bound);
  }
}

TEST_CASE("packed matmuls: equal bits on every set, 1 to 19 tokens, odd numbers of outputs and scales") {
  ThreadPool pool(1);
  for (const int bits : {4, 8}) {
    for (const int groupSize : {32, 128}) {
      for (const int rows : {1, 16, 37, 205}) {
        const int columns = groupSize == 32 ? 672 : 640; // 21 and 5 scales a row
        const RandomWeights weights(bits, rows, columns, groupSize);
        const OwnedPackedMatrix packed(weights.source);
        for (int tokens = 1; tokens <= 19; ++tokens) {
          const auto x = normalValues(static_cast<std::size_t>(columns) * tokens);
          QuantizedActivations activations;
          activations.assign(scalarKernels(), pool, x.data(), tokens, columns);
          const auto reference = packedMatmul(scalarKernels(), packed.view(), activations.view());
          for (const auto* kernels : fastKernels()) {
            const auto y = packedMatmul(*kernels, packed.view(), activations.view());
            CHECK_MESSAGE(std::memcmp(y.data(), reference.data(), y.size() * sizeof(float)) == 0,
                          "%s bits %d group %d rows %d × %d", nameOf(kernels), bits, groupSize, rows, tokens);
          }
        }
      }
    }
  }
}

TEST_CASE("packed matmuls: extreme weights and inputs do not overflow") {
  ThreadPool pool(1);
  for (const int bits : {4, 8}) {
    for (const int sign : {1, -1}) {
      RandomWeights weights(bits, 16, 4096, 4096);
      const int extreme = sign > 0 ? 0xff : 0x00;
      std::fill(weights.bytes.begin(), weights.bytes.end(), static_cast<std::uint8_t>(extreme));
      const OwnedPackedMatrix packed(weights.source);
      const std::vector<float> x(4096, static_cast<float>(sign));
      const double value = bits == 4 ? (sign > 0 ? 7 : -8) : (sign > 0 ? 127 : -128);
      QuantizedActivations activations;
      activations.assign(scalarKernels(), pool, x.data(), 1, 4096);
      for (const auto* kernels : allKernels()) {
        const auto y = packedMatmul(*kernels, packed.view(), activations.view());
        for (int row = 0; row < 16; ++row) {
          const double exact = 4096.0 * sign * value * weights.scales[static_cast<std::size_t>(row)];
          CHECK_MESSAGE(std::fabs(y[static_cast<std::size_t>(row)] - exact) <= 1e-5 * std::fabs(exact), "%s",
                        nameOf(kernels));
        }
      }
    }
  }
}

TEST_CASE("packing: scales of any magnitude keep their digits") {
  ThreadPool pool(1);
  for (const float magnitude : {1e-20f, 1e-9f, 1e-5f, 1.0f, 1e9f}) {
    const RandomWeights weights(4, 16, 96, 32, magnitude);
    const OwnedPackedMatrix packed(weights.source);
    for (int lane = 0; lane < 16; ++lane)
      for (int g = 0; g < 3; ++g)
        CHECK(packedScale(packed.view(), lane, g) == weights.scales[static_cast<std::size_t>(lane) * 3 + g]);
  }
}

TEST_CASE("packing: float weights to 8 bits stay within half a step") {
  ThreadPool pool(1);
  const auto w = normalValues(20 * 64);
  PackSource source;
  source.kind = PackSource::Kind::kFloat;
  source.values = w.data();
  source.rows = 20;
  source.columns = 64;
  const OwnedPackedMatrix packed(source);
  for (int row = 0; row < 20; ++row) {
    for (int k = 0; k < 64; ++k) {
      const auto& m = packed.view();
      const auto* block = m.data + row / 16 * m.groupBytes() + m.valuesOffset(k / 32);
      const auto stored = static_cast<std::int8_t>(block[k % 32 / 4 * 64 + row % 16 * 4 + k % 4]);
      const float scale = packedScale(m, row, k / 32);
      CHECK(std::fabs(stored * scale - w[static_cast<std::size_t>(row) * 64 + k]) <= 0.6f * scale);
    }
  }
}

TEST_CASE("packing: a scale that is not finite and a group that does not fit are refused") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    RandomWeights weights(4, 16, 64, 32);
    weights.scales[3] = bad;
    bool refused = false;
    try {
      const OwnedPackedMatrix packed(weights.source);
    } catch (const std::exception&) {
      refused = true;
    }
    CHECK(refused);
  }
  RandomWeights weights(4, 16, 64, 32);
  for (const int groupSize : {0, 16, 48, 128}) {
    weights.source.groupSize = groupSize;
    bool refused = false;
    try {
      packedShape(weights.source);
    } catch (const std::exception&) {
      refused = true;
    }
    CHECK_MESSAGE(refused, "group %d", groupSize);
  }
}

TEST_CASE("float matmuls: f32, f16 and bf16 weights, odd sizes, unaligned addresses, every set") {
  for (const auto type : {ScalarType::kF32, ScalarType::kF16, ScalarType::kBf16}) {
    for (const int columns : {1, 7, 16, 33, 200}) {
      for (const int rows : {1, 3, 4, 9}) {
        const auto w = normalValues(static_cast<std::size_t>(rows) * columns);
        std::vector<std::uint8_t> bytes(w.size() * 4 + 1);
        std::uint8_t* data = bytes.data() + 1;
        for (std::size_t i = 0; i < w.size(); ++i) {
          const std::uint16_t half =
              type == ScalarType::kF16 ? f16FromFloat(w[i]) : static_cast<std::uint16_t>(bitsOfFloat(w[i]) >> 16);
          if (type == ScalarType::kF32)
            std::memcpy(data + i * 4, &w[i], 4);
          else
            std::memcpy(data + i * 2, &half, 2);
        }
        const FloatMatrix matrix{data, type, rows, columns};
        for (const int tokens : {1, 2, 5, 7}) {
          const auto x = normalValues(static_cast<std::size_t>(columns) * tokens);
          for (const auto* kernels : allKernels()) {
            std::vector<float> y(static_cast<std::size_t>(rows) * tokens, std::nanf(""));
            kernels->floatMatmul(matrix, 0, rows, x.data(), tokens, y.data(), rows);
            for (int t = 0; t < tokens; ++t) {
              for (int row = 0; row < rows; ++row) {
                double exact = 0, magnitude = 0;
                for (int k = 0; k < columns; ++k) {
                  const double product =
                      static_cast<double>(readScalar(data, type, static_cast<std::size_t>(row) * columns + k)) *
                      x[static_cast<std::size_t>(t) * columns + k];
                  exact += product;
                  magnitude += std::fabs(product);
                }
                CHECK_MESSAGE(std::fabs(y[static_cast<std::size_t>(t) * rows + row] - exact) <= 1e-6 * magnitude,
                              "%s %d × %d, %d tokens", nameOf(kernels), rows, columns, tokens);
              }
            }
          }
        }
      }
    }
  }
}

TEST_CASE("rmsNorm and siluMultiply: as in double precision, odd sizes, every set") {
  for (const int count : {1, 5, 16, 31, 64, 1000}) {
    const auto x = normalValues(static_cast<std::size_t>(count), 4.0f);
    const auto w = normalValues(static_cast<std::size_t>(count));
    double squares = 0;
    for (const float v : x)
      squares += static_cast<double>(v) * v;
    const double inverse = 1.0 / std::sqrt(squares / count + 1e-5);
    for (const auto* kernels : allKernels()) {
      std::vector<float> y(x.size());
      kernels->rmsNorm(x.data(), w.data(), count, 1e-5f, y.data());
      for (std::size_t i = 0; i < x.size(); ++i)
        CHECK_MESSAGE(std::fabs(y[i] - x[i] * inverse * w[i]) <= 2e-6 * std::fabs(x[i] * w[i]) + 1e-7, "%s",
                      nameOf(kernels));
      auto gate = x;
      gate[0] = -200.0f; // eˣ would overflow
      kernels->siluMultiply(gate.data(), w.data(), count, y.data());
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double exact = gate[i] / (1.0 + std::exp(-static_cast<double>(gate[i]))) * w[i];
        CHECK_MESSAGE(std::fabs(y[i] - exact) <= 1e-6 * std::fabs(exact) + 1e-7, "%s %g: %g, not %g", nameOf(kernels),
                      gate[i], y[i], exact);
      }
    }
  }
}

TEST_CASE("rmsNorm and siluMultiply: what is not finite stays so; squares that overflow are no row of zeros") {
  for (const int count : {1, 5, 16, 31, 100}) {
    const auto weight = normalValues(static_cast<std::size_t>(count));
    for (const auto* kernels : allKernels()) {
      for (const float bad : kNotFinite) {
        for (const int at : {0, count / 2, count - 1}) {
          const auto index = static_cast<std::size_t>(at);
          const auto plain = normalValues(static_cast<std::size_t>(count));
          auto x = plain;
          x[index] = bad;
          std::vector<float> y(x.size());
          kernels->rmsNorm(x.data(), weight.data(), count, 1e-5f, y.data());
          CHECK_MESSAGE(std::isnan(y[index]), "rmsNorm, %s, %g at %d of %d", nameOf(kernels), bad, at, count);
          for (const bool inGate : {true, false}) {
            kernels->siluMultiply(inGate ? x.data() : plain.data(), inGate ? plain.data() : x.data(), count, y.data());
            for (int i = 0; i < count; ++i)
              CHECK_MESSAGE(std::isfinite(y[static_cast<std::size_t>(i)]) == (i != at), "silu, %s, %g at %d of %d",
                            nameOf(kernels), bad, at, count);
          }
        }
      }
      const std::vector<float> large(static_cast<std::size_t>(count), 1e20f);
      std::vector<float> y(large.size());
      kernels->rmsNorm(large.data(), weight.data(), count, 1e-5f, y.data());
      for (const float value : y)
        CHECK_MESSAGE(std::isnan(value), "%s: %g", nameOf(kernels), value);
    }
  }
}
