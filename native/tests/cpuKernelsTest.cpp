#include "cpu/half.h"
#include "cpu/keyValueCache.h"
#include "cpu/kernels.h"
#include "cpu/packing.h"
#include "cpu/quantizedActivations.h"
#include "cpuTest.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

using namespace scenebus::cpu;

namespace {

std::mt19937& random() {
  static std::mt19937 generator(20261123);
  return generator;
}

std::vector<float> normalValues(std::size_t count, float deviation = 1.0f) {
  std::normal_distribution<float> distribution(0.0f, deviation);
  std::vector<float> values(count);
  for (auto& value : values)
    value = distribution(random());
  return values;
}

/** All sets of this machine but the reference. */
std::vector<const Kernels*> fastKernels() {
  std::vector<const Kernels*> list;
  for (const auto set : availableInstructionSets())
    if (set != InstructionSet::kScalar)
      list.push_back(&kernelsFor(set));
  return list;
}

std::vector<const Kernels*> allKernels() {
  auto list = fastKernels();
  list.push_back(&scalarKernels());
  return list;
}

const char* nameOf(const Kernels* kernels) { return instructionSetName(kernels->set).data(); }

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
      scales.push_back(floatFromBf16(static_cast<std::uint16_t>(bitsOfFloat(scale(random())) >> 16)));
    meaning.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      const int v = value(random());
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
double activationOf(const QuantizedRows& q, int row, int k) {
  const std::ptrdiff_t block = q.firstBlock(row) + k / 32 * q.tileWidth(row);
  return static_cast<double>(q.values[block * 32 + k % 32]) * q.scales[block];
}

float packedScale(const PackedMatrix& m, int row, int scaleGroup) {
  std::uint16_t scale;
  std::memcpy(&scale, m.data + row / 16 * m.groupBytes() + m.scalesOffset(scaleGroup) + row % 16 * sizeof(scale), sizeof(scale));
  return floatFromF16(scale) * m.rowFactors[row];
}

std::vector<float> packedProduct(const Kernels& kernels, const PackedMatrix& weights, const QuantizedRows& x) {
  std::vector<float> y(static_cast<std::size_t>(x.rows) * weights.rows, std::nanf(""));
  // In two pieces, as threads share the work: kernels take groups together that lie in one piece.
  const int middle = weights.rowGroups() / 4;
  kernels.packedProduct(weights, 0, middle, x, y.data(), weights.rows);
  kernels.packedProduct(weights, middle, weights.rowGroups(), x, y.data(), weights.rows);
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
    scalarKernels().quantizeRow(x.data(), columns, 1, reference.data(), referenceScales.data(), referenceBiases.data());
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
      kernels->quantizeRow(x.data(), columns, 1, values.data(), scales.data(), biases.data());
      CHECK_MESSAGE(values == reference && scales == referenceScales && biases == referenceBiases, "%s, %d columns",
                    nameOf(kernels), columns);
    }
  }
}

namespace {

const float kNotFinite[] = {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                            floatFromBits(0x7f800001)}; // a signalling NaN

} // namespace

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
          kernels->quantizeRow(x.data(), columns, 1, values.data(), scales.data(), biases.data());
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

TEST_CASE("products: an input that is not finite makes every output of its row NaN or infinite, and of no other") {
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
    for (const int xRows : {1, 3, 9}) {
      auto x = normalValues(static_cast<std::size_t>(xRows) * columns);
      const int badRow = xRows / 2;
      x[static_cast<std::size_t>(badRow) * columns + 77] = bad;
      for (const auto* kernels : allKernels()) {
        const auto check = [&](const std::vector<float>& y, const char* what) {
          for (int row = 0; row < xRows; ++row)
            for (int i = 0; i < rows; ++i)
              CHECK_MESSAGE(std::isfinite(y[static_cast<std::size_t>(row) * rows + i]) == (row != badRow),
                            "%s, %s weights, %g, row %d of %d", nameOf(kernels), what, bad, row, xRows);
        };
        for (const int bits : {4, 8}) {
          const RandomWeights weights(bits, rows, columns, 32);
          const OwnedPackedMatrix packed(weights.source);
          QuantizedActivations activations;
          activations.assign(*kernels, pool, x.data(), xRows, columns);
          check(packedProduct(*kernels, packed.view(), activations.view()), bits == 4 ? "int4" : "int8");
        }
        for (const auto& matrix : matrices) {
          std::vector<float> y(static_cast<std::size_t>(xRows) * rows);
          kernels->floatProduct(matrix, 0, rows, x.data(), xRows, y.data(), rows);
          check(y, "float");
        }
      }
    }
  }
}

TEST_CASE("quantise: rows in tiles keep their values, whatever their number") {
  ThreadPool pool(2);
  for (const int rows : {1, 7, 8, 9, 21}) {
    const auto x = normalValues(static_cast<std::size_t>(rows) * 96);
    for (const auto* kernels : allKernels()) {
      QuantizedActivations activations;
      activations.assign(*kernels, pool, x.data(), rows, 96);
      const auto& q = activations.view();
      for (int row = 0; row < rows; ++row)
        for (int k = 0; k < 96; ++k)
          CHECK(std::fabs(activationOf(q, row, k) - x[static_cast<std::size_t>(row) * 96 + k]) < 0.02);
    }
  }
}

TEST_CASE("packed products: the reference is exact for the quantised inputs; odd numbers of rows, all group sizes") {
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
        const auto y = packedProduct(scalarKernels(), packed.view(), q);
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

TEST_CASE("packed products: with int8 activations within the bound that their rounding explains") {
  ThreadPool pool(1);
  const RandomWeights weights(4, 64, 1024, 128);
  const OwnedPackedMatrix packed(weights.source);
  const auto x = normalValues(1024);
  QuantizedActivations activations;
  activations.assign(scalarKernels(), pool, x.data(), 1, 1024);
  const auto y = packedProduct(scalarKernels(), packed.view(), activations.view());
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

TEST_CASE("packed products: equal bits on every set, 1 to 19 rows of activations, odd numbers of outputs and scales") {
  ThreadPool pool(1);
  for (const int bits : {4, 8}) {
    for (const int groupSize : {32, 128}) {
      for (const int rows : {1, 16, 37, 205}) {
        const int columns = groupSize == 32 ? 672 : 640; // 21 and 5 scales a row
        const RandomWeights weights(bits, rows, columns, groupSize);
        const OwnedPackedMatrix packed(weights.source);
        for (int xRows = 1; xRows <= 19; ++xRows) {
          const auto x = normalValues(static_cast<std::size_t>(columns) * xRows);
          QuantizedActivations activations;
          activations.assign(scalarKernels(), pool, x.data(), xRows, columns);
          const auto reference = packedProduct(scalarKernels(), packed.view(), activations.view());
          for (const auto* kernels : fastKernels()) {
            const auto y = packedProduct(*kernels, packed.view(), activations.view());
            CHECK_MESSAGE(std::memcmp(y.data(), reference.data(), y.size() * sizeof(float)) == 0,
                          "%s bits %d group %d rows %d × %d", nameOf(kernels), bits, groupSize, rows, xRows);
          }
        }
      }
    }
  }
}

TEST_CASE("packed products: extreme weights and inputs do not overflow") {
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
        const auto y = packedProduct(*kernels, packed.view(), activations.view());
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

TEST_CASE("float products: f32, f16 and bf16 weights, odd sizes, unaligned addresses, every set") {
  for (const auto type : {ScalarType::kF32, ScalarType::kF16, ScalarType::kBf16}) {
    for (const int columns : {1, 7, 16, 33, 200}) {
      for (const int rows : {1, 3, 4, 9}) {
        const auto w = normalValues(static_cast<std::size_t>(rows) * columns);
        std::vector<std::uint8_t> bytes(w.size() * 4 + 1);
        std::uint8_t* data = bytes.data() + 1;
        for (std::size_t i = 0; i < w.size(); ++i) {
          const std::uint16_t half = type == ScalarType::kF16 ? f16FromFloat(w[i])
                                                              : static_cast<std::uint16_t>(bitsOfFloat(w[i]) >> 16);
          if (type == ScalarType::kF32)
            std::memcpy(data + i * 4, &w[i], 4);
          else
            std::memcpy(data + i * 2, &half, 2);
        }
        const FloatMatrix matrix{data, type, rows, columns};
        for (const int xRows : {1, 2, 5, 7}) {
          const auto x = normalValues(static_cast<std::size_t>(columns) * xRows);
          for (const auto* kernels : allKernels()) {
            std::vector<float> y(static_cast<std::size_t>(rows) * xRows, std::nanf(""));
            kernels->floatProduct(matrix, 0, rows, x.data(), xRows, y.data(), rows);
            for (int t = 0; t < xRows; ++t) {
              for (int row = 0; row < rows; ++row) {
                double exact = 0, magnitude = 0;
                for (int k = 0; k < columns; ++k) {
                  const double product = static_cast<double>(readScalar(data, type, static_cast<std::size_t>(row) * columns + k)) *
                                         x[static_cast<std::size_t>(t) * columns + k];
                  exact += product;
                  magnitude += std::fabs(product);
                }
                CHECK_MESSAGE(std::fabs(y[static_cast<std::size_t>(t) * rows + row] - exact) <= 1e-6 * magnitude,
                              "%s %d × %d, %d rows", nameOf(kernels), rows, columns, xRows);
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
        CHECK_MESSAGE(std::fabs(y[i] - x[i] * inverse * w[i]) <= 2e-6 * std::fabs(x[i] * w[i]) + 1e-7, "%s", nameOf(kernels));
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

namespace {

/** Signed bytes of `x[count]` with the scale that the cache gives them; `x` becomes what they mean. */
float roundToBytes(float* x, int count, std::vector<std::int8_t>& bytes) {
  float max = 0.0f;
  for (int i = 0; i < count; ++i)
    max = std::max(max, std::fabs(x[i]));
  const float scale = max / 127.0f;
  bytes.resize(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    bytes[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(std::nearbyintf(x[i] / scale));
    x[i] = bytes[static_cast<std::size_t>(i)] * scale;
  }
  return scale;
}

/** Attention of one query over `count` positions `[headDim]`, in double precision. */
std::vector<double> exactAttention(const float* query, const float* keys, const float* values, int count, int headDim,
                                   double scale) {
  std::vector<double> weights(static_cast<std::size_t>(count)), result(static_cast<std::size_t>(headDim));
  double max = -1e300, sum = 0;
  for (int p = 0; p < count; ++p) {
    double score = 0;
    for (int d = 0; d < headDim; ++d)
      score += static_cast<double>(query[d]) * keys[static_cast<std::size_t>(p) * headDim + d];
    weights[static_cast<std::size_t>(p)] = score * scale;
    max = std::max(max, score * scale);
  }
  for (auto& weight : weights)
    sum += weight = std::exp(weight - max);
  for (int p = 0; p < count; ++p)
    for (int d = 0; d < headDim; ++d)
      result[static_cast<std::size_t>(d)] +=
          weights[static_cast<std::size_t>(p)] / sum * values[static_cast<std::size_t>(p) * headDim + d];
  return result;
}

} // namespace

TEST_CASE("attention: causal limits, several runs, all cache types, every set") {
  for (const int headDim : {16, 48, 128}) {
    for (const auto type : {CacheType::kF32, CacheType::kF16, CacheType::kI8}) {
      const std::vector<int> counts{1, 300, 17};
      const int total = 318;
      // Positions in order, then laid out as the cache has them; what lies beyond the count is rubbish.
      auto keys = normalValues(static_cast<std::size_t>(total) * headDim);
      auto values = normalValues(static_cast<std::size_t>(total) * headDim);
      std::vector<std::vector<std::uint8_t>> keyBytes, valueBytes;
      std::vector<std::vector<float>> keyScales, valueScales;
      std::vector<KeyValueRun> runs;
      const std::size_t size = cacheElementBytes(type);
      int start = 0;
      for (const int count : counts) {
        const int blocks = (count + 15) / 16;
        keyBytes.emplace_back(static_cast<std::size_t>(blocks) * 16 * headDim * size, 0x7f);
        valueBytes.emplace_back(static_cast<std::size_t>(blocks) * 16 * headDim * size, 0xff);
        keyScales.emplace_back(static_cast<std::size_t>(blocks) * 16, std::nanf(""));
        valueScales.emplace_back(static_cast<std::size_t>(blocks) * 16, std::nanf(""));
        for (int p = 0; p < count; ++p) {
          std::vector<std::int8_t> byteKey, byteValue;
          if (type == CacheType::kI8) {
            const std::size_t at = static_cast<std::size_t>(start + p) * headDim;
            keyScales.back()[static_cast<std::size_t>(p)] = roundToBytes(keys.data() + at, headDim, byteKey);
            valueScales.back()[static_cast<std::size_t>(p)] = roundToBytes(values.data() + at, headDim, byteValue);
          }
          for (int d = 0; d < headDim; ++d) {
            float& k = keys[static_cast<std::size_t>(start + p) * headDim + d];
            float& v = values[static_cast<std::size_t>(start + p) * headDim + d];
            const std::size_t keyAt = (static_cast<std::size_t>(p / 16) * headDim + d) * 16 + p % 16;
            const std::size_t valueAt = static_cast<std::size_t>(p) * headDim + d;
            if (type == CacheType::kI8) {
              keyBytes.back()[keyAt] = static_cast<std::uint8_t>(byteKey[static_cast<std::size_t>(d)]);
              valueBytes.back()[valueAt] = static_cast<std::uint8_t>(byteValue[static_cast<std::size_t>(d)]);
            } else if (type == CacheType::kF16) {
              const std::uint16_t halfKey = f16FromFloat(k), halfValue = f16FromFloat(v);
              std::memcpy(keyBytes.back().data() + keyAt * 2, &halfKey, 2);
              std::memcpy(valueBytes.back().data() + valueAt * 2, &halfValue, 2);
              k = floatFromF16(halfKey);
              v = floatFromF16(halfValue);
            } else {
              std::memcpy(keyBytes.back().data() + keyAt * 4, &k, 4);
              std::memcpy(valueBytes.back().data() + valueAt * 4, &v, 4);
            }
          }
        }
        start += count;
      }
      for (std::size_t r = 0; r < counts.size(); ++r)
        runs.push_back({keyBytes[r].data(), valueBytes[r].data(), counts[r], keyScales[r].data(), valueScales[r].data()});

      const std::vector<int> limits{1, 2, 16, 17, 100, 257, 301, 302, 317, 318, 318};
      const auto q = normalValues(limits.size() * headDim, 3.0f);
      for (const auto* kernels : allKernels()) {
        std::vector<float> out(q.size(), std::nanf("")), scratch(kAttendScratch);
        std::vector<const float*> queries;
        std::vector<float*> outputs;
        for (std::size_t i = 0; i < limits.size(); ++i) {
          queries.push_back(q.data() + i * headDim);
          outputs.push_back(out.data() + i * headDim);
        }
        AttentionTask task;
        task.runs = runs.data();
        task.runCount = 3;
        task.type = type;
        task.headDim = headDim;
        task.scale = 0.3f;
        task.queryCount = static_cast<int>(limits.size());
        task.queries = queries.data();
        task.outputs = outputs.data();
        task.limits = limits.data();
        task.scratch = scratch.data();
        kernels->attend(task);
        for (std::size_t i = 0; i < limits.size(); ++i) {
          const auto exact = exactAttention(queries[i], keys.data(), values.data(), limits[i], headDim, 0.3);
          for (int d = 0; d < headDim; ++d)
            CHECK_MESSAGE(std::fabs(outputs[i][d] - exact[static_cast<std::size_t>(d)]) <= 2e-5,
                          "%s headDim %d limit %d: %g, not %g", nameOf(kernels), headDim, limits[i], outputs[i][d],
                          exact[static_cast<std::size_t>(d)]);
        }
      }
    }
  }
}

/** Attention of one query that sees all positions of one run; `unwritten` stays where the kernel writes nothing. */
static std::vector<float> attendOne(const Kernels& kernels, const KeyValueRun& run, CacheType type,
                                    const std::vector<float>& query, float scale, float unwritten) {
  std::vector<float> out(query.size(), unwritten), scratch(kAttendScratch);
  const float* queries[] = {query.data()};
  float* outputs[] = {out.data()};
  AttentionTask task;
  task.runs = &run;
  task.runCount = 1;
  task.type = type;
  task.headDim = static_cast<int>(query.size());
  task.scale = scale;
  task.queryCount = 1;
  task.queries = queries;
  task.outputs = outputs;
  task.limits = &run.count;
  task.scratch = scratch.data();
  kernels.attend(task);
  return out;
}

TEST_CASE("attention: over an int8 cache within the bound that its rounding explains, odd lengths, every set") {
  const int headDim = 64, heads = 2, capacity = 301;
  KeyValueCache cache(2, heads, headDim, capacity, CacheType::kI8);
  const auto keys = normalValues(static_cast<std::size_t>(capacity) * headDim, 2.0f);
  const auto values = normalValues(static_cast<std::size_t>(capacity) * headDim);
  float maxKey = 0.0f, maxValue = 0.0f;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    maxKey = std::max(maxKey, std::fabs(keys[i]));
    maxValue = std::max(maxValue, std::fabs(values[i]));
  }
  const std::vector<float> other(headDim, 1e3f); // in every other place of the cache
  for (int position = 0; position < capacity; ++position)
    for (int layer = 0; layer < 2; ++layer)
      for (int head = 0; head < heads; ++head) {
        const bool measured = layer == 1 && head == 1;
        const std::size_t at = static_cast<std::size_t>(position) * headDim;
        cache.store(layer, head, position, measured ? keys.data() + at : other.data(),
                    measured ? values.data() + at : other.data());
      }
  const auto query = normalValues(headDim, 0.2f);
  float length = 0.0f;
  for (const float q : query)
    length += std::fabs(q);
  const float scale = 0.125f;
  // A score is off by at most half a step of its key for each input, a probability by the exponential of twice that.
  const double scoreBound = 0.5 * scale * length * maxKey / 127.0;
  const double bound = std::expm1(2 * scoreBound) * maxValue + 0.5 * maxValue / 127.0;
  double largest = 0;
  for (const int count : {1, 15, 16, 17, 255, 256, 257, 301}) {
    const auto exact = exactAttention(query.data(), keys.data(), values.data(), count, headDim, scale);
    const KeyValueRun run = cache.run(1, 1, count);
    for (const auto* kernels : allKernels()) {
      const auto out = attendOne(*kernels, run, CacheType::kI8, query, scale, std::nanf(""));
      for (int d = 0; d < headDim; ++d) {
        const double error = std::fabs(out[static_cast<std::size_t>(d)] - exact[static_cast<std::size_t>(d)]);
        largest = std::max(largest, error);
        CHECK_MESSAGE(error <= bound, "%s, %d positions: %g off, bound %g", nameOf(kernels), count, error, bound);
      }
    }
  }
  CHECK(largest > 1e-4); // it does round
}

TEST_CASE("attention: a query, key or value that is not finite leaves no finite answer, all cache types, every set") {
  const int headDim = 48;
  for (const auto type : {CacheType::kF32, CacheType::kF16, CacheType::kI8}) {
    for (const int count : {1, 7, 33, 300}) {
      for (const float bad : kNotFinite) {
        for (const int place : {0, 1, 2}) { // query, key, value
          const int at = count - 1;
          KeyValueCache cache(1, 1, headDim, count, type);
          // Of one sign, so that a score can be −∞: it has no share in the softmax.
          std::vector<float> query(headDim, 0.25f);
          for (int position = 0; position < count; ++position) {
            std::vector<float> key(headDim, 0.5f), value(headDim, 1.0f);
            if (position == at && place != 0)
              (place == 1 ? key : value)[5] = bad;
            cache.store(0, 0, position, key.data(), value.data());
          }
          if (place == 0)
            query[5] = bad;
          const KeyValueRun run = cache.run(0, 0, count);
          for (const auto* kernels : allKernels()) {
            const auto out = attendOne(*kernels, run, type, query, 1.0f, 0.0f);
            CHECK_MESSAGE(!std::isfinite(out[5]), "%s, %g as %s, %d positions, cache type %d: %g", nameOf(kernels), bad,
                          place == 0 ? "query" : place == 1 ? "key" : "value", count, static_cast<int>(type), out[5]);
          }
        }
      }
    }
  }
}
