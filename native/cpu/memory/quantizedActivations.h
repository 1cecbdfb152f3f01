#pragma once
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/threadPool.h"
#include "cpu/memory/alignedBuffer.h"

namespace scenebus::cpu {

/** Owns the bytes of `QuantizedTokens`; keeps its memory from one use to the next. */
class QuantizedActivations {
public:
  /** Quantises `x[tokens][columns]`; `columns` is a multiple of 32. */
  void assign(const Kernels& kernels, ThreadPool& pool, const float* x, int tokens, int columns) {
    const std::size_t blocks = static_cast<std::size_t>(tokens) * (columns / kBlockColumns);
    mValues.reserve(static_cast<std::size_t>(tokens) * columns);
    mScales.reserve(blocks);
    mBiases.reserve(blocks);
    mView = {tokens, columns, mValues.data(), mScales.data(), mBiases.data()};
    pool.forEach(tokens, [&](int token, int) {
      const std::ptrdiff_t first = mView.firstBlock(token);
      kernels.quantizeToken(x + static_cast<std::size_t>(token) * columns, columns, mView.tileWidth(token),
                            mValues.data() + first * kBlockColumns, mScales.data() + first, mBiases.data() + first);
    });
  }

  const QuantizedTokens& view() const { return mView; }

private:
  AlignedBuffer<std::int8_t> mValues;
  AlignedBuffer<float> mScales;
  AlignedBuffer<std::int32_t> mBiases;
  QuantizedTokens mView;
};

} // namespace scenebus::cpu
