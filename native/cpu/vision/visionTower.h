#pragma once
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/visionKernels.h"
#include "cpu/memory/alignedBuffer.h"
#include "cpu/memory/quantizedActivations.h"
#include "cpu/vision/visionWeights.h"

#include <mutex>
#include <vector>

namespace scenebus::cpu {

/**
 * The vision tower and its projector in 8 bits: pixels in, the states out that cross-attention looks at. One call at a
 * time; others wait.
 */
class VisionTower {
public:
  /** @throws CodedError and Aborted, see `VisionWeights`. */
  VisionTower(const VisionSpec& spec, CancelFlag abort, const ProgressFunction& progress);

  /**
   * @param pixels `[slots][3][tileSize][tileSize]`
   * @param states `[stateTokens][textHiddenSize]`
   * @throws CodedError ERR_ARGUMENT_INVALID for a plan that does not fit the model, or pixels that are not finite;
   *   ERR_MODEL_INVALID for embeddings of the tiles' places that are not; Aborted, looked for between the steps of each
   *   layer
   */
  void encode(const float* pixels, const VisionPlan& plan, float* states, CancelFlag abort);

  const VisionSpec& spec() const { return mSpec; }
  InstructionSet instructionSet() const { return mKernels.set; }
  int threadCount() const { return mPool.threadCount(); }
  const PackedStore& store() const { return mWeights.store(); }

private:
  void check(const VisionPlan& plan) const;
  void embed(const float* pixels, const VisionPlan& plan);
  void addTileVectors(const VisionPlan& plan);
  void attention(const VisionLayerWeights& layer, const VisionPlan& plan, CancelFlag abort);
  void mlp(const VisionLayerWeights& layer, int tokens, CancelFlag abort);
  void tap(int passedLayers, const VisionPlan& plan);
  void project(const VisionPlan& plan, float* states, CancelFlag abort);

  void quantize(const float* x, int tokens, int columns);
  void quantizeNormed(const float* x, const std::vector<float>& weight, const std::vector<float>& bias, int tokens);
  void multiply(const PackedMatrix& weights, const float* bias, int tokens, float* y);
  void packHeads(int tokens);
  void attendHeads(const VisionPlan& plan);
  VisionKeys keysOf(int head) const;

  VisionSpec mSpec;
  const Kernels& mFloatKernels;
  const VisionKernels& mKernels;
  ThreadPool mPool;
  VisionWeights mWeights;
  /** Of a head, rounded up to whole registers. */
  int mPaddedDim;
  std::mutex mMutex;

  // Working memory, kept from one image to the next.
  AlignedBuffer<float> mHidden;   // [tokens][hidden]
  AlignedBuffer<float> mFeatures; // [feature tokens][features]
  AlignedBuffer<float> mQuery, mKey, mValue, mUpdate;
  AlignedBuffer<std::uint8_t> mBytes; // of a matmul's inputs
  AlignedBuffer<float> mByteScales;
  AlignedBuffer<std::uint8_t> mQueryBytes, mKeyLines, mValueLines;         // for each head
  AlignedBuffer<float> mQueryScales, mKeyScales, mKeyBiases, mValueScales; // for each head; biases once
  AlignedBuffer<float> mKeyMeans;
  std::size_t mPaddedKeys = 0;
  QuantizedActivations mProjected;
  std::vector<AlignedBuffer<float>> mScratch, mNormed; // one for each thread
};

} // namespace scenebus::cpu
