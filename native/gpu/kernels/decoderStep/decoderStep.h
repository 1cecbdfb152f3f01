#pragma once
#include "gpu/kernels/attention/attention.h"
#include "gpu/kernels/int4MatMul/int4MatMul.h"

#include <vector>

/**
 * A whole int4 decoder step of the Llama-3.2-Vision architecture from these kernels alone, embedding rows in, logits out.
 * TensorRT builds the product's engines from the same operations; this chain shows what they reach together, and runs in
 * the harness on any CUDA machine.
 */
namespace scenebus::kernels {

/** int4, or left in 16 bit: then `half` is f16 `[outputs, inputs]` and of `shape` only outputs and inputs count. */
struct DecoderLinear {
  Int4Weight shape;
  cuda::DevicePointer half = 0;
};

struct DecoderLayer {
  bool isCross = false;
  /** f16 `[hidden]` */
  cuda::DevicePointer inputNorm = 0;
  cuda::DevicePointer postAttentionNorm = 0;
  /** f16 `[headDim]`, cross layers only. */
  cuda::DevicePointer queryNorm = 0;
  /** Cross layers have no key and value here: those are the image's. */
  DecoderLinear query, key, value, output, gate, up, down;
  /** Cross layers only, tanh applied. */
  float attentionGate = 1.0f;
  float mlpGate = 1.0f;
};

struct DecoderModel {
  HeadShape heads;
  int hidden = 0;
  int intermediate = 0;
  int vocabulary = 0;
  float eps = 1e-5f;
  std::vector<DecoderLayer> layers;
  cuda::DevicePointer finalNorm = 0;
  DecoderLinear head;
  /** Positions of the caches; f32 `[capacity, headDim / 2]`. */
  int capacity = 0;
  cuda::DevicePointer cosines = 0;
  cuda::DevicePointer sines = 0;
};

struct DecoderInputs {
  int rows = 0;
  /** f16 `[rows, hidden]` */
  cuda::DevicePointer embeddings = 0;
  /** i32 `[1]` */
  cuda::DevicePointer pastLength = 0;
  /** For each layer: `[kvHeads, capacity, headDim]` of self layers, `[kvHeads, crossKeys, headDim]` of cross layers. */
  std::vector<cuda::DevicePointer> keys;
  std::vector<cuda::DevicePointer> values;
  /** 0: no image, cross layers are left out. */
  int crossKeys = 0;
  /** f32 `[rows, crossKeys]`, `[rows]`, `[rows]`: as `cross_attention_bias`, `…_rows` and `cross_mlp_rows` of the graphs. */
  cuda::DevicePointer crossBias = 0;
  cuda::DevicePointer crossAttentionRows = 0;
  cuda::DevicePointer crossMlpRows = 0;
  /** i32 `[logitsCount]`; 0 with `logitsCount` 0: all rows. */
  cuda::DevicePointer logitsRows = 0;
  int logitsCount = 0;
  /** f32 `[logitsCount or rows, vocabulary]` */
  cuda::DevicePointer logits = 0;
};

/** Scratch for up to `maxRows` rows, allocated once; the model's memory is the caller's. */
class DecoderStep {
 public:
  DecoderStep(cuda::Device& device, cuda::Stream stream, const DecoderModel& model, int maxRows);

  /** Puts the step into the stream; may be captured. */
  void run(cuda::Stream stream, const DecoderInputs& inputs);

 private:
  /** What the next norm adds to the hidden state. */
  struct Update {
    cuda::DevicePointer values = 0;
    float gate = 1.0f;
    cuda::DevicePointer rowGates = 0;
  };

  void multiply(cuda::Stream stream, cuda::DevicePointer x, int rows, const DecoderLinear& linear, cuda::DevicePointer y,
                ElementType outputType = ElementType::kF16);
  void gateUp(cuda::Stream stream, const DecoderLayer& layer, int rows);
  void normalize(cuda::Stream stream, const Update& update, cuda::DevicePointer weight, int rows);
  Update selfAttention(cuda::Stream stream, const DecoderLayer& layer, std::size_t index, const DecoderInputs& inputs);
  Update crossAttention(cuda::Stream stream, const DecoderLayer& layer, std::size_t index, const DecoderInputs& inputs);
  void logits(cuda::Stream stream, const Update& update, const DecoderInputs& inputs);

  cuda::Device& mDevice;
  DecoderModel mModel;
  int mMaxRows;
  /** f32: the residual stream of a deep model outgrows halves. */
  cuda::DeviceBuffer mHidden, mChosen;
  cuda::DeviceBuffer mNormed, mQuery, mKey, mValue, mAttended, mUpdate, mActivated, mGateUp, mWorkspace, mRowNumbers;
};

} // namespace scenebus::kernels
