#include "cpu/decoder/decoder.h"

#include "common/codedError.h"
#include "cpu/decoder/rope.h"
#include "cpu/kernels/half.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace scenebus::cpu {
namespace {

/** Tokens that pass through the layers together: enough to use every unpacked weight many times. */
constexpr int kPassTokens = 256;
/** Pieces of a matmul for each thread, so that a thread that was interrupted delays the others little. */
constexpr int kPiecesPerThread = 8;
/** … but, unless threads would have nothing to do, no smaller than what kernels read side by side. */
constexpr int kGroupsPerPiece = 4;

Kernels const& chooseKernels(const DecoderSpec& spec) {
  const auto available = availableInstructionSets();
  const auto set = spec.instructionSet.value_or(available.back());
  if (std::find(available.begin(), available.end(), set) == available.end())
    throw CodedError("ERR_CONFIG_INVALID",
                     "this processor does not have the instruction set " + std::string(instructionSetName(set)));
  return kernelsFor(set);
}

const DecoderSpec& checked(const DecoderSpec& spec) {
  const auto& text = spec.text;
  if (text.headDim % kKeyBlock != 0 || text.headDim <= 0 || text.keyValueHeads <= 0 ||
      text.attentionHeads % text.keyValueHeads != 0 || text.attentionHeads / text.keyValueHeads > kMaxQueries)
    throw CodedError("ERR_MODEL_UNSUPPORTED",
                     "the cpu backend takes head sizes that are multiples of 16 and up to 32 query heads for each "
                     "key/value head; use the onnx backend for this model");
  if (spec.contextLength <= 0)
    throw CodedError("ERR_ARGUMENT_INVALID",
                     "expected a positive context length but received " + std::to_string(spec.contextLength));
  return spec;
}

} // namespace

/** Tokens `[begin, end)` of a pass, kept from the cache's position `slot` on. */
struct Decoder::Branch {
  int begin = 0, end = 0;
  int slot = 0;
};

/** What a pass over some tokens needs to know of them. */
struct Decoder::Pass {
  int firstPosition = 0;
  int tokenCount = 0;
  /** Alternatives that its tokens are, one after the other; empty: a text. */
  std::vector<Branch> branches;
  std::vector<TokenGroup> groups;
  /** For each token: whether it sees an image. */
  std::vector<char> seesImage;
  std::vector<const PlacedImage*> allImages;
  /** What is wanted of the whole call, of which this pass begins at `tapOffset`. */
  const AttentionTaps* taps = nullptr;
  int tapOffset = 0;
};

Decoder::Decoder(const DecoderSpec& spec, CancelFlag abort, const ProgressFunction& progress)
    : mSpec(checked(spec)), mKernels(chooseKernels(spec)), mPool(spec.threads > 0 ? spec.threads : physicalCoreCount()),
      mWeights(spec, mPool, abort, progress),
      mFrequencies(ropeFrequencies(spec.text.headDim, spec.text.ropeTheta, spec.text.ropeScaling)) {
  for (int i = 0; i < mPool.threadCount(); ++i)
    mScratch.emplace_back(kAttendScratch);
}

std::unique_ptr<Sequence> Decoder::createSequence() const {
  const auto& text = mSpec.text;
  const int selfLayers = text.layers - static_cast<int>(text.crossAttentionLayers.size());
  return std::unique_ptr<Sequence>(new Sequence{
      KeyValueCache(selfLayers, text.keyValueHeads, text.headDim, mSpec.contextLength, mSpec.keyValueType), 0});
}

std::size_t Decoder::memoryBytes() const {
  const PackedStore* store = mWeights.store();
  return store != nullptr && store->origin() == PackedStore::Origin::kInMemory ? store->sizeBytes() : 0;
}

// --- building blocks -------------------------------------------------------------------------------------------

void Decoder::matmuls(const std::vector<Matmul>& list, const float* x, int tokenCount) {
  int groups = 0;
  bool anyPacked = false;
  for (const auto& matmul : list) {
    groups += (matmul.weights->rows() + kGroupRows - 1) / kGroupRows;
    anyPacked = anyPacked || matmul.weights->isPacked;
  }
  if (anyPacked)
    mQuantized.assign(mKernels, mPool, x, tokenCount, list.front().weights->columns());
  const int threads = mPool.threadCount();
  const int pieces =
      std::min(groups, std::max(threads, std::min(threads * kPiecesPerThread, groups / kGroupsPerPiece)));
  mPool.forEach(pieces, [&](int piece, int) {
    int begin = static_cast<int>(static_cast<std::int64_t>(groups) * piece / pieces);
    int end = static_cast<int>(static_cast<std::int64_t>(groups) * (piece + 1) / pieces);
    for (const auto& matmul : list) {
      const Linear& weights = *matmul.weights;
      const int own = (weights.rows() + kGroupRows - 1) / kGroupRows;
      const int from = std::min(std::max(begin, 0), own), to = std::min(std::max(end, 0), own);
      if (from < to && weights.isPacked)
        mKernels.packedMatmul(weights.packed, from, to, mQuantized.view(), matmul.y, weights.rows());
      else if (from < to)
        mKernels.floatMatmul(weights.stored, from * kGroupRows, std::min(to * kGroupRows, weights.rows()), x,
                             tokenCount, matmul.y, weights.rows());
      begin -= own;
      end -= own;
    }
  });
}

void Decoder::normalize(const float* x, const std::vector<float>& weight, int tokenCount, float* y) {
  const int size = static_cast<int>(weight.size());
  mPool.forEach(tokenCount, [&](int token, int) {
    const std::size_t at = static_cast<std::size_t>(token) * size;
    mKernels.rmsNorm(x + at, weight.data(), size, mSpec.text.rmsNormEps, y + at);
  });
}

/** `to += factor · x`; with `tokensWithImage` only for the tokens that see an image. */
void Decoder::addScaled(float* to, const float* x, int tokenCount, float factor, const Pass* tokensWithImage) {
  const int size = mSpec.text.hiddenSize;
  mPool.forEach(tokenCount, [&](int token, int) {
    if (tokensWithImage != nullptr && tokensWithImage->seesImage[static_cast<std::size_t>(token)] == 0)
      return;
    float* a = to + static_cast<std::size_t>(token) * size;
    const float* b = x + static_cast<std::size_t>(token) * size;
    for (int i = 0; i < size; ++i)
      a[i] += factor * b[i];
  });
}

void Decoder::embed(const std::int32_t* tokens, int tokenCount) {
  const int size = mSpec.text.hiddenSize;
  const auto& table = mWeights.embedding;
  mPool.forEach(tokenCount, [&](int token, int) {
    for (int i = 0; i < size; ++i)
      mHidden[static_cast<std::size_t>(token) * size + i] =
          readScalar(table.data, table.type, static_cast<std::size_t>(tokens[token]) * size + i);
  });
}

void Decoder::prepareRotation(const Pass& pass) {
  const int half = mSpec.text.headDim / 2;
  std::vector<int> positions(static_cast<std::size_t>(pass.tokenCount));
  std::iota(positions.begin(), positions.end(), pass.firstPosition);
  for (const auto& branch : pass.branches)
    std::iota(positions.begin() + branch.begin, positions.begin() + branch.end, pass.firstPosition);
  mPool.forEach(pass.tokenCount, [&](int token, int) {
    const float position = static_cast<float>(positions[static_cast<std::size_t>(token)]);
    for (int i = 0; i < half; ++i) {
      // The product in float, as the models were trained and as the references compute it.
      const float angle = position * static_cast<float>(mFrequencies[static_cast<std::size_t>(i)]);
      mCosines[static_cast<std::size_t>(token) * half + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      mSines[static_cast<std::size_t>(token) * half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  });
}

/** Rotates the pairs (i, i + headDim / 2) of every head of one token. */
void Decoder::rotate(float* x, int heads, int token) const {
  const int half = mSpec.text.headDim / 2;
  const float* cosines = mCosines.data() + static_cast<std::size_t>(token) * half;
  const float* sines = mSines.data() + static_cast<std::size_t>(token) * half;
  for (int head = 0; head < heads; ++head, x += 2 * half) {
    for (int i = 0; i < half; ++i) {
      const float a = x[i], b = x[i + half];
      x[i] = a * cosines[i] - b * sines[i];
      x[i + half] = b * cosines[i] + a * sines[i];
    }
  }
}

/**
 * `mAttended` of the tokens `[tokenBegin, tokenEnd)` from `mQuery`; `runsOfHead[keyValueHead]`, `limits[token −
 * tokenBegin]`. The query heads that share a key/value head, of several tokens, read the cache together.
 */
void Decoder::attend(const std::vector<KeyValueRun>* runsOfHead, int tokenBegin, int tokenEnd, const int* limits,
                     CacheType type) {
  const auto& text = mSpec.text;
  const int shared = text.attentionHeads / text.keyValueHeads;
  const int tileTokens = kMaxQueries / shared;
  const int tiles = (tokenEnd - tokenBegin + tileTokens - 1) / tileTokens;
  const std::size_t stride = static_cast<std::size_t>(text.attentionHeads) * text.headDim;
  mPool.forEach(text.keyValueHeads * tiles, [&](int index, int worker) {
    const int head = index % text.keyValueHeads, tile = index / text.keyValueHeads;
    const float* queries[kMaxQueries];
    float* outputs[kMaxQueries];
    int queryLimits[kMaxQueries];
    AttentionTask task;
    const int first = tokenBegin + tile * tileTokens;
    for (int token = first; token < std::min(first + tileTokens, tokenEnd); ++token) {
      for (int i = 0; i < shared; ++i, ++task.queryCount) {
        const std::size_t at =
            static_cast<std::size_t>(token) * stride + static_cast<std::size_t>(head * shared + i) * text.headDim;
        queries[task.queryCount] = mQuery.data() + at;
        outputs[task.queryCount] = mAttended.data() + at;
        queryLimits[task.queryCount] = limits[token - tokenBegin];
      }
    }
    task.runs = runsOfHead[head].data();
    task.runCount = static_cast<int>(runsOfHead[head].size());
    task.type = type;
    task.headDim = text.headDim;
    task.scale = 1.0f / std::sqrt(static_cast<float>(text.headDim));
    task.queries = queries;
    task.outputs = outputs;
    task.limits = queryLimits;
    task.scratch = mScratch[static_cast<std::size_t>(worker)].data();
    mKernels.attend(task);
  });
}

// --- layers ----------------------------------------------------------------------------------------------------

void Decoder::selfLayer(const LayerWeights& layer, int selfIndex, Sequence& sequence, const Pass& pass) {
  const auto& text = mSpec.text;
  normalize(mHidden.data(), layer.inputNorm, pass.tokenCount, mNormed.data());
  matmuls({{&layer.query, mQuery.data()}, {&layer.key, mKey.data()}, {&layer.value, mValue.data()}}, mNormed.data(),
          pass.tokenCount);
  std::vector<int> slots(static_cast<std::size_t>(pass.tokenCount));
  std::iota(slots.begin(), slots.end(), pass.firstPosition);
  for (const auto& branch : pass.branches)
    std::iota(slots.begin() + branch.begin, slots.begin() + branch.end, branch.slot);
  mPool.forEach(pass.tokenCount, [&](int token, int) {
    const std::size_t keyValueAt = static_cast<std::size_t>(token) * text.keyValueHeads * text.headDim;
    rotate(mQuery.data() + static_cast<std::size_t>(token) * text.attentionHeads * text.headDim, text.attentionHeads,
           token);
    rotate(mKey.data() + keyValueAt, text.keyValueHeads, token);
    for (int head = 0; head < text.keyValueHeads; ++head) {
      const std::size_t at = keyValueAt + static_cast<std::size_t>(head) * text.headDim;
      sequence.cache.store(selfIndex, head, slots[static_cast<std::size_t>(token)], mKey.data() + at,
                           mValue.data() + at);
    }
  });
  const auto& cache = sequence.cache;
  std::vector<std::vector<KeyValueRun>> runs(static_cast<std::size_t>(text.keyValueHeads));
  std::vector<int> limits(static_cast<std::size_t>(pass.tokenCount));
  std::iota(limits.begin(), limits.end(), pass.firstPosition + 1);
  for (const auto& branch : pass.branches) {
    for (int head = 0; head < text.keyValueHeads; ++head)
      runs[static_cast<std::size_t>(head)] = {cache.run(selfIndex, head, pass.firstPosition),
                                              cache.run(selfIndex, head, branch.end - branch.begin, branch.slot)};
    attend(runs.data(), branch.begin, branch.end, limits.data(), cache.type());
  }
  if (pass.branches.empty()) {
    for (int head = 0; head < text.keyValueHeads; ++head)
      runs[static_cast<std::size_t>(head)] = {cache.run(selfIndex, head, pass.firstPosition + pass.tokenCount)};
    attend(runs.data(), 0, pass.tokenCount, limits.data(), cache.type());
  }
  matmuls({{&layer.output, mUpdate.data()}}, mAttended.data(), pass.tokenCount);
  addScaled(mHidden.data(), mUpdate.data(), pass.tokenCount, 1.0f, nullptr);
  mlp(layer, pass.tokenCount);
  addScaled(mHidden.data(), mUpdate.data(), pass.tokenCount, 1.0f, nullptr);
}

/**
 * Two gates for each token. The attention result of a token that sees no image counts nothing in Meta's implementation;
 * in Hugging Face's releases it is what the token gets from all keys of all images without a mask. Its MLP counts
 * nothing in both.
 */
void Decoder::crossLayer(const LayerWeights& layer, int crossIndex, const Pass& pass) {
  const auto& text = mSpec.text;
  const bool anySees = std::find(pass.seesImage.begin(), pass.seesImage.end(), 1) != pass.seesImage.end();
  if (!anySees && !mSpec.maskedTokensAttend)
    return;
  normalize(mHidden.data(), layer.inputNorm, pass.tokenCount, mNormed.data());
  matmuls({{&layer.query, mQuery.data()}}, mNormed.data(), pass.tokenCount);
  const std::size_t rowSize = static_cast<std::size_t>(text.attentionHeads) * text.headDim;
  mPool.forEach(pass.tokenCount, [&](int token, int) {
    for (int head = 0; head < text.attentionHeads; ++head) {
      float* q =
          mQuery.data() + static_cast<std::size_t>(token) * rowSize + static_cast<std::size_t>(head) * text.headDim;
      mKernels.rmsNorm(q, layer.queryNorm.data(), text.headDim, text.rmsNormEps, q);
    }
  });
  if (pass.taps != nullptr)
    tapCrossLayer(crossIndex, pass);
  for (const auto& group : pass.groups) {
    const bool masked = group.visible.empty();
    if (masked && !mSpec.maskedTokensAttend) {
      std::fill(mAttended.data() + static_cast<std::size_t>(group.begin) * rowSize,
                mAttended.data() + static_cast<std::size_t>(group.end) * rowSize, 0.0f);
      continue;
    }
    std::vector<std::vector<KeyValueRun>> runs(static_cast<std::size_t>(text.keyValueHeads));
    int positions = 0;
    CacheType type = mSpec.keyValueType;
    for (const auto* image : masked ? pass.allImages : group.visible) {
      const int count = masked ? image->keys->total : image->keys->visible;
      for (int head = 0; head < text.keyValueHeads; ++head)
        runs[static_cast<std::size_t>(head)].push_back(image->keys->cache.run(crossIndex, head, count));
      positions += count;
      type = image->keys->cache.type();
    }
    const std::vector<int> limits(static_cast<std::size_t>(group.end - group.begin), positions);
    attend(runs.data(), group.begin, group.end, limits.data(), type);
  }
  matmuls({{&layer.output, mUpdate.data()}}, mAttended.data(), pass.tokenCount);
  addScaled(mHidden.data(), mUpdate.data(), pass.tokenCount, layer.attentionGate,
            mSpec.maskedTokensAttend ? nullptr : &pass);
  mlp(layer, pass.tokenCount);
  addScaled(mHidden.data(), mUpdate.data(), pass.tokenCount, layer.mlpGate, &pass);
}

/** Attention weights of the tapped heads of a layer over the images that each tapped token sees, from `mQuery`. */
void Decoder::tapCrossLayer(int crossIndex, const Pass& pass) {
  const auto& text = mSpec.text;
  const auto& taps = *pass.taps;
  const int layer = text.crossAttentionLayers[static_cast<std::size_t>(crossIndex)];
  const int shared = text.attentionHeads / text.keyValueHeads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(text.headDim));
  mPool.forEach(static_cast<int>(taps.heads.size() * taps.tokens.size()), [&](int index, int) {
    const auto& tap = taps.heads[static_cast<std::size_t>(index) / taps.tokens.size()];
    const int token = taps.tokens[static_cast<std::size_t>(index) % taps.tokens.size()] - pass.tapOffset;
    if (tap.layer != layer || token < 0 || token >= pass.tokenCount)
      return;
    const auto group = std::find_if(pass.groups.begin(), pass.groups.end(),
                                    [token](const TokenGroup& each) { return token < each.end; });
    const float* query =
        mQuery.data() +
        (static_cast<std::size_t>(token) * text.attentionHeads + static_cast<std::size_t>(tap.head)) * text.headDim;
    std::vector<float> scores(static_cast<std::size_t>(taps.positions));
    int seen = 0;
    for (const auto* image : group->visible) {
      const int count = image->keys->visible;
      const auto run = image->keys->cache.run(crossIndex, tap.head / shared, count);
      scoreKeys(query, run, image->keys->cache.type(), text.headDim, scale, scores.data() + seen);
      seen += count;
    }
    softmax(scores.data(), seen);
    float* weights = taps.weights + static_cast<std::size_t>(index) * taps.positions;
    int from = 0;
    for (const auto* image : pass.allImages) {
      const int count = image->keys->visible;
      if (std::find(group->visible.begin(), group->visible.end(), image) != group->visible.end()) {
        std::copy(scores.data() + from, scores.data() + from + count, weights);
        from += count;
      }
      weights += count;
    }
  });
}

/** `mUpdate = down(silu(gate(u)) · up(u))`, `u = norm(mHidden)`. */
void Decoder::mlp(const LayerWeights& layer, int tokenCount) {
  const int size = mSpec.text.intermediateSize;
  normalize(mHidden.data(), layer.postAttentionNorm, tokenCount, mNormed.data());
  matmuls({{&layer.gate, mGate.data()}, {&layer.up, mUp.data()}}, mNormed.data(), tokenCount);
  mPool.forEach(tokenCount, [&](int token, int) {
    const std::size_t at = static_cast<std::size_t>(token) * size;
    mKernels.siluMultiply(mGate.data() + at, mUp.data() + at, size, mGate.data() + at);
  });
  matmuls({{&layer.down, mUpdate.data()}}, mGate.data(), tokenCount);
}

// --- calls -----------------------------------------------------------------------------------------------------

/**
 * An image is seen from its token up to the next image's, the last one to the end; of adjacent images each
 * is seen as far as the last of the run. Consecutive tokens with the same images form a group.
 */
std::vector<Decoder::TokenGroup> Decoder::groupTokens(const std::vector<PlacedImage>& images, int firstPosition,
                                                      int tokenCount) const {
  std::vector<int> ends(images.size());
  int following = std::numeric_limits<int>::max();
  for (std::size_t i = images.size(); i-- > 0;) {
    const bool last = i + 1 == images.size();
    const bool adjacent = !last && images[i + 1].tokenIndex == images[i].tokenIndex + 1;
    ends[i] = last || adjacent ? following : images[i + 1].tokenIndex;
    following = ends[i];
  }
  std::vector<TokenGroup> groups;
  for (int token = 0; token < tokenCount; ++token) {
    TokenGroup group{token, token + 1, {}};
    const int position = firstPosition + token;
    for (std::size_t i = 0; i < images.size(); ++i)
      if (position >= images[i].tokenIndex && position < ends[i])
        group.visible.push_back(&images[i]);
    if (!groups.empty() && groups.back().visible == group.visible)
      groups.back().end = token + 1;
    else
      groups.push_back(std::move(group));
  }
  return groups;
}

void Decoder::placeImages(Pass& pass, const std::vector<PlacedImage>& images) const {
  pass.groups = groupTokens(images, pass.firstPosition, pass.tokenCount);
  pass.seesImage.assign(static_cast<std::size_t>(pass.tokenCount), 0);
  for (const auto& group : pass.groups)
    std::fill(pass.seesImage.begin() + group.begin, pass.seesImage.begin() + group.end,
              static_cast<char>(group.visible.empty() ? 0 : 1));
  for (const auto& image : images)
    pass.allImages.push_back(&image);
}

void Decoder::checkTokens(const std::int32_t* tokens, int count) const {
  if (count <= 0)
    throw CodedError("ERR_ARGUMENT_INVALID", "expected at least one token");
  const int rows = mSpec.text.embeddingRows;
  for (int i = 0; i < count; ++i)
    if (tokens[i] < 0 || tokens[i] >= rows)
      throw CodedError("ERR_ARGUMENT_INVALID", "expected token ids below " + std::to_string(rows) + " but received " +
                                                   std::to_string(tokens[i]));
}

void Decoder::reservePass(int tokenCount) {
  const auto& text = mSpec.text;
  const std::size_t most = static_cast<std::size_t>(tokenCount);
  for (auto* buffer : {&mHidden, &mNormed, &mUpdate})
    buffer->reserve(most * text.hiddenSize);
  for (auto* buffer : {&mQuery, &mAttended})
    buffer->reserve(most * text.attentionHeads * text.headDim);
  for (auto* buffer : {&mKey, &mValue})
    buffer->reserve(most * text.keyValueHeads * text.headDim);
  for (auto* buffer : {&mGate, &mUp})
    buffer->reserve(most * text.intermediateSize);
  for (auto* buffer : {&mCosines, &mSines})
    buffer->reserve(most * text.headDim / 2);
}

/** `mHidden` of the pass's tokens behind the last layer. */
void Decoder::runLayers(Sequence& sequence, const std::int32_t* tokens, const std::vector<PlacedImage>& images,
                        const Pass& pass, CancelFlag abort) {
  embed(tokens, pass.tokenCount);
  prepareRotation(pass);
  int selfIndex = 0, crossIndex = 0;
  for (const auto& layer : mWeights.layers) {
    abort.check();
    if (!layer.isCross)
      selfLayer(layer, selfIndex++, sequence, pass);
    else if (!images.empty())
      crossLayer(layer, crossIndex++, pass);
  }
  abort.check();
}

void Decoder::forward(Sequence& sequence, const std::int32_t* tokens, int count, const std::vector<PlacedImage>& images,
                      LogitsOf logitsOf, float* logits, CancelFlag abort, const AttentionTaps* taps) {
  const std::lock_guard<std::mutex> lock(mMutex);
  const auto& text = mSpec.text;
  checkTokens(tokens, count);
  if (count > sequence.cache.capacity() - sequence.length)
    throw CodedError("ERR_CONTEXT_OVERFLOW", std::to_string(sequence.length) + " + " + std::to_string(count) +
                                                 " tokens exceed the context of " +
                                                 std::to_string(sequence.cache.capacity()));
  reservePass(std::min(count, kPassTokens));
  for (int done = 0; done < count; done += kPassTokens) {
    Pass pass;
    pass.firstPosition = sequence.length + done;
    pass.tokenCount = std::min(kPassTokens, count - done);
    placeImages(pass, images);
    pass.taps = taps;
    pass.tapOffset = done;
    runLayers(sequence, tokens + done, images, pass, abort);
    const bool isLastPass = done + pass.tokenCount == count;
    if (logitsOf == LogitsOf::kAll || (logitsOf == LogitsOf::kLast && isLastPass)) {
      const bool ofAll = logitsOf == LogitsOf::kAll;
      const int first = ofAll ? 0 : pass.tokenCount - 1;
      const int tokenCount = pass.tokenCount - first;
      normalize(mHidden.data() + static_cast<std::size_t>(first) * text.hiddenSize, mWeights.finalNorm, tokenCount,
                mNormed.data());
      matmuls({{&mWeights.head, logits + (ofAll ? static_cast<std::size_t>(done) * text.vocabularySize : 0)}},
              mNormed.data(), tokenCount);
    }
  }
  sequence.length += count;
}

namespace {

int roundedToBlock(int position) {
  return (position + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
}

} // namespace

int Decoder::branchSlots(int length, const std::vector<int>& lengths) {
  int slots = roundedToBlock(length);
  for (const int each : lengths)
    slots += roundedToBlock(each);
  return slots;
}

void Decoder::branch(Sequence& sequence, const std::int32_t* tokens, const std::vector<int>& lengths,
                     const std::vector<PlacedImage>& images, float* logits, CancelFlag abort) {
  const std::lock_guard<std::mutex> lock(mMutex);
  Pass pass;
  pass.firstPosition = sequence.length;
  int slot = roundedToBlock(sequence.length);
  for (const int length : lengths) {
    if (length <= 0 || length > kPassTokens - pass.tokenCount)
      throw CodedError("ERR_ARGUMENT_INVALID", "expected alternatives of at least one token and of at most " +
                                                   std::to_string(kPassTokens) + " together");
    pass.branches.push_back({pass.tokenCount, pass.tokenCount + length, slot});
    pass.tokenCount += length;
    slot += roundedToBlock(length);
  }
  checkTokens(tokens, pass.tokenCount);
  if (sequence.length == 0 || (!images.empty() && images.back().tokenIndex >= sequence.length))
    throw CodedError("ERR_ARGUMENT_INVALID", "expected alternatives behind the tokens and images of a sequence");
  if (slot > sequence.cache.capacity())
    throw CodedError("ERR_CONTEXT_OVERFLOW", std::to_string(slot) +
                                                 " positions, of alternatives too, exceed the context of " +
                                                 std::to_string(sequence.cache.capacity()));
  reservePass(pass.tokenCount);
  placeImages(pass, images);
  runLayers(sequence, tokens, images, pass, abort);
  normalize(mHidden.data(), mWeights.finalNorm, pass.tokenCount, mNormed.data());
  matmuls({{&mWeights.head, logits}}, mNormed.data(), pass.tokenCount);
}

std::shared_ptr<const ImageKeys> Decoder::encodeKeys(const float* features, int positions, int visible,
                                                     CancelFlag abort) {
  const std::lock_guard<std::mutex> lock(mMutex);
  const auto& text = mSpec.text;
  if (positions <= 0 || visible <= 0 || visible > positions)
    throw CodedError("ERR_ARGUMENT_INVALID", "expected 1 to " + std::to_string(positions) +
                                                 " visible positions but received " + std::to_string(visible));
  // Without the switch nobody looks at unused tiles.
  const int kept = mSpec.maskedTokensAttend ? positions : visible;
  auto image = std::shared_ptr<ImageKeys>(
      new ImageKeys{KeyValueCache(static_cast<int>(text.crossAttentionLayers.size()), text.keyValueHeads, text.headDim,
                                  kept, mSpec.keyValueType),
                    visible, kept});
  const std::size_t rowSize = static_cast<std::size_t>(text.keyValueHeads) * text.headDim;
  mKey.reserve(kPassTokens * rowSize);
  mValue.reserve(kPassTokens * rowSize);
  int crossIndex = 0;
  for (const auto& layer : mWeights.layers) {
    if (!layer.isCross)
      continue;
    for (int done = 0; done < kept; done += kPassTokens) {
      abort.check();
      const int tokenCount = std::min(kPassTokens, kept - done);
      matmuls({{&layer.key, mKey.data()}, {&layer.value, mValue.data()}},
              features + static_cast<std::size_t>(done) * text.hiddenSize, tokenCount);
      mPool.forEach(tokenCount, [&](int token, int) {
        for (int head = 0; head < text.keyValueHeads; ++head) {
          const std::size_t at =
              static_cast<std::size_t>(token) * rowSize + static_cast<std::size_t>(head) * text.headDim;
          mKernels.rmsNorm(mKey.data() + at, layer.keyNorm.data(), text.headDim, text.rmsNormEps, mKey.data() + at);
          image->cache.store(crossIndex, head, done + token, mKey.data() + at, mValue.data() + at);
        }
      });
    }
    ++crossIndex;
  }
  return image;
}

} // namespace scenebus::cpu
