#include "cpu/decoder/decoder.h"

#include "common/codedError.h"
#include "cpu/kernels/half.h"
#include "cpu/decoder/rope.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace scenebus::cpu {
namespace {

/** Tokens that pass through the layers together: enough to use every unpacked weight many times. */
constexpr int kPassRows = 256;
/** Pieces of a matmul for each thread, so that a thread that was interrupted delays the others little. */
constexpr int kPiecesPerThread = 8;
/** … but, unless threads would have nothing to do, no smaller than what kernels read side by side. */
constexpr int kGroupsPerPiece = 4;

Kernels const& chooseKernels(const DecoderSpec& spec) {
  const auto available = availableInstructionSets();
  const auto set = spec.instructionSet.value_or(available.back());
  if (std::find(available.begin(), available.end(), set) == available.end())
    throw CodedError("ERR_CONFIG_INVALID", "this processor does not have the instruction set " +
                                             std::string(instructionSetName(set)));
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
    throw CodedError("ERR_ARGUMENT_INVALID", "expected a positive context length but received " +
                                               std::to_string(spec.contextLength));
  return spec;
}

} // namespace

/** What a pass over some tokens needs to know of them. */
struct Decoder::Pass {
  int firstPosition = 0;
  int rows = 0;
  std::vector<RowGroup> groups;
  /** For each row: whether it sees an image. */
  std::vector<char> seesImage;
  std::vector<const PlacedImage*> allImages;
};

Decoder::Decoder(const DecoderSpec& spec, CancelFlag abort, const ProgressFunction& progress)
    : mSpec(checked(spec)), mKernels(chooseKernels(spec)),
      mPool(spec.threads > 0 ? spec.threads : physicalCoreCount()), mWeights(spec, mPool, abort, progress),
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

void Decoder::matmuls(const std::vector<Matmul>& list, const float* x, int rows) {
  int groups = 0;
  bool anyPacked = false;
  for (const auto& matmul : list) {
    groups += (matmul.weights->rows() + kGroupRows - 1) / kGroupRows;
    anyPacked = anyPacked || matmul.weights->isPacked;
  }
  if (anyPacked)
    mQuantized.assign(mKernels, mPool, x, rows, list.front().weights->columns());
  const int threads = mPool.threadCount();
  const int pieces = std::min(groups, std::max(threads, std::min(threads * kPiecesPerThread, groups / kGroupsPerPiece)));
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
        mKernels.floatMatmul(weights.stored, from * kGroupRows, std::min(to * kGroupRows, weights.rows()), x, rows,
                              matmul.y, weights.rows());
      begin -= own;
      end -= own;
    }
  });
}

void Decoder::normalize(const float* x, const std::vector<float>& weight, int rows, float* y) {
  const int size = static_cast<int>(weight.size());
  mPool.forEach(rows, [&](int row, int) {
    const std::size_t at = static_cast<std::size_t>(row) * size;
    mKernels.rmsNorm(x + at, weight.data(), size, mSpec.text.rmsNormEps, y + at);
  });
}

/** `to += factor · x`; with `rowsWithImage` only for the rows that see an image. */
void Decoder::addScaled(float* to, const float* x, int rows, float factor, const Pass* rowsWithImage) {
  const int size = mSpec.text.hiddenSize;
  mPool.forEach(rows, [&](int row, int) {
    if (rowsWithImage != nullptr && rowsWithImage->seesImage[static_cast<std::size_t>(row)] == 0)
      return;
    float* a = to + static_cast<std::size_t>(row) * size;
    const float* b = x + static_cast<std::size_t>(row) * size;
    for (int i = 0; i < size; ++i)
      a[i] += factor * b[i];
  });
}

void Decoder::embed(const std::int32_t* tokens, int rows) {
  const int size = mSpec.text.hiddenSize;
  const auto& table = mWeights.embedding;
  mPool.forEach(rows, [&](int row, int) {
    for (int i = 0; i < size; ++i)
      mHidden[static_cast<std::size_t>(row) * size + i] =
          readScalar(table.data, table.type, static_cast<std::size_t>(tokens[row]) * size + i);
  });
}

void Decoder::prepareRotation(int firstPosition, int rows) {
  const int half = mSpec.text.headDim / 2;
  mPool.forEach(rows, [&](int row, int) {
    for (int i = 0; i < half; ++i) {
      // The product in float, as the models were trained and as the references compute it.
      const float angle = static_cast<float>(firstPosition + row) * static_cast<float>(mFrequencies[static_cast<std::size_t>(i)]);
      mCosines[static_cast<std::size_t>(row) * half + i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      mSines[static_cast<std::size_t>(row) * half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  });
}

/** Rotates the pairs (i, i + headDim / 2) of every head of one row. */
void Decoder::rotate(float* x, int heads, int row) const {
  const int half = mSpec.text.headDim / 2;
  const float* cosines = mCosines.data() + static_cast<std::size_t>(row) * half;
  const float* sines = mSines.data() + static_cast<std::size_t>(row) * half;
  for (int head = 0; head < heads; ++head, x += 2 * half) {
    for (int i = 0; i < half; ++i) {
      const float a = x[i], b = x[i + half];
      x[i] = a * cosines[i] - b * sines[i];
      x[i + half] = b * cosines[i] + a * sines[i];
    }
  }
}

/**
 * `mAttended` of the rows `[rowBegin, rowEnd)` from `mQuery`; `runsOfHead[keyValueHead]`, `limits[row − rowBegin]`.
 * The query heads that share a key/value head, of several rows, read the cache together.
 */
void Decoder::attend(const std::vector<KeyValueRun>* runsOfHead, int rowBegin, int rowEnd, const int* limits,
                     CacheType type) {
  const auto& text = mSpec.text;
  const int shared = text.attentionHeads / text.keyValueHeads;
  const int tileRows = kMaxQueries / shared;
  const int tiles = (rowEnd - rowBegin + tileRows - 1) / tileRows;
  const std::size_t stride = static_cast<std::size_t>(text.attentionHeads) * text.headDim;
  mPool.forEach(text.keyValueHeads * tiles, [&](int index, int worker) {
    const int head = index % text.keyValueHeads, tile = index / text.keyValueHeads;
    const float* queries[kMaxQueries];
    float* outputs[kMaxQueries];
    int queryLimits[kMaxQueries];
    AttentionTask task;
    const int first = rowBegin + tile * tileRows;
    for (int row = first; row < std::min(first + tileRows, rowEnd); ++row) {
      for (int i = 0; i < shared; ++i, ++task.queryCount) {
        const std::size_t at = static_cast<std::size_t>(row) * stride + static_cast<std::size_t>(head * shared + i) * text.headDim;
        queries[task.queryCount] = mQuery.data() + at;
        outputs[task.queryCount] = mAttended.data() + at;
        queryLimits[task.queryCount] = limits[row - rowBegin];
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
  normalize(mHidden.data(), layer.inputNorm, pass.rows, mNormed.data());
  matmuls({{&layer.query, mQuery.data()}, {&layer.key, mKey.data()}, {&layer.value, mValue.data()}}, mNormed.data(),
           pass.rows);
  mPool.forEach(pass.rows, [&](int row, int) {
    const std::size_t keyValueAt = static_cast<std::size_t>(row) * text.keyValueHeads * text.headDim;
    rotate(mQuery.data() + static_cast<std::size_t>(row) * text.attentionHeads * text.headDim, text.attentionHeads, row);
    rotate(mKey.data() + keyValueAt, text.keyValueHeads, row);
    for (int head = 0; head < text.keyValueHeads; ++head) {
      const std::size_t at = keyValueAt + static_cast<std::size_t>(head) * text.headDim;
      sequence.cache.store(selfIndex, head, pass.firstPosition + row, mKey.data() + at, mValue.data() + at);
    }
  });
  std::vector<std::vector<KeyValueRun>> runs;
  for (int head = 0; head < text.keyValueHeads; ++head)
    runs.push_back({sequence.cache.run(selfIndex, head, pass.firstPosition + pass.rows)});
  std::vector<int> limits(static_cast<std::size_t>(pass.rows));
  for (int row = 0; row < pass.rows; ++row)
    limits[static_cast<std::size_t>(row)] = pass.firstPosition + row + 1;
  attend(runs.data(), 0, pass.rows, limits.data(), sequence.cache.type());
  matmuls({{&layer.output, mUpdate.data()}}, mAttended.data(), pass.rows);
  addScaled(mHidden.data(), mUpdate.data(), pass.rows, 1.0f, nullptr);
  mlp(layer, pass.rows);
  addScaled(mHidden.data(), mUpdate.data(), pass.rows, 1.0f, nullptr);
}

/**
 * Two gates for each row. The attention result of a row that sees no image counts nothing in Meta's implementation; in
 * Hugging Face's releases it is what the row gets from all keys of all images without a mask. Its MLP counts nothing in
 * both.
 */
void Decoder::crossLayer(const LayerWeights& layer, int crossIndex, const Pass& pass) {
  const auto& text = mSpec.text;
  const bool anySees = std::find(pass.seesImage.begin(), pass.seesImage.end(), 1) != pass.seesImage.end();
  if (!anySees && !mSpec.maskedRowsAttend)
    return;
  normalize(mHidden.data(), layer.inputNorm, pass.rows, mNormed.data());
  matmuls({{&layer.query, mQuery.data()}}, mNormed.data(), pass.rows);
  const std::size_t rowSize = static_cast<std::size_t>(text.attentionHeads) * text.headDim;
  mPool.forEach(pass.rows, [&](int row, int) {
    for (int head = 0; head < text.attentionHeads; ++head) {
      float* q = mQuery.data() + static_cast<std::size_t>(row) * rowSize + static_cast<std::size_t>(head) * text.headDim;
      mKernels.rmsNorm(q, layer.queryNorm.data(), text.headDim, text.rmsNormEps, q);
    }
  });
  for (const auto& group : pass.groups) {
    const bool masked = group.visible.empty();
    if (masked && !mSpec.maskedRowsAttend) {
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
  matmuls({{&layer.output, mUpdate.data()}}, mAttended.data(), pass.rows);
  addScaled(mHidden.data(), mUpdate.data(), pass.rows, layer.attentionGate, mSpec.maskedRowsAttend ? nullptr : &pass);
  mlp(layer, pass.rows);
  addScaled(mHidden.data(), mUpdate.data(), pass.rows, layer.mlpGate, &pass);
}

/** `mUpdate = down(silu(gate(u)) · up(u))`, `u = norm(mHidden)`. */
void Decoder::mlp(const LayerWeights& layer, int rows) {
  const int size = mSpec.text.intermediateSize;
  normalize(mHidden.data(), layer.postAttentionNorm, rows, mNormed.data());
  matmuls({{&layer.gate, mGate.data()}, {&layer.up, mUp.data()}}, mNormed.data(), rows);
  mPool.forEach(rows, [&](int row, int) {
    const std::size_t at = static_cast<std::size_t>(row) * size;
    mKernels.siluMultiply(mGate.data() + at, mUp.data() + at, size, mGate.data() + at);
  });
  matmuls({{&layer.down, mUpdate.data()}}, mGate.data(), rows);
}

// --- calls -----------------------------------------------------------------------------------------------------

/**
 * An image is seen from its token up to the next image's, the last one to the end; of adjacent images each
 * is seen as far as the last of the run. Consecutive rows with the same images form a group.
 */
std::vector<Decoder::RowGroup> Decoder::groupRows(const std::vector<PlacedImage>& images, int firstPosition,
                                                  int rows) const {
  std::vector<int> ends(images.size());
  int following = std::numeric_limits<int>::max();
  for (std::size_t i = images.size(); i-- > 0;) {
    const bool last = i + 1 == images.size();
    const bool adjacent = !last && images[i + 1].tokenIndex == images[i].tokenIndex + 1;
    ends[i] = last || adjacent ? following : images[i + 1].tokenIndex;
    following = ends[i];
  }
  std::vector<RowGroup> groups;
  for (int row = 0; row < rows; ++row) {
    RowGroup group{row, row + 1, {}};
    const int position = firstPosition + row;
    for (std::size_t i = 0; i < images.size(); ++i)
      if (position >= images[i].tokenIndex && position < ends[i])
        group.visible.push_back(&images[i]);
    if (!groups.empty() && groups.back().visible == group.visible)
      groups.back().end = row + 1;
    else
      groups.push_back(std::move(group));
  }
  return groups;
}

void Decoder::forward(Sequence& sequence, const std::int32_t* tokens, int count,
                      const std::vector<PlacedImage>& images, bool allLogits, float* logits, CancelFlag abort) {
  const std::lock_guard<std::mutex> lock(mMutex);
  const auto& text = mSpec.text;
  if (count <= 0)
    throw CodedError("ERR_ARGUMENT_INVALID", "expected at least one token");
  if (count > sequence.cache.capacity() - sequence.length)
    throw CodedError("ERR_CONTEXT_OVERFLOW", std::to_string(sequence.length) + " + " + std::to_string(count) +
                                               " tokens exceed the context of " +
                                               std::to_string(sequence.cache.capacity()));
  for (int i = 0; i < count; ++i)
    if (tokens[i] < 0 || tokens[i] >= text.embeddingRows)
      throw CodedError("ERR_ARGUMENT_INVALID", "expected token ids below " + std::to_string(text.embeddingRows) +
                                                 " but received " + std::to_string(tokens[i]));

  const int most = std::min(count, kPassRows);
  const std::size_t rowsMost = static_cast<std::size_t>(most);
  const std::size_t querySize = rowsMost * text.attentionHeads * text.headDim;
  const std::size_t keyValueSize = rowsMost * text.keyValueHeads * text.headDim;
  for (auto* buffer : {&mHidden, &mNormed, &mUpdate})
    buffer->reserve(rowsMost * text.hiddenSize);
  for (auto* buffer : {&mQuery, &mAttended})
    buffer->reserve(querySize);
  for (auto* buffer : {&mKey, &mValue})
    buffer->reserve(keyValueSize);
  for (auto* buffer : {&mGate, &mUp})
    buffer->reserve(rowsMost * text.intermediateSize);
  for (auto* buffer : {&mCosines, &mSines})
    buffer->reserve(rowsMost * text.headDim / 2);

  for (int done = 0; done < count; done += kPassRows) {
    Pass pass;
    pass.firstPosition = sequence.length + done;
    pass.rows = std::min(kPassRows, count - done);
    pass.groups = groupRows(images, pass.firstPosition, pass.rows);
    pass.seesImage.assign(static_cast<std::size_t>(pass.rows), 0);
    for (const auto& group : pass.groups)
      std::fill(pass.seesImage.begin() + group.begin, pass.seesImage.begin() + group.end,
                static_cast<char>(group.visible.empty() ? 0 : 1));
    for (const auto& image : images)
      pass.allImages.push_back(&image);

    embed(tokens + done, pass.rows);
    prepareRotation(pass.firstPosition, pass.rows);
    int selfIndex = 0, crossIndex = 0;
    for (const auto& layer : mWeights.layers) {
      abort.check();
      if (!layer.isCross)
        selfLayer(layer, selfIndex++, sequence, pass);
      else if (!images.empty())
        crossLayer(layer, crossIndex++, pass);
    }
    abort.check();
    const bool lastPass = done + pass.rows == count;
    if (allLogits || lastPass) {
      const int first = allLogits ? 0 : pass.rows - 1;
      const int rows = pass.rows - first;
      normalize(mHidden.data() + static_cast<std::size_t>(first) * text.hiddenSize, mWeights.finalNorm, rows,
                mNormed.data());
      matmuls({{&mWeights.head, logits + (allLogits ? static_cast<std::size_t>(done) * text.vocabularySize : 0)}},
               mNormed.data(), rows);
    }
  }
  sequence.length += count;
}

std::shared_ptr<const ImageKeys> Decoder::encodeKeys(const float* features, int positions, int visible,
                                                     CancelFlag abort) {
  const std::lock_guard<std::mutex> lock(mMutex);
  const auto& text = mSpec.text;
  if (positions <= 0 || visible <= 0 || visible > positions)
    throw CodedError("ERR_ARGUMENT_INVALID", "expected 1 to " + std::to_string(positions) +
                                               " visible positions but received " + std::to_string(visible));
  // Without the switch nobody looks at unused tiles.
  const int kept = mSpec.maskedRowsAttend ? positions : visible;
  auto image = std::shared_ptr<ImageKeys>(new ImageKeys{
      KeyValueCache(static_cast<int>(text.crossAttentionLayers.size()), text.keyValueHeads, text.headDim, kept,
                    mSpec.keyValueType),
      visible, kept});
  const std::size_t rowSize = static_cast<std::size_t>(text.keyValueHeads) * text.headDim;
  mKey.reserve(kPassRows * rowSize);
  mValue.reserve(kPassRows * rowSize);
  int crossIndex = 0;
  for (const auto& layer : mWeights.layers) {
    if (!layer.isCross)
      continue;
    for (int done = 0; done < kept; done += kPassRows) {
      abort.check();
      const int rows = std::min(kPassRows, kept - done);
      matmuls({{&layer.key, mKey.data()}, {&layer.value, mValue.data()}},
               features + static_cast<std::size_t>(done) * text.hiddenSize, rows);
      mPool.forEach(rows, [&](int row, int) {
        for (int head = 0; head < text.keyValueHeads; ++head) {
          const std::size_t at = static_cast<std::size_t>(row) * rowSize + static_cast<std::size_t>(head) * text.headDim;
          mKernels.rmsNorm(mKey.data() + at, layer.keyNorm.data(), text.headDim, text.rmsNormEps, mKey.data() + at);
          image->cache.store(crossIndex, head, done + row, mKey.data() + at, mValue.data() + at);
        }
      });
    }
    ++crossIndex;
  }
  return image;
}

} // namespace scenebus::cpu
