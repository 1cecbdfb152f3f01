#pragma once
#include "cpu/kernels/cpuFeatures.h"
#include "cpu/kernels/kernels.h"
#include "cpu/memory/tensorReader.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/** What the decoder is told about a model; mirrors sdk/architecture/architecture.ts. */
namespace scenebus::cpu {

struct RopeScaling {
  double factor = 1;
  double lowFreqFactor = 1;
  double highFreqFactor = 1;
  double originalMaxPositionEmbeddings = 1;
};

struct TextArchitecture {
  int hiddenSize = 0;
  int layers = 0;
  std::vector<int> crossAttentionLayers;
  int attentionHeads = 0;
  int keyValueHeads = 0;
  int headDim = 0;
  int intermediateSize = 0;
  float rmsNormEps = 1e-5f;
  double ropeTheta = 500000;
  std::optional<RopeScaling> ropeScaling;
  int vocabularySize = 0;
  int embeddingRows = 0;
};

struct DecoderSpec {
  TextArchitecture text;
  /** By published name (`language_model.model.layers.0…`); the text decoder's are enough. */
  TensorSources tensors;
  /** Tokens that see no image add what they attend to (Hugging Face releases); otherwise they add nothing (Meta). */
  bool maskedTokensAttend = false;
  int contextLength = 0;
  /** 0: one for each physical core. */
  int threads = 0;
  std::optional<InstructionSet> instructionSet;
  CacheType keyValueType = CacheType::kF16;
  /** Where packed weights are kept, and the key that they must carry. */
  std::string packedWeightsPath;
  std::string packedKey;
};

} // namespace scenebus::cpu
