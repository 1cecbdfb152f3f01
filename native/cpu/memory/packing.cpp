#include "cpu/memory/packing.h"

#include "common/codedError.h"
#include "cpu/kernels/half.h"

#include <cmath>
#include <cstring>
#include <vector>

namespace scenebus::cpu {
namespace {

/** Four nibbles `0x_dcba` to four bytes `0x0d0c0b0a`. */
std::uint32_t spreadNibbles(std::uint32_t four) {
  std::uint32_t v = (four | (four << 8)) & 0x00ff00ffu;
  v = (v | (v << 4)) & 0x0f0f0f0fu;
  return v;
}

/** The 16 bytes of one row's block (32 nibbles) to its 4-byte pieces in the four lines. */
void packInt4Block(const std::uint8_t* from, std::uint8_t* block, int lane) {
  for (int line = 0; line < 4; ++line) {
    const std::uint32_t low = from[2 * line] | static_cast<std::uint32_t>(from[2 * line + 1]) << 8;
    const std::uint32_t high = from[8 + 2 * line] | static_cast<std::uint32_t>(from[9 + 2 * line]) << 8;
    const std::uint32_t bytes = spreadNibbles(low) | spreadNibbles(high) << 4;
    std::memcpy(block + line * 64 + lane * 4, &bytes, sizeof(bytes));
  }
}

/** 32 bytes as value + 128 to signed bytes. */
void packInt8Block(const std::uint8_t* from, std::uint8_t* block, int lane) {
  for (int line = 0; line < 8; ++line) {
    std::uint32_t four;
    std::memcpy(&four, from + line * 4, sizeof(four));
    four ^= 0x80808080u;
    std::memcpy(block + line * 64 + lane * 4, &four, sizeof(four));
  }
}

/** Rounds one row to bytes, value + 128, with a scale for each group. */
void quantizeFloatRow(const PackSource& source, int row, std::uint8_t* values, float* scales) {
  const std::size_t start = static_cast<std::size_t>(row) * source.columns;
  for (int begin = 0; begin < source.columns; begin += source.groupSize) {
    float max = 0.0f;
    for (int k = begin; k < begin + source.groupSize; ++k) {
      const float w = readScalar(source.values, source.valueType, start + k);
      if (!std::isfinite(w))
        throw CodedError("ERR_MODEL_INVALID",
                         "expected finite weights but row " + std::to_string(row) + " holds " + std::to_string(w));
      max = std::fmax(max, std::fabs(w));
    }
    const float levels = static_cast<float>(source.levels);
    const float inverse = max > kSmallestBlockMax ? levels / max : 0.0f;
    for (int k = begin; k < begin + source.groupSize; ++k)
      values[k] = static_cast<std::uint8_t>(
          128.0f + std::nearbyintf(readScalar(source.values, source.valueType, start + k) * inverse));
    scales[begin / source.groupSize] = inverse > 0.0f ? max / levels : 0.0f;
  }
}

/** Bytes of value + 128 to the same with at most `levels`; −128, which other tools write, included. */
void reduceLevels(const std::uint8_t* from, int columns, int levels, std::uint8_t* to) {
  for (int k = 0; k < columns; ++k) {
    const float value = std::nearbyintf(static_cast<float>((from[k] - 128) * levels) / 127.0f);
    to[k] = static_cast<std::uint8_t>(128.0f + std::fmax(value, static_cast<float>(-levels)));
  }
}

/** Scales of one row to float16 multiples of a power of two; `data` is that of the row's group. */
void packScales(const PackedMatrix& shape, const float* from, int lane, int row, std::uint8_t* data, float* rowFactor) {
  const int count = shape.scaleGroups();
  float max = 0.0f;
  for (int i = 0; i < count; ++i) {
    if (!std::isfinite(from[i]))
      throw CodedError("ERR_MODEL_INVALID", "expected finite weight scales but row " + std::to_string(row) + " holds " +
                                                std::to_string(from[i]));
    max = std::fmax(max, std::fabs(from[i]));
  }
  int exponent = 0;
  if (max > 0.0f)
    std::frexp(max, &exponent);
  // The largest scale becomes a value in [2^14, 2^15): smaller ones keep 11 digits down to 2^-28 of it.
  const int power = exponent - 15 < -120 ? -120 : exponent - 15;
  *rowFactor = max > 0.0f ? std::ldexp(1.0f, power) : 1.0f;
  for (int i = 0; i < count; ++i) {
    const std::uint16_t scale = f16FromFloat(max > 0.0f ? std::ldexp(from[i], -power) : 0.0f);
    std::memcpy(data + shape.scalesOffset(i) + lane * sizeof(scale), &scale, sizeof(scale));
  }
}

} // namespace

float readScalar(const void* data, ScalarType type, std::size_t index) {
  const auto* at = static_cast<const std::uint8_t*>(data) + index * scalarSizeBytes(type);
  if (type == ScalarType::kF32) {
    float value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  std::uint16_t half;
  std::memcpy(&half, at, sizeof(half));
  return type == ScalarType::kF16 ? floatFromF16(half) : floatFromBf16(half);
}

PackedMatrix packedShape(const PackSource& source) {
  PackedMatrix shape;
  shape.bits = source.kind == PackSource::Kind::kInt4 ? 4 : 8;
  shape.rows = source.rows;
  shape.columns = source.columns;
  shape.groupSize = source.groupSize;
  if (source.rows <= 0 || source.columns <= 0 || source.groupSize <= 0 || source.groupSize % kBlockColumns != 0 ||
      source.columns % source.groupSize != 0)
    throw CodedError("ERR_MODEL_UNSUPPORTED",
                     "expected groups of a multiple of 32 inputs that divide the row but received groups of " +
                         std::to_string(source.groupSize) + " in a matrix of " + std::to_string(source.rows) + " × " +
                         std::to_string(source.columns) + "; use the onnx backend for this model");
  return shape;
}

std::size_t packedDataBytes(const PackedMatrix& shape) {
  return shape.rowGroups() * shape.groupBytes();
}
std::size_t packedFactorCount(const PackedMatrix& shape) {
  return static_cast<std::size_t>(shape.rowGroups()) * kGroupRows;
}

void packGroup(const PackSource& source, int group, std::uint8_t* data, float* rowFactors) {
  const PackedMatrix shape = packedShape(source);
  const int scaleCount = shape.scaleGroups(), blocksPerScale = shape.groupSize / kBlockColumns;
  std::memset(data, 0, shape.groupBytes());
  if (source.kind == PackSource::Kind::kInt4)
    for (int i = 0; i < scaleCount; ++i)
      std::memset(data + shape.valuesOffset(i), 0x88, shape.scaleGroupValueBytes());
  std::vector<float> rowScales(static_cast<std::size_t>(scaleCount));
  std::vector<std::uint8_t> rounded;
  const bool isReduced = source.kind == PackSource::Kind::kInt8 && source.levels != 127;
  if (source.kind == PackSource::Kind::kFloat || isReduced)
    rounded.resize(static_cast<std::size_t>(source.columns));

  for (int lane = 0; lane < kGroupRows; ++lane) {
    rowFactors[lane] = 0.0f;
    const int row = group * kGroupRows + lane;
    if (row >= source.rows)
      continue;
    const auto* bytes = static_cast<const std::uint8_t*>(source.values);
    const std::uint8_t* int8Row = nullptr;
    if (source.kind == PackSource::Kind::kFloat) {
      quantizeFloatRow(source, row, rounded.data(), rowScales.data());
      int8Row = rounded.data();
    } else {
      for (int i = 0; i < scaleCount; ++i)
        rowScales[i] =
            readScalar(source.scales.data, source.scales.type, static_cast<std::size_t>(row) * scaleCount + i);
      int8Row = bytes + static_cast<std::size_t>(row) * source.columns;
      if (isReduced) {
        reduceLevels(int8Row, source.columns, source.levels, rounded.data());
        int8Row = rounded.data();
        for (auto& scale : rowScales)
          scale *= 127.0f / static_cast<float>(source.levels);
      }
    }
    packScales(shape, rowScales.data(), lane, row, data, rowFactors + lane);
    for (int b = 0; b < shape.blocks(); ++b) {
      std::uint8_t* block = data + shape.valuesOffset(b / blocksPerScale) + b % blocksPerScale * shape.blockSizeBytes();
      if (source.kind == PackSource::Kind::kInt4)
        packInt4Block(bytes + (static_cast<std::size_t>(row) * shape.blocks() + b) * (kBlockColumns / 2), block, lane);
      else
        packInt8Block(int8Row + b * kBlockColumns, block, lane);
    }
  }
}

OwnedPackedMatrix::OwnedPackedMatrix(const PackSource& source) : mView(packedShape(source)) {
  mData.reserve(packedDataBytes(mView));
  mRowFactors.reserve(packedFactorCount(mView));
  for (int group = 0; group < mView.rowGroups(); ++group)
    packGroup(source, group, mData.data() + group * mView.groupBytes(), mRowFactors.data() + group * kGroupRows);
  mView.data = mData.data();
  mView.rowFactors = mRowFactors.data();
}

} // namespace scenebus::cpu
