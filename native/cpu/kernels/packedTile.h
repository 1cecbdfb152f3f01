#pragma once
#include "cpu/kernels/matrix.h"

namespace scenebus::cpu {

/**
 * Where a kernel stands in packed rows and in the tile of activations that they are multiplied with: block by block,
 * some streams of rows one beside the other. Forced inline, because files compiled for different instruction sets use
 * it.
 */
struct PackedTile {
  /** From row group `group` and token `token` of `x` on; streams are `apart` groups of 16 rows from each other. */
  SCENEBUS_FORCE_INLINE PackedTile(const PackedMatrix& m, int group, int apart, const QuantizedTokens& x, int token)
      : scaleGroups(m.scaleGroups()), blocksPerScale(m.groupSize / kBlockColumns), width(x.tileWidth(token)),
        next(m.groupBytes() * apart), weights(m.data + group * m.groupBytes()),
        values(x.values + x.firstBlock(token) * kBlockColumns), scales(x.scales + x.firstBlock(token)),
        biases(x.biases + x.firstBlock(token)) {}

  const int scaleGroups, blocksPerScale;
  const std::ptrdiff_t width;
  /** From one stream to the next. */
  const std::size_t next;
  const std::uint8_t* weights;
  /** Of the group of inputs at hand. */
  const std::uint8_t* weightScales = nullptr;
  const std::int8_t* values;
  const float* scales;
  const std::int32_t* biases;

  /** To the values of the next group of inputs, `scaleGroup`: before each two lie their scales. */
  SCENEBUS_FORCE_INLINE void enter(int scaleGroup) {
    if (scaleGroup % 2 == 0) {
      weightScales = weights;
      weights += kScaleLineBytes;
    } else {
      weightScales += kScaleLineBytes / 2;
    }
  }

  SCENEBUS_FORCE_INLINE void advance(int blockBytes) {
    weights += blockBytes;
    values += width * kBlockColumns;
    scales += width;
    biases += width;
  }
};

} // namespace scenebus::cpu
