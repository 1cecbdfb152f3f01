#pragma once
#include "cpu/memory/alignedBuffer.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/threadPool.h"

namespace scenebus::cpu {

/** Owns the bytes of `QuantizedRows`; keeps its memory from one use to the next. */
class QuantizedActivations {
 public:
  /** Quantises `x[rows][columns]`; `columns` is a multiple of 32. */
  void assign(const Kernels& kernels, ThreadPool& pool, const float* x, int rows, int columns) {
    const std::size_t blocks = static_cast<std::size_t>(rows) * (columns / kBlockColumns);
    mValues.reserve(static_cast<std::size_t>(rows) * columns);
    mScales.reserve(blocks);
    mBiases.reserve(blocks);
    mView = {rows, columns, mValues.data(), mScales.data(), mBiases.data()};
    pool.forEach(rows, [&](int row, int) {
      const std::ptrdiff_t first = mView.firstBlock(row);
      kernels.quantizeRow(x + static_cast<std::size_t>(row) * columns, columns, mView.tileWidth(row),
                          mValues.data() + first * kBlockColumns, mScales.data() + first, mBiases.data() + first);
    });
  }

  const QuantizedRows& view() const { return mView; }

 private:
  AlignedBuffer<std::int8_t> mValues;
  AlignedBuffer<float> mScales;
  AlignedBuffer<std::int32_t> mBiases;
  QuantizedRows mView;
};

} // namespace scenebus::cpu
