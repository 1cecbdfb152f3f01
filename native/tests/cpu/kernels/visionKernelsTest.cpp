#include "cpu/kernels/visionKernels.h"

#include "cpu/memory/alignedBuffer.h"
#include "cpu/memory/packing.h"
#include "tests/cpu/kernels/kernelsUnderTest.h"
#include "tests/support/checks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace scenebus::cpu;

namespace {

std::vector<const VisionKernels*> allVisionKernels() {
  std::vector<const VisionKernels*> list;
  for (const auto set : availableInstructionSets())
    list.push_back(&visionKernelsFor(set));
  return list;
}

const char* nameOf(const VisionKernels* kernels) {
  return instructionSetName(kernels->set).data();
}

/** Weights with a scale for each output, rounded to `levels`. */
PackSource channelSource(const std::vector<float>& weights, int rows, int columns, int levels) {
  PackSource source;
  source.kind = PackSource::Kind::kFloat;
  source.values = weights.data();
  source.rows = rows;
  source.columns = columns;
  source.groupSize = columns;
  source.levels = levels;
  return source;
}

int weightOf(const PackedMatrix& m, int row, int k) {
  const auto* line = m.data + row / 16 * m.groupBytes() + m.valuesOffset(0) + k / 4 * 64;
  return static_cast<std::int8_t>(line[row % 16 * 4 + k % 4]);
}

double scaleOf(const PackedMatrix& m, int row) {
  std::uint16_t scale;
  std::memcpy(&scale, m.data + row / 16 * m.groupBytes() + m.scalesOffset(0) + row % 16 * sizeof(scale), sizeof(scale));
  return static_cast<double>(floatFromF16(scale)) * m.rowFactors[row];
}

struct QuantizedRows {
  std::vector<std::uint8_t> values;
  std::vector<float> scales;
  ByteTokens view;

  QuantizedRows(const VisionKernels& kernels, const std::vector<float>& x, int columns)
      : values(x.size()), scales(x.size() / columns) {
    for (std::size_t token = 0; token < scales.size(); ++token)
      kernels.quantizeRow(x.data() + token * columns, columns, 127, kernels.inputOffset, &values[token * columns],
                          &scales[token]);
    view = {columns, values.data(), scales.data()};
  }
};

/** Keys and values of one head, packed as the tower does it, and what they mean. */
struct Head {
  int dim, keys;
  std::vector<float> key, value, weights;
  AlignedBuffer<std::uint8_t> keyLines, valueLines;
  std::vector<float> keyScales, keyBiases, valueScales;
  VisionKeys view;

  Head(const VisionKernels& kernels, int headDim, int keyCount, std::vector<float> k, std::vector<float> v)
      : dim((headDim + 15) / 16 * 16), keys(keyCount), key(std::move(k)), value(std::move(v)) {
    const std::size_t padded = static_cast<std::size_t>(keys + 255) / 256 * 256;
    keyLines.reserve(padded * dim);
    valueLines.reserve(padded * dim * 2);
    keyScales.assign(padded, 0.0f);
    keyBiases.assign(padded, 0.0f);
    valueScales.assign(static_cast<std::size_t>(dim), 0.0f);
    std::vector<float> row(static_cast<std::size_t>(dim));
    std::vector<std::uint8_t> bytes(row.size());
    for (int i = 0; i < keys; ++i) {
      weights.push_back(i % 7 == 3 ? 5.0f : 1.0f);
      keyBiases[static_cast<std::size_t>(i)] = std::log2(weights.back());
      std::copy_n(key.begin() + static_cast<std::ptrdiff_t>(i) * headDim, headDim, row.begin());
      kernels.quantizeRow(row.data(), dim, kernels.weightLevels, 0, bytes.data(),
                          &keyScales[static_cast<std::size_t>(i)]);
      for (int line = 0; line < dim / 4; ++line)
        std::memcpy(keyLines.data() + (static_cast<std::size_t>(i / 16) * (dim / 4) + line) * 64 + i % 16 * 4,
                    &bytes[static_cast<std::size_t>(line) * 4], 4);
    }
    for (int d = 0; d < headDim; ++d) {
      float most = 0.0f;
      for (int i = 0; i < keys; ++i) {
        const float v = std::fabs(value[static_cast<std::size_t>(i) * headDim + d]);
        most = v == v && most == most ? std::max(most, v) : std::nanf("");
      }
      valueScales[static_cast<std::size_t>(d)] = most / kValueLevels;
      for (int i = 0; i < keys && most > 0.0f; ++i) {
        const auto q = static_cast<std::int16_t>(
            std::nearbyintf(value[static_cast<std::size_t>(i) * headDim + d] / most * kValueLevels));
        const std::size_t line = (static_cast<std::size_t>(i / 256) * (dim / 16) + d / 16) * 128 + i % 256 / 2;
        std::memcpy(valueLines.data() + line * 64 + (d % 16 * 2 + i % 2) * 2, &q, 2);
      }
    }
    view = {dim, keyLines.data(), keyScales.data(), keyBiases.data(), valueLines.data(), valueScales.data()};
  }
};

std::vector<float> attend(const VisionKernels& kernels, const Head& head, int headDim, int keyCount,
                          const std::vector<float>& queries) {
  const int count = static_cast<int>(queries.size()) / headDim;
  std::vector<float> padded(static_cast<std::size_t>(count) * head.dim);
  const float scale = 1.44269504f / std::sqrt(static_cast<float>(headDim));
  for (int q = 0; q < count; ++q)
    for (int d = 0; d < headDim; ++d)
      padded[static_cast<std::size_t>(q) * head.dim + d] = queries[static_cast<std::size_t>(q) * headDim + d] * scale;
  const QuantizedRows rows(kernels, padded, head.dim);
  std::vector<float> scratch(visionScratchFloats(head.dim)), out(queries.size(), 7.0f);
  VisionAttention task;
  task.keys = head.view;
  task.keyCount = keyCount;
  task.queryCount = count;
  task.queries = rows.view;
  task.outputs = out.data();
  task.stride = headDim;
  task.outputDim = headDim;
  task.scratch = scratch.data();
  kernels.attend(task);
  return out;
}

} // namespace

TEST_CASE("vision: rows quantise to equal bits on every set, and what is not finite becomes zeros with the scale NaN") {
  for (const int columns : {4, 31, 80, 1280}) {
    auto x = normalValues(static_cast<std::size_t>(columns), 2.0f);
    x[1] = 40.0f;
    std::vector<std::uint8_t> expected(x.size());
    float expectedScale = 0.0f;
    scalarVisionKernels().quantizeRow(x.data(), columns, 127, 0, expected.data(), &expectedScale);
    for (int i = 0; i < columns; ++i)
      CHECK(std::fabs(static_cast<std::int8_t>(expected[static_cast<std::size_t>(i)]) * expectedScale -
                      x[static_cast<std::size_t>(i)]) <= 0.5001f * expectedScale);
    for (const auto* kernels : allVisionKernels()) {
      std::vector<std::uint8_t> values(x.size());
      float scale = 0.0f;
      kernels->quantizeRow(x.data(), columns, 127, 128, values.data(), &scale);
      for (auto& value : values)
        value = static_cast<std::uint8_t>(value - 128);
      CHECK_MESSAGE(values == expected && scale == expectedScale, "%s, %d columns", nameOf(kernels), columns);
      for (const float bad : kNotFinite) {
        auto broken = x;
        broken.back() = bad;
        kernels->quantizeRow(broken.data(), columns, 127, 0, values.data(), &scale);
        CHECK_MESSAGE(std::isnan(scale) && values == std::vector<std::uint8_t>(x.size()), "%s, %g", nameOf(kernels),
                      bad);
      }
    }
  }
}

TEST_CASE("vision: linear layers at odd sizes are the exact integer sums, on every set, in any division") {
  for (const int rows : {1, 16, 37, 80})
    for (const int columns : {32, 96, 1280})
      for (const int tokens : {1, 3, 12, 29}) {
        const auto weights = normalValues(static_cast<std::size_t>(rows) * columns, 0.05f);
        const auto bias = normalValues(static_cast<std::size_t>(rows));
        const auto x = normalValues(static_cast<std::size_t>(tokens) * columns, 2.0f);
        for (const auto* kernels : allVisionKernels()) {
          const OwnedPackedMatrix packed(channelSource(weights, rows, columns, kernels->weightLevels));
          const QuantizedRows inputs(*kernels, x, columns);
          const int stride = rows + 3;
          std::vector<float> y(static_cast<std::size_t>(tokens) * stride, 5.0f);
          const int middle = packed.view().rowGroups() / 2, half = tokens / 2;
          for (const auto& [from, to] : {std::pair{0, middle}, {middle, packed.view().rowGroups()}})
            for (const auto& [first, end] : {std::pair{0, half}, {half, tokens}})
              kernels->matmul(packed.view(), bias.data(), from, to, inputs.view, first, end, y.data(), stride);
          for (int token = 0; token < tokens; ++token) {
            for (int row = 0; row < rows; ++row) {
              std::int64_t sum = 0;
              for (int k = 0; k < columns; ++k)
                sum += static_cast<std::int8_t>(inputs.values[static_cast<std::size_t>(token) * columns + k] -
                                                kernels->inputOffset) *
                       weightOf(packed.view(), row, k);
              const double exact = static_cast<double>(sum) * scaleOf(packed.view(), row) *
                                       inputs.scales[static_cast<std::size_t>(token)] +
                                   bias[static_cast<std::size_t>(row)];
              const float got = y[static_cast<std::size_t>(token) * stride + row];
              CHECK_MESSAGE(std::fabs(got - exact) <= 1e-6 * (std::fabs(exact) + 1.0),
                            "%s %d × %d, token %d of %d: %g, %g", nameOf(kernels), rows, columns, token, tokens, got,
                            exact);
            }
            CHECK(y[static_cast<std::size_t>(token) * stride + rows] == 5.0f);
          }
        }
      }
}

TEST_CASE("vision: largest weights against largest inputs overflow nowhere, on every set") {
  const int rows = 16, columns = 7680;
  std::vector<float> weights(static_cast<std::size_t>(rows) * columns, 1.0f), x(columns, 3.0f);
  std::fill(weights.begin() + columns, weights.begin() + 2 * columns, -1.0f);
  for (const auto* kernels : allVisionKernels()) {
    const OwnedPackedMatrix packed(channelSource(weights, rows, columns, kernels->weightLevels));
    const QuantizedRows inputs(*kernels, x, columns);
    std::vector<float> y(rows);
    kernels->matmul(packed.view(), nullptr, 0, 1, inputs.view, 0, 1, y.data(), rows);
    CHECK_MESSAGE(std::fabs(y[0] / (3.0f * columns) - 1.0f) < 1e-3f, "%s: %g", nameOf(kernels), y[0]);
    CHECK_MESSAGE(std::fabs(y[1] / (-3.0f * columns) - 1.0f) < 1e-3f, "%s: %g", nameOf(kernels), y[1]);
  }
}

TEST_CASE("vision: a token that is not finite makes its own outputs NaN and no other's") {
  const int rows = 37, columns = 96, tokens = 17;
  const auto weights = normalValues(static_cast<std::size_t>(rows) * columns);
  for (const float bad : kNotFinite)
    for (const auto* kernels : allVisionKernels()) {
      auto x = normalValues(static_cast<std::size_t>(tokens) * columns);
      x[5 * columns + 95] = bad;
      const OwnedPackedMatrix packed(channelSource(weights, rows, columns, kernels->weightLevels));
      const QuantizedRows inputs(*kernels, x, columns);
      std::vector<float> y(static_cast<std::size_t>(tokens) * rows);
      kernels->matmul(packed.view(), nullptr, 0, packed.view().rowGroups(), inputs.view, 0, tokens, y.data(), rows);
      for (int i = 0; i < tokens * rows; ++i)
        CHECK_MESSAGE(std::isnan(y[static_cast<std::size_t>(i)]) == (i / rows == 5), "%s, %g", nameOf(kernels), bad);
    }
}

TEST_CASE("vision: layer norm and gelu at odd sizes; NaN, infinity and overflow reach the outputs") {
  for (const auto* kernels : allVisionKernels())
    for (const int count : {1, 7, 80, 133}) {
      const auto x = normalValues(static_cast<std::size_t>(count), 3.0f), weight = normalValues(x.size()),
                 bias = normalValues(x.size());
      std::vector<float> y(x.size());
      kernels->layerNorm(x.data(), weight.data(), bias.data(), count, 1e-5f, y.data());
      double mean = 0, spread = 0;
      for (const float v : x)
        mean += v / static_cast<double>(count);
      for (const float v : x)
        spread += (v - mean) * (v - mean) / count;
      auto gelu = x;
      kernels->gelu(gelu.data(), count);
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double normed = (x[i] - mean) / std::sqrt(spread + 1e-5) * weight[i] + bias[i];
        CHECK_MESSAGE(std::fabs(y[i] - normed) < 1e-5, "%s: %g, %g", nameOf(kernels), y[i], normed);
        const double exact = 0.5 * x[i] * (1.0 + std::erf(x[i] / std::sqrt(2.0)));
        CHECK_MESSAGE(std::fabs(gelu[i] - exact) < 2e-6, "%s: gelu(%g) = %g, %g", nameOf(kernels), x[i], gelu[i],
                      exact);
      }
      for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), 3e38f}) {
        auto broken = x;
        broken.back() = bad;
        if (count > 1) {
          kernels->layerNorm(broken.data(), weight.data(), bias.data(), count, 1e-5f, y.data());
          CHECK_MESSAGE(std::all_of(y.begin(), y.end(), [](float v) { return !std::isfinite(v); }), "%s, %g, %d",
                        nameOf(kernels), bad, count);
        }
        kernels->gelu(broken.data(), count);
        CHECK_MESSAGE(!std::isfinite(broken.back()) || bad == 3e38f, "%s, %g", nameOf(kernels), bad);
      }
    }
}

TEST_CASE("vision: attention of odd sizes, weighted keys, within what quantisation allows, on every set") {
  for (const int headDim : {8, 32, 80})
    for (const int keys : {1, 17, 256, 601}) {
      const int queries = 14;
      const auto k = normalValues(static_cast<std::size_t>(keys) * headDim), v = normalValues(k.size());
      const auto q = normalValues(static_cast<std::size_t>(queries) * headDim, 1.5f);
      for (const auto* kernels : allVisionKernels()) {
        const Head head(*kernels, headDim, keys, k, v);
        for (const int visible : {keys, (keys + 1) / 2}) {
          const auto out = attend(*kernels, head, headDim, visible, q);
          double error = 0, size = 0;
          for (int i = 0; i < queries; ++i) {
            std::vector<double> p(static_cast<std::size_t>(visible));
            double most = -1e30, sum = 0;
            for (int j = 0; j < visible; ++j) {
              double score = 0;
              for (int d = 0; d < headDim; ++d)
                score += static_cast<double>(q[static_cast<std::size_t>(i) * headDim + d]) *
                         k[static_cast<std::size_t>(j) * headDim + d];
              p[static_cast<std::size_t>(j)] =
                  score / std::sqrt(headDim) + std::log(head.weights[static_cast<std::size_t>(j)]);
              most = std::max(most, p[static_cast<std::size_t>(j)]);
            }
            for (auto& each : p)
              sum += each = std::exp(each - most);
            for (int d = 0; d < headDim; ++d) {
              double expected = 0;
              for (int j = 0; j < visible; ++j)
                expected += p[static_cast<std::size_t>(j)] / sum * v[static_cast<std::size_t>(j) * headDim + d];
              const double got = out[static_cast<std::size_t>(i) * headDim + d];
              error += (got - expected) * (got - expected);
              size += expected * expected;
            }
          }
          const double relative = std::sqrt(error / size), allowed = kernels->weightLevels == 63 ? 0.03 : 0.02;
          CHECK_MESSAGE(relative < allowed, "%s, head %d, %d of %d keys: %g", nameOf(kernels), headDim, visible, keys,
                        relative);
        }
      }
    }
}

TEST_CASE("vision: a query that is not finite makes its own output NaN, a key those of all who see it") {
  const int headDim = 16, keys = 300, queries = 13;
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()})
    for (const auto* kernels : allVisionKernels()) {
      auto k = normalValues(static_cast<std::size_t>(keys) * headDim), v = normalValues(k.size());
      auto q = normalValues(static_cast<std::size_t>(queries) * headDim);
      q[2 * headDim] = bad;
      const auto one = attend(*kernels, Head(*kernels, headDim, keys, k, v), headDim, keys, q);
      for (int i = 0; i < queries * headDim; ++i)
        CHECK_MESSAGE(std::isnan(one[static_cast<std::size_t>(i)]) == (i / headDim == 2), "%s, query", nameOf(kernels));
      q[2 * headDim] = 0.0f;
      k[290 * headDim + 3] = bad;
      const Head broken(*kernels, headDim, keys, k, v);
      const auto seen = attend(*kernels, broken, headDim, keys, q), unseen = attend(*kernels, broken, headDim, 290, q);
      CHECK_MESSAGE(std::all_of(seen.begin(), seen.end(), [](float x) { return std::isnan(x); }), "%s, key",
                    nameOf(kernels));
      CHECK_MESSAGE(std::all_of(unseen.begin(), unseen.end(), [](float x) { return std::isfinite(x); }), "%s, key",
                    nameOf(kernels));
    }
}

TEST_CASE("vision: bytes of other tools with fewer levels stay within one step") {
  const int columns = 64;
  std::vector<std::uint8_t> bytes(16 * columns);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::uint8_t>(i); // −128 … 127
  const std::vector<float> scales(16, 0.5f);
  PackSource source;
  source.kind = PackSource::Kind::kInt8;
  source.values = bytes.data();
  source.scales = {scales.data(), ScalarType::kF32};
  source.rows = 16;
  source.columns = source.groupSize = columns;
  source.levels = 63;
  const OwnedPackedMatrix packed(source);
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < columns; ++k) {
      const double meant = (bytes[static_cast<std::size_t>(row) * columns + k] - 128) * 0.5;
      CHECK(std::abs(weightOf(packed.view(), row, k)) <= 63);
      CHECK(std::fabs(weightOf(packed.view(), row, k) * scaleOf(packed.view(), row) - meant) <= 1.01);
    }
}
