#pragma once
#include "cpu/decoder/modelSpec.h"
#include "cpu/memory/alignedBuffer.h"
#include "cpu/memory/packedStore.h"
#include "cpu/memory/tensorReader.h"

#include <memory>
#include <string>
#include <vector>

namespace scenebus::cpu {

/** A linear layer's weights: as the checkpoint stores them, or packed. */
struct Linear {
  bool isPacked = false;
  FloatMatrix stored;
  PackedMatrix packed;

  int rows() const { return isPacked ? packed.rows : stored.rows; }
  int columns() const { return isPacked ? packed.columns : stored.columns; }
};

struct LayerWeights {
  bool isCross = false;
  /** `[hiddenSize]` */
  std::vector<float> inputNorm, postAttentionNorm;
  Linear query, key, value, output;
  Linear gate, up, down;
  /** Cross layers only: `[headDim]` each, and the gates after tanh. */
  std::vector<float> queryNorm, keyNorm;
  float attentionGate = 1.0f, mlpGate = 1.0f;
};

/** The text decoder's weights, all of them pointers into mapped files but for norms and gates. */
class DecoderWeights {
public:
  /**
   * @throws CodedError ERR_MODEL_INVALID for a missing tensor, a wrong type or shape, or a norm or gate that is not
   * finite; ERR_MODEL_UNSUPPORTED for sizes that the kernels do not take; and what `PackedStore` throws.
   */
  DecoderWeights(const DecoderSpec& spec, ThreadPool& pool, CancelFlag abort, const ProgressFunction& progress);

  std::vector<LayerWeights> layers;
  std::vector<float> finalNorm;
  Linear head;
  /** `[embeddingRows, hiddenSize]` */
  FloatMatrix embedding;
  bool hasPacked() const { return mStore != nullptr; }
  /** Null without packed weights. */
  const PackedStore* store() const { return mStore.get(); }
  /** Bytes that one decoded token reads: every linear of the text path once. */
  std::uint64_t linearSizeBytes() const;

private:
  struct Builder;

  TensorReader mTensors;
  std::unique_ptr<PackedStore> mStore;
};

} // namespace scenebus::cpu
