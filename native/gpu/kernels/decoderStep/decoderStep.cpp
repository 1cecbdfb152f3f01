#include "gpu/kernels/decoderStep/decoderStep.h"

#include "gpu/kernels/elementwise/elementwise.h"
#include "gpu/kernels/halfMatMul/halfMatMul.h"

#include <cstdint>
#include <numeric>

namespace scenebus::kernels {

DecoderStep::DecoderStep(cuda::Device& device, cuda::Stream stream, const DecoderModel& model, int maxRows)
    : mDevice(device), mModel(model), mMaxRows(maxRows) {
  const auto rows = static_cast<std::size_t>(maxRows), hidden = static_cast<std::size_t>(model.hidden);
  const auto headDim = static_cast<std::size_t>(model.heads.headDim);
  const std::size_t query = rows * static_cast<std::size_t>(model.heads.heads) * headDim;
  const std::size_t keyValue = rows * static_cast<std::size_t>(model.heads.kvHeads) * headDim;
  const std::size_t activated = rows * static_cast<std::size_t>(model.intermediate);
  mHidden = {device, rows * hidden * 4};
  mChosen = {device, rows * hidden * 4};
  mNormed = {device, rows * hidden * 2};
  mQuery = {device, query * 2};
  mKey = {device, keyValue * 2};
  mValue = {device, keyValue * 2};
  mAttended = {device, query * 2};
  mUpdate = {device, rows * hidden * 2};
  mActivated = {device, activated * 2};
  mGateUp = {device, activated * 4};
  mWorkspace = {device, attentionWorkspaceBytes(device.info(), model.heads, maxRows)};
  mRowNumbers = {device, rows * 4};
  std::vector<std::int32_t> numbers(rows);
  std::iota(numbers.begin(), numbers.end(), 0);
  device.copyToDevice(mRowNumbers.get(), numbers.data(), rows * 4, stream);
  device.synchronize(stream);
}

void DecoderStep::multiply(cuda::Stream stream, cuda::DevicePointer x, int rows, const DecoderLinear& linear,
                           cuda::DevicePointer y, ElementType outputType) {
  if (linear.half != 0)
    halfMatMul(mDevice, stream, x, rows, linear.half, linear.shape.outputs, linear.shape.inputs, y, outputType);
  else
    int4MatMul(mDevice, stream, x, rows, linear.shape, y, outputType);
}

void DecoderStep::gateUp(cuda::Stream stream, const DecoderLayer& layer, int rows) {
  if (layer.gate.half == 0 && layer.up.half == 0) {
    int4GateUp(mDevice, stream, mNormed.get(), rows, layer.gate.shape, layer.up.shape, mActivated.get(), mGateUp.get());
    return;
  }
  const std::size_t elements = static_cast<std::size_t>(rows) * static_cast<std::size_t>(mModel.intermediate);
  const cuda::DevicePointer up = mGateUp.get() + 2 * elements;
  multiply(stream, mNormed.get(), rows, layer.gate, mGateUp.get());
  multiply(stream, mNormed.get(), rows, layer.up, up);
  siluMul(mDevice, stream, mGateUp.get(), up, elements, mActivated.get());
}

void DecoderStep::normalize(cuda::Stream stream, const Update& update, cuda::DevicePointer weight, int rows) {
  RmsNorm norm;
  norm.hidden = norm.sum = mHidden.get();
  norm.hiddenType = ElementType::kF32;
  norm.update = update.values;
  norm.gate = update.gate;
  norm.rowGates = update.rowGates;
  norm.weight = weight;
  norm.y = mNormed.get();
  norm.rows = rows;
  norm.size = mModel.hidden;
  norm.eps = mModel.eps;
  rmsNorm(mDevice, stream, norm);
}

DecoderStep::Update DecoderStep::selfAttention(cuda::Stream stream, const DecoderLayer& layer, std::size_t index,
                                               const DecoderInputs& inputs) {
  if (layer.query.half == 0 && layer.key.half == 0 && layer.value.half == 0) {
    const Int4Product products[] = {
        {layer.query.shape, mQuery.get()}, {layer.key.shape, mKey.get()}, {layer.value.shape, mValue.get()}};
    int4MatMuls(mDevice, stream, mNormed.get(), inputs.rows, products, 3);
  } else {
    multiply(stream, mNormed.get(), inputs.rows, layer.query, mQuery.get());
    multiply(stream, mNormed.get(), inputs.rows, layer.key, mKey.get());
    multiply(stream, mNormed.get(), inputs.rows, layer.value, mValue.get());
  }
  KvAttention attention;
  attention.shape = mModel.heads;
  attention.rows = inputs.rows;
  attention.capacity = mModel.capacity;
  attention.q = mQuery.get();
  attention.k = mKey.get();
  attention.v = mValue.get();
  attention.keyCache = inputs.keys[index];
  attention.valueCache = inputs.values[index];
  attention.pastLength = inputs.pastLength;
  attention.cosines = mModel.cosines;
  attention.sines = mModel.sines;
  attention.workspace = mWorkspace.get();
  attention.attended = mAttended.get();
  kvAttention(mDevice, stream, attention);
  multiply(stream, mAttended.get(), inputs.rows, layer.output, mUpdate.get());
  return {mUpdate.get(), 1.0f, 0};
}

DecoderStep::Update DecoderStep::crossAttention(cuda::Stream stream, const DecoderLayer& layer, std::size_t index,
                                                const DecoderInputs& inputs) {
  multiply(stream, mNormed.get(), inputs.rows, layer.query, mQuery.get());
  RmsNorm norm;
  norm.hidden = norm.y = mQuery.get();
  norm.weight = layer.queryNorm;
  norm.rows = inputs.rows * mModel.heads.heads;
  norm.size = mModel.heads.headDim;
  norm.eps = mModel.eps;
  rmsNorm(mDevice, stream, norm);
  CrossAttention attention;
  attention.shape = mModel.heads;
  attention.rows = inputs.rows;
  attention.keys = inputs.crossKeys;
  attention.q = mQuery.get();
  attention.key = inputs.keys[index];
  attention.value = inputs.values[index];
  attention.bias = inputs.crossBias;
  attention.workspace = mWorkspace.get();
  attention.attended = mAttended.get();
  kernels::crossAttention(mDevice, stream, attention);
  multiply(stream, mAttended.get(), inputs.rows, layer.output, mUpdate.get());
  return {mUpdate.get(), layer.attentionGate, inputs.crossAttentionRows};
}

void DecoderStep::logits(cuda::Stream stream, const Update& update, const DecoderInputs& inputs) {
  int rows = inputs.rows;
  if (inputs.logitsCount == 0) {
    normalize(stream, update, mModel.finalNorm, rows);
  } else {
    if (update.values != 0)
      gatedAdd(mDevice, stream, mHidden.get(), ElementType::kF32, update.values, update.gate, update.rowGates, rows,
               mModel.hidden, mHidden.get());
    gatherRows(mDevice, stream, mHidden.get(), ElementType::kF32, rows, inputs.logitsRows, inputs.logitsCount,
               mModel.hidden, mChosen.get(), ElementType::kF32);
    rows = inputs.logitsCount;
    RmsNorm norm;
    norm.hidden = mChosen.get();
    norm.hiddenType = ElementType::kF32;
    norm.weight = mModel.finalNorm;
    norm.y = mNormed.get();
    norm.rows = rows;
    norm.size = mModel.hidden;
    norm.eps = mModel.eps;
    rmsNorm(mDevice, stream, norm);
  }
  multiply(stream, mNormed.get(), rows, mModel.head, inputs.logits, ElementType::kF32);
}

void DecoderStep::run(cuda::Stream stream, const DecoderInputs& inputs) {
  if (inputs.rows <= 0 || inputs.rows > mMaxRows || inputs.logitsCount > inputs.rows ||
      inputs.keys.size() != mModel.layers.size() || inputs.values.size() != mModel.layers.size())
    rejectArguments("DecoderStep", "1 to " + std::to_string(mMaxRows) + " rows and caches of every layer");
  gatherRows(mDevice, stream, inputs.embeddings, ElementType::kF16, inputs.rows, mRowNumbers.get(), inputs.rows,
             mModel.hidden, mHidden.get(), ElementType::kF32);
  Update update;
  for (std::size_t i = 0; i < mModel.layers.size(); ++i) {
    const DecoderLayer& layer = mModel.layers[i];
    if (layer.isCross && inputs.crossKeys == 0)
      continue;
    normalize(stream, update, layer.inputNorm, inputs.rows);
    update = layer.isCross ? crossAttention(stream, layer, i, inputs) : selfAttention(stream, layer, i, inputs);
    normalize(stream, update, layer.postAttentionNorm, inputs.rows);
    gateUp(stream, layer, inputs.rows);
    multiply(stream, mActivated.get(), inputs.rows, layer.down, mUpdate.get());
    update = {mUpdate.get(), layer.isCross ? layer.mlpGate : 1.0f, layer.isCross ? inputs.crossMlpRows : 0};
  }
  logits(stream, update, inputs);
}

} // namespace scenebus::kernels
