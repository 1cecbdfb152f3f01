#pragma once
#include "gpu/kernels/shared/elements.h"

/** Pieces that the int4 kernels share. Device code only. */
namespace scenebus::kernels {

using namespace gpu;

/**
 * The words of a lane: 8 weights each. Four lanes together hold `32 · kWords` consecutive k of one output, which is one
 * group of that size (or a part of a greater one), so a sum over them gets one scale.
 */
template <int kWords> struct WeightWords {
  std::uint32_t word[kWords];
};

template <int kWords> __device__ __forceinline__ WeightWords<kWords> loadWeights(const std::uint8_t* address) {
  WeightWords<kWords> result;
  if constexpr (kWords == 4) {
    const U32x4 v = loadStream16(address);
    result.word[0] = v.x;
    result.word[1] = v.y;
    result.word[2] = v.z;
    result.word[3] = v.w;
  } else if constexpr (kWords == 2) {
    const U32x2 v = loadStream8(address);
    result.word[0] = v.x;
    result.word[1] = v.y;
  } else {
    result.word[0] = loadStream4(address);
  }
  return result;
}

/**
 * Eight weights to halves: pairs (0, 4), (1, 5), (2, 6), (3, 7), the ones that lie 16 bits apart in the word. 0x6400 is
 * 1024 as a half, whose last bit counts 1: or-ing a nibble in adds it. For the nibble four bits up it adds 16 times as
 * much, so those are scaled back; 1024 / 16 + 8 = 72. Every step is exact.
 */
__device__ __forceinline__ void unpackWeights(std::uint32_t word, std::uint32_t (&pairs)[4]) {
  const std::uint32_t shifted = word >> 8;
  pairs[0] = subtractHalves((word & 0x000f000fu) | 0x64006400u, 0x64086408u);
  pairs[1] = multiplyAddHalves((word & 0x00f000f0u) | 0x64006400u, 0x2c002c00u, 0xd480d480u);
  pairs[2] = subtractHalves((shifted & 0x000f000fu) | 0x64006400u, 0x64086408u);
  pairs[3] = multiplyAddHalves((shifted & 0x00f000f0u) | 0x64006400u, 0x2c002c00u, 0xd480d480u);
}

/** Eight consecutive halves of x in the same pairs. */
__device__ __forceinline__ void pairActivations(U32x4 x, std::uint32_t (&pairs)[4]) {
  pairs[0] = selectBytes(x.x, x.z, 0x5410u);
  pairs[1] = selectBytes(x.x, x.z, 0x7632u);
  pairs[2] = selectBytes(x.y, x.w, 0x5410u);
  pairs[3] = selectBytes(x.y, x.w, 0x7632u);
}

/** Apart from the load, so that a load can stay under way until the scale is needed. */
__device__ __forceinline__ float scaleFromBits(std::uint16_t bits, int isBf16) {
  return isBf16 != 0 ? floatFromBf16(bits) : floatFromHalf(bits);
}

} // namespace scenebus::kernels
