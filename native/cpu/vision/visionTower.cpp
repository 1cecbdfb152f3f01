#include "cpu/vision/visionTower.h"

#include "common/codedError.h"
#include "cpu/kernels/half.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

namespace scenebus::cpu {
namespace {

/** Tokens that pass a piece of weights together: their bytes stay in the second-level cache. */
constexpr int kTaskTokens = 192;
/** Tokens whose inner states of an MLP are held at once; at the sizes of the 11B model 10 MB of them. */
constexpr int kMlpTokens = 512;
/** Of a head. */
constexpr int kMaxHeadDim = 256;
/** Tokens whose features are projected at once. */
constexpr int kProjectedTokens = 256;
/** Queries of one task of attention. */
constexpr int kTaskQueries = 8 * kVisionQueries;
/** So that threads of few tokens find work. */
constexpr int kTasksPerThread = 4;

int ceilTo(int value, int multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

InstructionSet chosenSet(const VisionSpec& spec) {
  const auto available = availableInstructionSets();
  const auto set = spec.instructionSet.value_or(available.back());
  if (std::find(available.begin(), available.end(), set) == available.end())
    throw CodedError("ERR_CONFIG_INVALID",
                     "this processor does not have the instruction set " + std::string(instructionSetName(set)));
  return set;
}

const VisionSpec& checked(const VisionSpec& spec) {
  const auto& vision = spec.vision;
  const bool isWhole = vision.tileSize > 0 && vision.patchSize > 0 && vision.patchSize <= vision.tileSize &&
                       vision.maxNumTiles > 0 && vision.attentionHeads > 0 && vision.textHiddenSize > 0 &&
                       vision.localLayers > 0 && vision.globalLayers >= 0 && vision.aspectRatios > 0;
  if (!isWhole || vision.hiddenSize <= 0 || vision.hiddenSize % kBlockColumns != 0 || vision.intermediateSize <= 0 ||
      vision.intermediateSize % kBlockColumns != 0 || vision.hiddenSize % vision.attentionHeads != 0 ||
      vision.headDim() > kMaxHeadDim)
    throw CodedError("ERR_MODEL_UNSUPPORTED",
                     "the int8 vision tower takes hidden and intermediate sizes that are multiples of 32 and up to 256 "
                     "dimensions for each head; use vision precision float for this model");
  return spec;
}

} // namespace

VisionTower::VisionTower(const VisionSpec& spec, CancelFlag abort, const ProgressFunction& progress)
    : mSpec(checked(spec)), mFloatKernels(kernelsFor(chosenSet(spec))), mKernels(visionKernelsFor(chosenSet(spec))),
      mPool(spec.threads > 0 ? spec.threads : physicalCoreCount()),
      mWeights(mSpec, mKernels.weightLevels, mPool, abort, progress),
      mPaddedDim(ceilTo(mSpec.vision.headDim(), kGroupRows)) {
  for (int i = 0; i < mPool.threadCount(); ++i) {
    mScratch.emplace_back(visionScratchFloats(mPaddedDim));
    mNormed.emplace_back(static_cast<std::size_t>(mSpec.vision.hiddenSize));
  }
}

void VisionTower::check(const VisionPlan& plan) const {
  const auto& vision = mSpec.vision;
  const int tokens = static_cast<int>(plan.tokenPlaces.size());
  const auto within = [](const std::vector<int>& list, int end) {
    return std::all_of(list.begin(), list.end(), [=](int value) { return value >= 0 && value < end; });
  };
  const bool isSound =
      plan.aspectRatioId >= 0 && plan.aspectRatioId <= vision.aspectRatios && plan.slots > 0 &&
      plan.slots <= vision.maxNumTiles && plan.realTokens > 0 && plan.realTokens <= tokens && plan.featureTokens > 0 &&
      plan.featureTokens <= tokens && within(plan.tokenPlaces, plan.slots * vision.tokensPerTile() + 1) &&
      static_cast<int>(plan.tokenSlots.size()) == tokens && within(plan.tokenSlots, vision.maxNumTiles) &&
      static_cast<int>(plan.weights.size()) == tokens && within(plan.stateTokens, plan.featureTokens) &&
      std::all_of(plan.weights.begin(), plan.weights.end(), [](float weight) { return weight >= 1.0f; });
  if (!isSound)
    throw CodedError("ERR_ARGUMENT_INVALID", "expected vision tokens that fit the model's tiles");
}

void VisionTower::encode(const float* pixels, const VisionPlan& plan, float* states, CancelFlag abort) {
  const std::lock_guard<std::mutex> lock(mMutex);
  check(plan);
  const auto& vision = mSpec.vision;
  const int tokens = static_cast<int>(plan.tokenPlaces.size());
  const std::size_t size = static_cast<std::size_t>(tokens) * vision.hiddenSize;
  mHidden.reserve(size);
  mFeatures.reserve(static_cast<std::size_t>(plan.featureTokens) * vision.featureSize());
  mQuery.reserve(size);
  mKey.reserve(size);
  mValue.reserve(size);
  const int mlpTokens = std::min(tokens, kMlpTokens);
  mUpdate.reserve(static_cast<std::size_t>(mlpTokens) * vision.intermediateSize);
  mBytes.reserve(std::max(size, static_cast<std::size_t>(mlpTokens) * vision.intermediateSize));
  mByteScales.reserve(static_cast<std::size_t>(tokens));

  embed(pixels, plan);
  tap(0, plan);
  for (int i = 0; i < static_cast<int>(mWeights.layers.size()); ++i) {
    const auto& layer = mWeights.layers[static_cast<std::size_t>(i)];
    attention(layer, plan, abort);
    mlp(layer, tokens, abort);
    if (i >= vision.localLayers)
      continue;
    tap(i + 1, plan);
    if (i == vision.localLayers - 1)
      addTileVectors(plan);
  }
  project(plan, states, abort);
}

// --- before and behind the layers ------------------------------------------------------------------------------

void VisionTower::embed(const float* pixels, const VisionPlan& plan) {
  const auto& vision = mSpec.vision;
  const int hidden = vision.hiddenSize, patch = vision.patchSize, side = vision.tileSize / patch;
  const int columns = vision.patchColumns(), perTile = vision.patchesPerTile(), perSlot = vision.tokensPerTile();
  const int patches = plan.slots * perTile;
  // Rows of pixels in the order of the kernel: channel, row, column.
  AlignedBuffer<float> rows(static_cast<std::size_t>(patches) * columns);
  AlignedBuffer<float> embedded(static_cast<std::size_t>(patches) * hidden);
  mPool.forEach(patches, [&](int index, int) {
    const int slot = index / perTile, top = index % perTile / side * patch, left = index % side * patch;
    float* to = rows.data() + static_cast<std::size_t>(index) * columns;
    for (int channel = 0; channel < 3; ++channel)
      for (int y = 0; y < patch; ++y, to += patch)
        std::memcpy(to,
                    pixels +
                        ((static_cast<std::size_t>(slot) * 3 + channel) * vision.tileSize + top + y) * vision.tileSize +
                        left,
                    static_cast<std::size_t>(patch) * sizeof(float));
  });
  const int groups = (hidden + kGroupRows - 1) / kGroupRows;
  mPool.forEach(groups, [&](int group, int) {
    mFloatKernels.floatMatmul(mWeights.patchEmbedding, group * kGroupRows, std::min((group + 1) * kGroupRows, hidden),
                              rows.data(), patches, embedded.data(), hidden);
  });

  const auto at = [](const FloatMatrix& table, std::size_t row, std::size_t column) {
    return readScalar(table.data, table.type, row * static_cast<std::size_t>(table.columns) + column);
  };
  const auto id = static_cast<std::size_t>(plan.aspectRatioId);
  std::atomic<bool> isFinite{true};
  mPool.forEach(static_cast<int>(plan.tokenPlaces.size()), [&](int token, int) {
    float* x = mHidden.data() + static_cast<std::size_t>(token) * hidden;
    const int place = plan.tokenPlaces[static_cast<std::size_t>(token)], slot = place / perSlot, t = place % perSlot;
    if (place == plan.slots * perSlot) {
      std::fill_n(x, hidden, 0.0f);
      return;
    }
    const float* made = embedded.data() + static_cast<std::size_t>(slot * perTile + t - 1) * hidden;
    for (int d = 0; d < hidden; ++d) {
      const std::size_t column = static_cast<std::size_t>(d);
      const float own = t == 0 ? mWeights.classEmbedding[column]
                               : made[d] + mWeights.preTileGate * at(mWeights.preTile, id,
                                                                     static_cast<std::size_t>(slot) * hidden + column);
      x[d] = own + (1.0f - mWeights.positionGate) * at(mWeights.positions, static_cast<std::size_t>(t), column) +
             mWeights.positionGate * at(mWeights.tilePositions, id, static_cast<std::size_t>(place) * hidden + column);
    }
    mKernels.layerNorm(x, mWeights.preNorm.data(), mWeights.preNormBias.data(), hidden, vision.normEps, x);
    // A value that is not finite, or whose square is not, makes its whole token so.
    if (!std::isfinite(x[0]))
      isFinite.store(false, std::memory_order_relaxed);
  });
  if (isFinite)
    return;
  if (!std::all_of(rows.data(), rows.data() + rows.size(), [](float pixel) { return std::isfinite(pixel); }))
    throw CodedError("ERR_ARGUMENT_INVALID", "expected finite pixels but some are NaN or infinite");
  throw CodedError("ERR_MODEL_INVALID", "embedded patches are NaN or infinite, though the pixels are not: the tensor "
                                        "vision_model.gated_positional_embedding.tile_embedding.weight holds such "
                                        "values, or others are too large; copy the checkpoint again");
}

void VisionTower::addTileVectors(const VisionPlan& plan) {
  const int hidden = mSpec.vision.hiddenSize;
  const auto& table = mWeights.postTile;
  mPool.forEach(static_cast<int>(plan.tokenPlaces.size()), [&](int token, int) {
    float* x = mHidden.data() + static_cast<std::size_t>(token) * hidden;
    mKernels.layerNorm(x, mWeights.postNorm.data(), mWeights.postNormBias.data(), hidden, mSpec.vision.normEps, x);
    const std::size_t row = static_cast<std::size_t>(plan.aspectRatioId) * table.columns +
                            static_cast<std::size_t>(plan.tokenSlots[static_cast<std::size_t>(token)]) * hidden;
    for (int d = 0; d < hidden; ++d)
      x[d] += mWeights.postTileGate * readScalar(table.data, table.type, row + static_cast<std::size_t>(d));
  });
}

/** Parts of the features lie channel by channel behind the final state, which `project` puts there. */
void VisionTower::tap(int passedLayers, const VisionPlan& plan) {
  const auto& vision = mSpec.vision;
  const int hidden = vision.hiddenSize, taps = static_cast<int>(vision.tapLayers.size());
  for (int part = 0; part < taps; ++part) {
    if (vision.tapLayers[static_cast<std::size_t>(part)] != passedLayers)
      continue;
    mPool.forEach(plan.featureTokens, [&](int token, int) {
      const float* x = mHidden.data() + static_cast<std::size_t>(token) * hidden;
      float* to = mFeatures.data() + static_cast<std::size_t>(token) * vision.featureSize() + hidden + part;
      for (int d = 0; d < hidden; ++d)
        to[static_cast<std::ptrdiff_t>(d) * taps] = x[d];
    });
  }
}

void VisionTower::project(const VisionPlan& plan, float* states, CancelFlag abort) {
  const auto& vision = mSpec.vision;
  const int hidden = vision.hiddenSize, size = vision.featureSize(), text = vision.textHiddenSize;
  mPool.forEach(plan.featureTokens, [&](int token, int) {
    std::copy_n(mHidden.data() + static_cast<std::size_t>(token) * hidden, hidden,
                mFeatures.data() + static_cast<std::size_t>(token) * size);
  });
  AlignedBuffer<float> projected(static_cast<std::size_t>(plan.featureTokens) * text);
  const int groups = mWeights.projector.rowGroups();
  const int pieces = std::min(groups, mPool.threadCount() * kTasksPerThread);
  for (int begin = 0; begin < plan.featureTokens; begin += kProjectedTokens) {
    abort.check();
    const int count = std::min(kProjectedTokens, plan.featureTokens - begin);
    mProjected.assign(mFloatKernels, mPool, mFeatures.data() + static_cast<std::size_t>(begin) * size, count, size);
    float* y = projected.data() + static_cast<std::size_t>(begin) * text;
    mPool.forEach(pieces, [&](int piece, int) {
      mFloatKernels.packedMatmul(mWeights.projector, groups * piece / pieces, groups * (piece + 1) / pieces,
                                 mProjected.view(), y, text);
    });
  }
  mPool.forEach(static_cast<int>(plan.stateTokens.size()), [&](int state, int) {
    const float* from =
        projected.data() + static_cast<std::size_t>(plan.stateTokens[static_cast<std::size_t>(state)]) * text;
    for (int i = 0; i < text; ++i)
      states[static_cast<std::size_t>(state) * text + i] =
          from[i] + mWeights.projectorBias[static_cast<std::size_t>(i)];
  });
}

// --- a layer ---------------------------------------------------------------------------------------------------

void VisionTower::quantize(const float* x, int tokens, int columns) {
  mPool.forEach(tokens, [&](int token, int) {
    const std::size_t at = static_cast<std::size_t>(token) * columns;
    mKernels.quantizeRow(x + at, columns, 127, mKernels.inputOffset, mBytes.data() + at, mByteScales.data() + token);
  });
}

void VisionTower::quantizeNormed(const float* x, const std::vector<float>& weight, const std::vector<float>& bias,
                                 int tokens) {
  const int hidden = mSpec.vision.hiddenSize;
  mPool.forEach(tokens, [&](int token, int worker) {
    const std::size_t at = static_cast<std::size_t>(token) * hidden;
    float* normed = mNormed[static_cast<std::size_t>(worker)].data();
    mKernels.layerNorm(x + at, weight.data(), bias.data(), hidden, mSpec.vision.normEps, normed);
    mKernels.quantizeRow(normed, hidden, 127, mKernels.inputOffset, mBytes.data() + at, mByteScales.data() + token);
  });
}

/** `y[tokens][rows]` of the bytes that were quantised last. */
void VisionTower::multiply(const PackedMatrix& weights, const float* bias, int tokens, float* y) {
  const int groups = weights.rowGroups(), blocks = (tokens + kTaskTokens - 1) / kTaskTokens;
  const int wanted = mPool.threadCount() * kTasksPerThread;
  const int pieces = std::max(1, std::min(groups / 4, (wanted + blocks - 1) / blocks));
  const ByteTokens x{weights.columns, mBytes.data(), mByteScales.data()};
  mPool.forEach(pieces * blocks, [&](int task, int) {
    const int piece = task % pieces, begin = task / pieces * kTaskTokens;
    mKernels.matmul(weights, bias, groups * piece / pieces, groups * (piece + 1) / pieces, x, begin,
                    std::min(begin + kTaskTokens, tokens), y, weights.rows);
  });
}

void VisionTower::attention(const VisionLayerWeights& layer, const VisionPlan& plan, CancelFlag abort) {
  const int tokens = static_cast<int>(plan.tokenPlaces.size()), hidden = mSpec.vision.hiddenSize;
  abort.check();
  quantizeNormed(mHidden.data(), layer.inputNorm, layer.inputNormBias, tokens);
  multiply(layer.query, nullptr, tokens, mQuery.data());
  multiply(layer.key, nullptr, tokens, mKey.data());
  multiply(layer.value, nullptr, tokens, mValue.data());
  abort.check();
  packHeads(tokens);
  attendHeads(plan); // to mQuery
  abort.check();
  quantize(mQuery.data(), tokens, hidden);
  multiply(layer.output, nullptr, tokens, mKey.data());
  mPool.forEach(tokens, [&](int token, int) {
    const std::size_t at = static_cast<std::size_t>(token) * hidden;
    for (std::size_t i = at; i < at + static_cast<std::size_t>(hidden); ++i)
      mHidden[i] += layer.attentionGate * mKey[i];
  });
}

void VisionTower::mlp(const VisionLayerWeights& layer, int tokens, CancelFlag abort) {
  const int hidden = mSpec.vision.hiddenSize, inner = mSpec.vision.intermediateSize;
  for (int begin = 0; begin < tokens; begin += kMlpTokens) {
    abort.check();
    const int count = std::min(kMlpTokens, tokens - begin);
    float* x = mHidden.data() + static_cast<std::size_t>(begin) * hidden;
    quantizeNormed(x, layer.postAttentionNorm, layer.postAttentionNormBias, count);
    multiply(layer.fc1, layer.fc1Bias.data(), count, mUpdate.data());
    mPool.forEach(count, [&](int token, int) {
      const std::size_t at = static_cast<std::size_t>(token) * inner;
      mKernels.gelu(mUpdate.data() + at, inner);
      mKernels.quantizeRow(mUpdate.data() + at, inner, 127, mKernels.inputOffset, mBytes.data() + at,
                           mByteScales.data() + token);
    });
    multiply(layer.fc2, layer.fc2Bias.data(), count, mKey.data());
    mPool.forEach(count, [&](int token, int) {
      const std::size_t at = static_cast<std::size_t>(token) * hidden;
      for (std::size_t i = at; i < at + static_cast<std::size_t>(hidden); ++i)
        x[i] += layer.mlpGate * mKey[i];
    });
  }
}

// --- heads -----------------------------------------------------------------------------------------------------

/**
 * Queries, keys and values of every head as `attend` reads them. What all keys have in common is taken from them: it
 * changes the scores of a query all alike, which softmax does not see, and leaves more digits for what tells keys
 * apart.
 */
void VisionTower::packHeads(int tokens) {
  const auto& vision = mSpec.vision;
  const int heads = vision.attentionHeads, dim = vision.headDim(), hidden = vision.hiddenSize, padded = mPaddedDim;
  const std::size_t keys = static_cast<std::size_t>(ceilTo(tokens, kVisionKeyBlock)), room = keys * padded;
  mPaddedKeys = keys;
  mQueryBytes.reserve(heads * room);
  mKeyLines.reserve(heads * room);
  mValueLines.reserve(heads * room * sizeof(std::int16_t));
  mQueryScales.reserve(heads * keys);
  mKeyScales.reserve(heads * keys);
  mValueScales.reserve(static_cast<std::size_t>(heads) * padded);
  mKeyMeans.reserve(static_cast<std::size_t>(hidden));
  mPool.forEach(heads, [&](int head, int) {
    std::uint32_t most[kMaxHeadDim] = {};
    double sums[kMaxHeadDim] = {};
    for (int token = 0; token < tokens; ++token) {
      const std::size_t at = static_cast<std::size_t>(token) * hidden + static_cast<std::size_t>(head) * dim;
      for (int d = 0; d < dim; ++d) {
        sums[d] += mKey[at + d];
        most[d] = std::max(most[d], bitsOfFloat(mValue[at + d]) & 0x7fffffffu);
      }
    }
    for (int d = 0; d < dim; ++d) {
      mKeyMeans[static_cast<std::size_t>(head) * dim + d] = static_cast<float>(sums[d] / tokens);
      const float max = floatFromBits(most[d]);
      float& scale = mValueScales[static_cast<std::size_t>(head) * padded + d];
      scale = std::isfinite(max) ? max / kValueLevels : std::nanf("");
    }
  });

  const float queryScale = 1.44269504f / std::sqrt(static_cast<float>(dim)); // log2 e: powers of two are cheaper
  const int blocks = static_cast<int>(keys) / kVisionKeyBlock;
  mPool.forEach(heads * blocks, [&](int task, int) {
    const int head = task % heads, begin = task / heads * kVisionKeyBlock;
    float row[kMaxHeadDim] = {};
    std::uint8_t bytes[kMaxHeadDim];
    std::uint8_t* lines = mKeyLines.data() + head * room + static_cast<std::size_t>(begin) * padded;
    std::uint8_t* values = mValueLines.data() + (head * room + static_cast<std::size_t>(begin) * padded) * 2;
    float inverse[kMaxHeadDim];
    for (int d = 0; d < dim; ++d) {
      const float scale = mValueScales[static_cast<std::size_t>(head) * padded + d];
      inverse[d] = scale > kSmallestBlockMax ? 1.0f / scale : 0.0f; // NaN: what is packed does not matter
    }
    for (int i = 0; i < kVisionKeyBlock; ++i) {
      const int token = begin + i;
      const std::size_t at = static_cast<std::size_t>(token) * hidden + static_cast<std::size_t>(head) * dim;
      const std::size_t place = head * keys + static_cast<std::size_t>(token);
      const bool isToken = token < tokens;
      for (int d = 0; d < dim; ++d)
        row[d] = isToken ? mQuery[at + d] * queryScale : 0.0f;
      mKernels.quantizeRow(row, padded, 127, mKernels.inputOffset,
                           mQueryBytes.data() + head * room + static_cast<std::size_t>(token) * padded,
                           mQueryScales.data() + place);
      for (int d = 0; d < dim; ++d)
        row[d] = isToken ? mKey[at + d] - mKeyMeans[static_cast<std::size_t>(head) * dim + d] : 0.0f;
      mKernels.quantizeRow(row, padded, mKernels.weightLevels, 0, bytes, mKeyScales.data() + place);
      for (int line = 0; line < padded / 4; ++line)
        std::memcpy(lines + (static_cast<std::size_t>(i / kGroupRows) * (padded / 4) + line) * 64 + i % kGroupRows * 4,
                    bytes + line * 4, 4);
    }
    for (int pair = 0; pair < kVisionKeyBlock / 2; ++pair) {
      float both[2][kMaxHeadDim] = {};
      for (int which = 0; which < 2; ++which) {
        const int token = begin + 2 * pair + which;
        const float* value = mValue.data() + static_cast<std::size_t>(token) * hidden + head * dim;
        for (int d = 0; d < dim && token < tokens; ++d)
          both[which][d] = inverse[d] > 0.0f ? value[d] * inverse[d] : 0.0f;
      }
      for (int d = 0; d < padded; d += kGroupRows) {
        // Adding 1.5 · 2^23 rounds to a whole number and leaves it in the low bits.
        std::uint32_t line[kGroupRows];
        for (int lane = 0; lane < kGroupRows; ++lane)
          line[lane] = (bitsOfFloat(both[0][d + lane] + 12582912.0f) & 0xffffu) |
                       bitsOfFloat(both[1][d + lane] + 12582912.0f) << 16;
        std::memcpy(values + (static_cast<std::size_t>(d / kGroupRows) * (kVisionKeyBlock / 2) + pair) * sizeof(line),
                    line, sizeof(line));
      }
    }
  });
}

VisionKeys VisionTower::keysOf(int head) const {
  const std::size_t keys = mPaddedKeys, room = keys * mPaddedDim;
  VisionKeys result;
  result.headDim = mPaddedDim;
  result.keys = mKeyLines.data() + head * room;
  result.keyScales = mKeyScales.data() + head * keys;
  result.keyBiases = mKeyBiases.data();
  result.values = mValueLines.data() + head * room * sizeof(std::int16_t);
  result.valueScales = mValueScales.data() + static_cast<std::size_t>(head) * mPaddedDim;
  return result;
}

/** From what `packHeads` left to `mQuery`. */
void VisionTower::attendHeads(const VisionPlan& plan) {
  const auto& vision = mSpec.vision;
  const int tokens = static_cast<int>(plan.tokenPlaces.size()), real = plan.realTokens;
  const int realBlocks = (real + kTaskQueries - 1) / kTaskQueries;
  const int blocks = realBlocks + (tokens - real + kTaskQueries - 1) / kTaskQueries;
  mKeyBiases.reserve(mPaddedKeys);
  std::fill_n(mKeyBiases.data(), mPaddedKeys, 0.0f);
  for (std::size_t i = 0; i < plan.weights.size(); ++i)
    mKeyBiases[i] = std::log2(plan.weights[i]);
  mPool.forEach(vision.attentionHeads * blocks, [&](int index, int worker) {
    const int head = index / blocks, block = index % blocks;
    const bool isReal = block < realBlocks;
    const int begin = isReal ? block * kTaskQueries : real + (block - realBlocks) * kTaskQueries;
    const std::size_t place = head * mPaddedKeys + static_cast<std::size_t>(begin);
    VisionAttention task;
    task.keys = keysOf(head);
    task.keyCount = isReal ? tokens : real;
    task.queryCount = std::min(kTaskQueries, (isReal ? real : tokens) - begin);
    task.queries = {mPaddedDim, mQueryBytes.data() + place * mPaddedDim, mQueryScales.data() + place};
    task.stride = vision.hiddenSize;
    task.outputDim = vision.headDim();
    task.outputs = mQuery.data() + static_cast<std::size_t>(begin) * task.stride + head * task.outputDim;
    task.scratch = mScratch[static_cast<std::size_t>(worker)].data();
    mKernels.attend(task);
  });
}

} // namespace scenebus::cpu
