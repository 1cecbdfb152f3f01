#pragma once
#include "cpu/decoder/attentionTap.h"
#include "cpu/decoder/weights.h"
#include "cpu/memory/keyValueCache.h"
#include "cpu/memory/quantizedActivations.h"

#include <memory>
#include <mutex>
#include <vector>

namespace scenebus::cpu {

/** Cross-attention keys and values of one image, for every cross layer. Immutable once made. */
struct ImageKeys {
  KeyValueCache cache;
  /** Positions that text tokens attend to: those of the used tiles, which come first. */
  int visible;
  /** All positions. */
  int total;
};

/** An image and the position of its `<|image|>` token in the sequence. */
struct PlacedImage {
  std::shared_ptr<const ImageKeys> keys;
  int tokenIndex = 0;
};

/** The self-attention K/V cache of one conversation. Forgetting tokens is a smaller `length`. */
struct Sequence {
  KeyValueCache cache;
  int length = 0;
};

/** Of which tokens of a call logits are wanted. */
enum class LogitsOf { kNone, kLast, kAll };

/**
 * The text decoder of the Mllama architecture: tokens in, logits out. One call at a time; others wait. A call computes
 * on the calling thread and on the pool's workers.
 */
class Decoder {
public:
  /** @throws CodedError and Aborted, see `DecoderWeights`. */
  Decoder(const DecoderSpec& spec, CancelFlag abort, const ProgressFunction& progress);

  std::unique_ptr<Sequence> createSequence() const;

  /**
   * Cross-attention K/V of every cross layer from projected vision features.
   * @param features `[positions][hiddenSize]`, used tiles first
   * @param visible positions of the used tiles
   */
  std::shared_ptr<const ImageKeys> encodeKeys(const float* features, int positions, int visible, CancelFlag abort);

  /**
   * Appends `count` tokens.
   * @param images all images of the sequence in order of position; none skips the cross layers
   * @param logitsOf kNone, for a piece of a prompt that goes on: the last matrix is left out
   * @param logits `[tokens with logits][vocabularySize]`; not touched with kNone
   * @param taps nullptr, as nearly always: nobody looks at the attention
   * @throws CodedError ERR_CONTEXT_OVERFLOW, ERR_ARGUMENT_INVALID; Aborted. The sequence is then as before.
   */
  void forward(Sequence& sequence, const std::int32_t* tokens, int count, const std::vector<PlacedImage>& images,
               LogitsOf logitsOf, float* logits, CancelFlag abort, const AttentionTaps* taps = nullptr);

  /**
   * Logits of alternatives that all go on from the end of the sequence, computed together; none sees another, and the
   * sequence is as before. They are kept behind it while the call lasts, so that it takes `branchSlots` of its
   * capacity.
   * @param tokens of one alternative after the other, 256 at most
   * @param lengths of each, at least 1
   * @param images all of them within the sequence
   * @param logits `[tokens][vocabularySize]`
   * @throws as `forward`
   */
  void branch(Sequence& sequence, const std::int32_t* tokens, const std::vector<int>& lengths,
              const std::vector<PlacedImage>& images, float* logits, CancelFlag abort);
  /** Positions of a sequence of `length` tokens with alternatives behind it: each begins at a block of its own. */
  static int branchSlots(int length, const std::vector<int>& lengths);

  const DecoderSpec& spec() const { return mSpec; }
  const DecoderWeights& weights() const { return mWeights; }
  InstructionSet instructionSet() const { return mKernels.set; }
  int threadCount() const { return mPool.threadCount(); }
  /** Memory for packed weights that have no file. The pages of mapped files are the system's cache. */
  std::size_t memoryBytes() const;

private:
  struct Matmul {
    const Linear* weights;
    float* y;
  };
  /** Tokens of a call that attend to the same images, or to none. */
  struct TokenGroup {
    int begin = 0, end = 0;
    std::vector<const PlacedImage*> visible;
  };
  struct Branch;
  struct Pass;

  void matmuls(const std::vector<Matmul>& list, const float* x, int tokenCount);
  void normalize(const float* x, const std::vector<float>& weight, int tokenCount, float* y);
  void addScaled(float* to, const float* x, int tokenCount, float factor, const Pass* tokensWithImage);
  void embed(const std::int32_t* tokens, int tokenCount);
  void prepareRotation(const Pass& pass);
  void rotate(float* x, int heads, int token) const;
  void attend(const std::vector<KeyValueRun>* runsOfHead, int tokenBegin, int tokenEnd, const int* limits,
              CacheType type);
  void selfLayer(const LayerWeights& layer, int selfIndex, Sequence& sequence, const Pass& pass);
  void crossLayer(const LayerWeights& layer, int crossIndex, const Pass& pass);
  void tapCrossLayer(int crossIndex, const Pass& pass);
  void mlp(const LayerWeights& layer, int tokenCount);
  void checkTokens(const std::int32_t* tokens, int count) const;
  void reservePass(int tokenCount);
  void runLayers(Sequence& sequence, const std::int32_t* tokens, const std::vector<PlacedImage>& images,
                 const Pass& pass, CancelFlag abort);
  void placeImages(Pass& pass, const std::vector<PlacedImage>& images) const;
  std::vector<TokenGroup> groupTokens(const std::vector<PlacedImage>& images, int firstPosition, int tokenCount) const;

  DecoderSpec mSpec;
  const Kernels& mKernels;
  ThreadPool mPool;
  DecoderWeights mWeights;
  std::vector<double> mFrequencies; // [headDim / 2]
  std::mutex mMutex;

  // Working memory of one pass over at most kPassTokens tokens.
  QuantizedActivations mQuantized;
  AlignedBuffer<float> mHidden, mNormed, mQuery, mKey, mValue, mAttended, mUpdate, mGate, mUp;
  AlignedBuffer<float> mCosines, mSines;      // [tokens][headDim / 2]
  std::vector<AlignedBuffer<float>> mScratch; // one for each thread
};

} // namespace scenebus::cpu
