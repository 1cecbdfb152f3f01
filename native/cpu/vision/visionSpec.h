#pragma once
#include "cpu/kernels/cpuFeatures.h"
#include "cpu/memory/tensorReader.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/** What the vision tower is told about a model and an image; mirrors sdk/architecture. */
namespace scenebus::cpu {

struct VisionArchitecture {
  int tileSize = 0;
  int patchSize = 0;
  int maxNumTiles = 0;
  int hiddenSize = 0;
  int attentionHeads = 0;
  int intermediateSize = 0;
  int localLayers = 0;
  int globalLayers = 0;
  /** Arrangements of tiles; ids go from 0 (none) to this. */
  int aspectRatios = 0;
  /** For each part of the features: the number of local layers that its state has passed. */
  std::vector<int> tapLayers;
  float normEps = 1e-5f;
  int textHiddenSize = 0;

  int patchesPerTile() const { return (tileSize / patchSize) * (tileSize / patchSize); }
  int tokensPerTile() const { return patchesPerTile() + 1; }
  int patchColumns() const { return 3 * patchSize * patchSize; }
  int headDim() const { return hiddenSize / attentionHeads; }
  int featureSize() const { return hiddenSize * (1 + static_cast<int>(tapLayers.size())); }
};

struct VisionSpec {
  VisionArchitecture vision;
  /** By published name (`vision_model.…`, `multi_modal_projector.…`). */
  TensorSources tensors;
  /** 0: one for each physical core. */
  int threads = 0;
  std::optional<InstructionSet> instructionSet;
  /** Where packed weights are kept (empty: in memory), and the key that they must carry. */
  std::string packedWeightsPath;
  std::string packedKey;
};

/** Which tokens are computed for an image: `VisionTokens` of sdk/architecture/vision-tokens.ts. */
struct VisionPlan {
  int aspectRatioId = 0;
  /** Slots whose pixels are given. */
  int slots = 0;
  /** Tokens of used slots, the first ones: they look at all keys, the others at these. */
  int realTokens = 0;
  /** The first ones, which become features. */
  int featureTokens = 0;
  /** `[tokens]` slot × tokensPerTile + place in the slot; behind all of them: padding. */
  std::vector<int> tokenPlaces;
  /** `[tokens]` slot of each. */
  std::vector<int> tokenSlots;
  /** `[tokens]` how many tokens of the full sequence each stands for. */
  std::vector<float> weights;
  /** `[states]` the token that each state is made of. */
  std::vector<int> stateTokens;
};

} // namespace scenebus::cpu
