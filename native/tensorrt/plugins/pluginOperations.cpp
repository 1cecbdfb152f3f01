#include "tensorrt/plugins/pluginOperations.h"

#include "common/codedError.h"
#include "gpu/kernels/attention/attention.h"
#include "gpu/kernels/int4MatMul/int4MatMul.h"
#include "tensorrt/plan/inPlaceWatch.h"

#include <algorithm>
#include <limits>

namespace scenebus::tensorrt {
namespace {

constexpr TensorType kHalf = TensorType::kFloat16;

int fieldOf(const std::string& operation, const PluginFields& fields, const char* name) {
  const auto found = fields.find(name);
  if (found == fields.end() || found->second < 1 || found->second > std::numeric_limits<int>::max())
    throw CodedError("ERR_MODEL_INVALID", operation + ": expected the attribute " + name + " of 1 or more but " +
                                              (found == fields.end() ? "it is missing" : "received " + std::to_string(found->second)));
  return static_cast<int>(found->second);
}

/** A declared side of -1 is any, and so is an actual side that is not known yet. */
bool fits(const PluginTensor& tensor, const Shape& declared) {
  if (tensor.shape.size() != declared.size())
    return false;
  for (std::size_t i = 0; i < declared.size(); ++i)
    if (declared[i] >= 0 && tensor.shape[i] >= 0 && declared[i] != tensor.shape[i])
      return false;
  return true;
}

std::string expectedShapes(const std::vector<PluginTensor>& inputs, const std::vector<Shape>& declared) {
  for (std::size_t i = 0; i < declared.size(); ++i)
    if (i >= inputs.size() || !fits(inputs[i], declared[i]))
      return "expected input " + std::to_string(i) + " as " + shapeText(declared[i]) + " but received " +
             (i < inputs.size() ? shapeText(inputs[i].shape) : "nothing");
  return {};
}

cuda::DevicePointer at(const void* address) { return reinterpret_cast<cuda::DevicePointer>(address); }

/** x `[…, rows, K]`, int32 `weight_packed [N, K/8]`, f16 or bf16 `weight_scale [N, K/group]` → `[…, rows, N]` */
class Int4MatMul final : public PluginOperation {
 public:
  explicit Int4MatMul(const PluginFields& fields)
      : mInputs(fieldOf("Int4MatMul", fields, "K")), mOutputs(fieldOf("Int4MatMul", fields, "N")),
        mGroup(fieldOf("Int4MatMul", fields, "group")) {
    if (mInputs % 8 != 0 || mInputs % mGroup != 0)
      throw CodedError("ERR_MODEL_INVALID", "Int4MatMul: expected K as a multiple of 8 and of the group but received " +
                                                std::to_string(mInputs) + " and " + std::to_string(mGroup));
  }

  int inputCount() const override { return 3; }
  int outputCount() const override { return 1; }
  bool takes(int index, TensorType type, const std::vector<TensorType>&) const override {
    if (index == 1)
      return type == TensorType::kInt32;
    return index == 2 ? type == kHalf || type == TensorType::kBfloat16 : type == kHalf;
  }
  TensorType outputType(int, const std::vector<TensorType>&) const override { return kHalf; }
  std::vector<Side> outputShape(int) const override { return {{0, 0}, {-1, mOutputs}}; }
  std::string problemWith(const std::vector<PluginTensor>& inputs) const override {
    return expectedShapes(inputs, {{-1, mInputs}, {mOutputs, mInputs / 8}, {mOutputs, mInputs / mGroup}});
  }
  void run(cuda::Device& device, cuda::Stream stream, const std::vector<PluginTensor>& inputs, const void* const* in,
           void* const* out, void*) const override {
    kernels::Int4Weight weight;
    weight.packed = at(in[1]);
    weight.scales = at(in[2]);
    weight.outputs = mOutputs;
    weight.inputs = mInputs;
    weight.groupSize = mGroup;
    weight.scaleType =
        inputs[2].type == TensorType::kBfloat16 ? kernels::ElementType::kBf16 : kernels::ElementType::kF16;
    kernels::int4MatMul(device, stream, at(in[0]), static_cast<int>(inputs[0].shape[0]), weight, at(out[0]));
  }

 private:
  int mInputs, mOutputs, mGroup;
};

kernels::HeadShape headsOf(const std::string& operation, const PluginFields& fields) {
  kernels::HeadShape heads{fieldOf(operation, fields, "heads"), fieldOf(operation, fields, "kvHeads"),
                           fieldOf(operation, fields, "headDim")};
  if (heads.heads % heads.kvHeads != 0)
    throw CodedError("ERR_MODEL_INVALID", operation + ": expected heads as a multiple of kvHeads but received " +
                                              std::to_string(heads.heads) + " and " + std::to_string(heads.kvHeads));
  return heads;
}

/** q, k, v, past_key, past_value, past_length, cos, sin → attended, present_key, present_value */
class KvAttention final : public PluginOperation {
 public:
  explicit KvAttention(const PluginFields& fields)
      : mHeads(headsOf("KvAttention", fields)), mCapacity(fieldOf("KvAttention", fields, "capacity")) {}

  int inputCount() const override { return 8; }
  int outputCount() const override { return 3; }
  bool takes(int index, TensorType type, const std::vector<TensorType>&) const override {
    if (index == kPastLength)
      return type == TensorType::kInt32;
    return index == kCosines || index == kSines ? type == TensorType::kFloat32 : type == kHalf;
  }
  TensorType outputType(int, const std::vector<TensorType>&) const override { return kHalf; }
  std::vector<Side> outputShape(int output) const override {
    if (output == 0)
      return {{0, 0}, {-1, std::int64_t{mHeads.heads} * mHeads.headDim}};
    return {{-1, 1}, {-1, mHeads.kvHeads}, {-1, mCapacity}, {-1, mHeads.headDim}};
  }
  int aliasedInput(int output) const override { return output == 0 ? -1 : kPastKey + output - 1; }
  std::size_t workspaceBytes(const cuda::DeviceInfo& info, const std::vector<PluginTensor>& inputs) const override {
    return kernels::attentionWorkspaceBytes(info, mHeads, static_cast<int>(inputs[0].shape[0]));
  }
  std::string problemWith(const std::vector<PluginTensor>& inputs) const override {
    const std::int64_t kv = mHeads.kvHeads, dim = mHeads.headDim, capacity = mCapacity;
    return expectedShapes(inputs, {{-1, mHeads.heads, dim},
                                   {-1, kv, dim},
                                   {-1, kv, dim},
                                   {1, kv, capacity, dim},
                                   {1, kv, capacity, dim},
                                   {1},
                                   {capacity, dim / 2},
                                   {capacity, dim / 2}});
  }
  void run(cuda::Device& device, cuda::Stream stream, const std::vector<PluginTensor>& inputs, const void* const* in,
           void* const* out, void* workspace) const override {
    kernels::KvAttention call;
    call.shape = mHeads;
    call.rows = static_cast<int>(inputs[0].shape[0]);
    call.capacity = mCapacity;
    call.q = at(in[0]);
    call.k = at(in[1]);
    call.v = at(in[2]);
    // TensorRT gives both addresses and makes them one; should it ever not, the caches go along as they are.
    for (int i = 0; i < 2; ++i) {
      InPlaceWatch::note(at(in[kPastKey + i]), at(out[1 + i]));
      if (out[1 + i] != in[kPastKey + i])
        device.copyOnDevice(at(out[1 + i]), at(in[kPastKey + i]), cacheBytes(), stream);
    }
    call.keyCache = at(out[1]);
    call.valueCache = at(out[2]);
    call.pastLength = at(in[kPastLength]);
    call.cosines = at(in[kCosines]);
    call.sines = at(in[kSines]);
    call.workspace = at(workspace);
    call.attended = at(out[0]);
    kernels::kvAttention(device, stream, call);
  }

 private:
  static constexpr int kPastKey = 3, kPastLength = 5, kCosines = 6, kSines = 7;
  std::size_t cacheBytes() const {
    return static_cast<std::size_t>(mHeads.kvHeads) * mCapacity * mHeads.headDim * elementBytes(kHalf);
  }
  kernels::HeadShape mHeads;
  int mCapacity;
};

/** q, key, value, bias → attended */
class CrossAttention final : public PluginOperation {
 public:
  explicit CrossAttention(const PluginFields& fields) : mHeads(headsOf("CrossAttention", fields)) {}

  int inputCount() const override { return 4; }
  int outputCount() const override { return 1; }
  bool takes(int index, TensorType type, const std::vector<TensorType>&) const override {
    return type == (index == 3 ? TensorType::kFloat32 : kHalf);
  }
  TensorType outputType(int, const std::vector<TensorType>&) const override { return kHalf; }
  std::vector<Side> outputShape(int) const override {
    return {{0, 0}, {-1, std::int64_t{mHeads.heads} * mHeads.headDim}};
  }
  std::size_t workspaceBytes(const cuda::DeviceInfo& info, const std::vector<PluginTensor>& inputs) const override {
    return kernels::attentionWorkspaceBytes(info, mHeads, static_cast<int>(inputs[0].shape[0]));
  }
  std::string problemWith(const std::vector<PluginTensor>& inputs) const override {
    const std::int64_t kv = mHeads.kvHeads, dim = mHeads.headDim;
    std::string problem =
        expectedShapes(inputs, {{-1, mHeads.heads, dim}, {1, kv, -1, dim}, {1, kv, -1, dim}, {1, 1, -1, -1}});
    if (problem.empty() && (inputs[1].shape[2] != inputs[2].shape[2] || inputs[1].shape[2] != inputs[3].shape[3]))
      problem = "expected as many keys as values and columns of the bias";
    return problem;
  }
  void run(cuda::Device& device, cuda::Stream stream, const std::vector<PluginTensor>& inputs, const void* const* in,
           void* const* out, void* workspace) const override {
    kernels::CrossAttention call;
    call.shape = mHeads;
    call.rows = static_cast<int>(inputs[0].shape[0]);
    call.keys = static_cast<int>(inputs[1].shape[2]);
    call.q = at(in[0]);
    call.key = at(in[1]);
    call.value = at(in[2]);
    call.bias = at(in[3]);
    call.workspace = at(workspace);
    call.attended = at(out[0]);
    kernels::crossAttention(device, stream, call);
  }

 private:
  kernels::HeadShape mHeads;
};

} // namespace

const std::map<std::string, std::vector<std::string>>& pluginAttributes() {
  static const std::map<std::string, std::vector<std::string>> attributes{
      {"Int4MatMul", {"K", "N", "group"}},
      {"KvAttention", {"heads", "kvHeads", "headDim", "capacity"}},
      {"CrossAttention", {"heads", "kvHeads", "headDim"}},
  };
  return attributes;
}

std::unique_ptr<PluginOperation> makePluginOperation(const std::string& name, const PluginFields& fields) {
  if (name == "Int4MatMul")
    return std::make_unique<Int4MatMul>(fields);
  if (name == "KvAttention")
    return std::make_unique<KvAttention>(fields);
  if (name == "CrossAttention")
    return std::make_unique<CrossAttention>(fields);
  throw CodedError("ERR_MODEL_INVALID", "there is no plugin named " + name);
}

} // namespace scenebus::tensorrt
