#include "cpu/kernels/simdNeon.h"
#include "cpu/kernels/visionLoops.h"

namespace scenebus::cpu {
namespace {

struct ProductsNeon {
  /** Rows 4p … 4p+3. */
  struct Sums {
    int32x4_t part[4];
  };
  struct Weights {
    int8x16_t part[4];
  };
  using Input = int8x16_t;
  static constexpr int kGroups = 1, kTokens = 4;
  static constexpr int kWeightLevels = 127, kInputOffset = 0;
  SCENEBUS_INLINE Sums zero() {
    const int32x4_t none = vdupq_n_s32(0);
    return {{none, none, none, none}};
  }
  SCENEBUS_INLINE Weights load(const std::uint8_t* line) {
    const auto* at = reinterpret_cast<const std::int8_t*>(line);
    return {{vld1q_s8(at), vld1q_s8(at + 16), vld1q_s8(at + 32), vld1q_s8(at + 48)}};
  }
  SCENEBUS_INLINE Input broadcast(const std::uint8_t* x) {
    std::int32_t four;
    __builtin_memcpy(&four, x, sizeof(four));
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
  }
  SCENEBUS_INLINE Sums addBytes(Sums sums, const Weights& w, Input x) {
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p)
      sums.part[p] = vdotq_s32(sums.part[p], w.part[p], x);
    return sums;
  }
  SCENEBUS_INLINE Sums addShorts(Sums sums, const Weights& w, Input x) {
    const int16x8_t inputs = vreinterpretq_s16_s8(x);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) {
      const int16x8_t weights = vreinterpretq_s16_s8(w.part[p]);
      const int32x4_t low = vmull_s16(vget_low_s16(weights), vget_low_s16(inputs));
      sums.part[p] = vaddq_s32(sums.part[p], vpaddq_s32(low, vmull_high_s16(weights, inputs)));
    }
    return sums;
  }
  SCENEBUS_INLINE float32x4_t floats(const Sums& sums, const Sums& base, int part) {
    return vcvtq_f32_s32(vsubq_s32(sums.part[part], base.part[part]));
  }
  SCENEBUS_INLINE void storeShorts(std::int16_t* to, float32x4_t v) {
    vst1_s16(to, vmovn_s32(vcvtnq_s32_f32(v)));
  }
};

} // namespace

const VisionKernels& neonVisionKernels() {
  using Loops = VisionLoops<SimdNeon, ProductsNeon>;
  static const VisionKernels kernels{InstructionSet::kNeonDotprod,
                                     ProductsNeon::kWeightLevels,
                                     ProductsNeon::kInputOffset,
                                     Loops::quantizeRow,
                                     Loops::matmul,
                                     Loops::layerNorm,
                                     Loops::gelu,
                                     Loops::attend};
  return kernels;
}

} // namespace scenebus::cpu
