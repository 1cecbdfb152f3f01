#include "gpu/kernels/attention/attention.h"

#include "gpu/kernels/attention/attentionArguments.h"

#include <algorithm>
#include <cmath>

namespace scenebus::kernels {
namespace {

template <typename T> T* as(cuda::DevicePointer pointer) { return reinterpret_cast<T*>(pointer); }

bool isFast(const HeadShape& shape) { return shape.headDim == 64 || shape.headDim == 128; }

void check(const char* operation, const HeadShape& shape, int rows, int keys) {
  if (rows <= 0 || keys <= 0 || shape.kvHeads <= 0 || shape.heads <= 0 || shape.heads % shape.kvHeads != 0 ||
      shape.headDim <= 0 || shape.headDim % 8 != 0 || shape.headDim > 256 || shape.heads > 65535)
    rejectArguments(operation, "rows and keys above 0, heads a multiple of kvHeads, a head size that is a multiple of 8 "
                               "up to 256, received head size " +
                                   std::to_string(shape.headDim) + ", heads " + std::to_string(shape.heads) + " over " +
                                   std::to_string(shape.kvHeads));
}

/** Two blocks for each SM; fixed by the device, since the length of the context is known to the kernels only. */
int splitsFor(const cuda::DeviceInfo& info, const HeadShape& shape) {
  return std::clamp(static_cast<int>(ceilDivide(static_cast<std::size_t>(2 * info.smCount), static_cast<std::size_t>(shape.kvHeads))), 1, 32);
}

void run(cuda::Device& device, cuda::Stream stream, AttentionArguments a, const HeadShape& shape) {
  const bool self = a.pastLength != nullptr;
  const auto rows = static_cast<std::size_t>(a.rows), group = static_cast<std::size_t>(shape.heads / shape.kvHeads);
  const auto kvHeads = static_cast<unsigned>(shape.kvHeads), heads = static_cast<unsigned>(shape.heads);
  a.heads = shape.heads;
  a.kvHeads = shape.kvHeads;
  a.headDim = shape.headDim;
  a.scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(shape.headDim)));
  a.splits = 1;
  if (self && (!isFast(shape) || a.rows > kDecodeRows))
    launch(device, stream, "kvAppend", {ceilDivide(rows * kvHeads, 4)}, 128, 0, a);
  if (!isFast(shape)) {
    launch(device, stream, "attentionPlain", {static_cast<unsigned>(a.rows), heads}, 32, 0, a);
    return;
  }
  if (reinterpret_cast<std::uintptr_t>(a.keys) % 16 != 0 || reinterpret_cast<std::uintptr_t>(a.values) % 16 != 0)
    rejectArguments("attention", "keys and values at multiples of 16 bytes");
  const bool wide = shape.headDim == 128;
  if (a.rows > kDecodeRows) {
    const char* name = self ? (wide ? "kvAttentionPrefill128" : "kvAttentionPrefill64")
                            : (wide ? "crossAttentionPrefill128" : "crossAttentionPrefill64");
    launch(device, stream, name, {ceilDivide(rows * group, kBlockQueries), kvHeads}, kAttentionThreads,
           prefillSharedBytes(shape.headDim), a);
    return;
  }
  a.splits = splitsFor(device.info(), shape);
  const char* name = self ? (wide ? "kvAttentionDecode128" : "kvAttentionDecode64")
                          : (wide ? "crossAttentionDecode128" : "crossAttentionDecode64");
  launch(device, stream, name, {ceilDivide(rows * group, kTileQueries), kvHeads, static_cast<unsigned>(a.splits)},
         kAttentionThreads, decodeSharedBytes(shape.headDim), a);
  if (a.splits > 1)
    launch(device, stream, "attentionCombine", {static_cast<unsigned>(a.rows), heads}, 128, 0, a);
}

} // namespace

std::size_t attentionWorkspaceBytes(const cuda::DeviceInfo& info, const HeadShape& shape, int rows) {
  const auto split = static_cast<std::size_t>(splitsFor(info, shape));
  return split * static_cast<std::size_t>(std::min(rows, kDecodeRows)) * static_cast<std::size_t>(shape.heads) *
         static_cast<std::size_t>(shape.headDim + 2) * sizeof(float);
}

void kvAttention(cuda::Device& device, cuda::Stream stream, const KvAttention& attention) {
  check("kvAttention", attention.shape, attention.rows, attention.capacity);
  AttentionArguments a{};
  a.q = as<const std::uint16_t>(attention.q);
  a.k = as<const std::uint16_t>(attention.k);
  a.v = as<const std::uint16_t>(attention.v);
  a.keys = as<std::uint16_t>(attention.keyCache);
  a.values = as<std::uint16_t>(attention.valueCache);
  a.pastLength = as<const int>(attention.pastLength);
  a.cosines = as<const float>(attention.cosines);
  a.sines = as<const float>(attention.sines);
  a.partial = as<float>(attention.workspace);
  a.attended = as<std::uint16_t>(attention.attended);
  a.rows = attention.rows;
  a.capacity = attention.capacity;
  run(device, stream, a, attention.shape);
}

void crossAttention(cuda::Device& device, cuda::Stream stream, const CrossAttention& attention) {
  check("crossAttention", attention.shape, attention.rows, attention.keys);
  AttentionArguments a{};
  a.q = as<const std::uint16_t>(attention.q);
  a.keys = as<std::uint16_t>(attention.key);
  a.values = as<std::uint16_t>(attention.value);
  a.bias = as<const float>(attention.bias);
  a.partial = as<float>(attention.workspace);
  a.attended = as<std::uint16_t>(attention.attended);
  a.rows = attention.rows;
  a.capacity = attention.keys;
  run(device, stream, a, attention.shape);
}

} // namespace scenebus::kernels
