#pragma once
#include "cpu/memory/packedStore.h"
#include "cpu/vision/visionSpec.h"

#include <memory>
#include <vector>

namespace scenebus::cpu {

struct VisionLayerWeights {
  std::vector<float> inputNorm, inputNormBias, postAttentionNorm, postAttentionNormBias;
  PackedMatrix query, key, value, output, fc1, fc2;
  std::vector<float> fc1Bias, fc2Bias;
  /** After tanh; 1 in the local stack. */
  float attentionGate = 1.0f, mlpGate = 1.0f;
};

/** The tower's weights: linear layers packed in 8 bits, the rest as the checkpoint has it. */
class VisionWeights {
public:
  /**
   * @param levels largest magnitude of a packed weight in the layers
   * @throws CodedError ERR_MODEL_INVALID for a missing tensor, a wrong type or shape, or a value that is not finite;
   *   ERR_MODEL_UNSUPPORTED for sizes that the kernels do not take; and what `PackedStore` throws.
   */
  VisionWeights(const VisionSpec& spec, int levels, ThreadPool& pool, CancelFlag abort,
                const ProgressFunction& progress);

  /** `[hiddenSize]` rows of 3 · patchSize² pixels. */
  FloatMatrix patchEmbedding;
  std::vector<float> classEmbedding;
  std::vector<float> preNorm, preNormBias, postNorm, postNormBias;
  /** `[aspectRatios + 1]` rows of `maxNumTiles` tile vectors; gates after tanh. */
  FloatMatrix preTile, postTile;
  float preTileGate = 0.0f, postTileGate = 0.0f;
  /** `[tokensPerTile]` rows. */
  FloatMatrix positions;
  /** `[aspectRatios + 1]` rows of the same for every slot: 150 MB at 11B sizes, looked at where an image needs them. */
  FloatMatrix tilePositions;
  float positionGate = 0.0f;
  /** The local stack, then the global one. */
  std::vector<VisionLayerWeights> layers;
  /** Groups of inputs: the parts of a feature have magnitudes of their own. */
  PackedMatrix projector;
  std::vector<float> projectorBias;

  const PackedStore& store() const { return *mStore; }

private:
  TensorReader mTensors;
  std::unique_ptr<PackedStore> mStore;
};

} // namespace scenebus::cpu
