#include "gpu/kernels/int4MatMul/int4MatMul.h"

#include "gpu/kernels/elementwise/elementwise.h"
#include "gpu/kernels/int4MatMul/int4Arguments.h"

#include <algorithm>

namespace scenebus::kernels {

void rejectArguments(const char* operation, const std::string& expected) {
  throw cuda::CudaError("ERR_ENGINE_FAILED", std::string(operation) + ": expected " + expected);
}

namespace {

template <typename T> T* as(cuda::DevicePointer pointer) { return reinterpret_cast<T*>(pointer); }

/** Words of 8 weights that a lane takes from one output: a quad covers a group, or a whole part of it. 0: the plain path. */
int wordsFor(const Int4Weight& weight, cuda::DevicePointer x) {
  if (weight.packed % 16 != 0 || x % 16 != 0)
    return 0;
  // Rows of packed weights must start at multiples of 16 bytes too (asynchronous copies, 16-byte loads).
  if (weight.groupSize % 128 == 0)
    return 4;
  return weight.groupSize % 64 == 0 ? 2 : weight.groupSize % 32 == 0 ? 1 : 0;
}

void check(const Int4Weight& weight, int rows) {
  if (rows <= 0 || weight.outputs <= 0 || weight.inputs <= 0 || weight.groupSize <= 0 || weight.groupSize % 2 != 0 ||
      weight.inputs % weight.groupSize != 0)
    rejectArguments("int4MatMul", "rows, N > 0 and K a multiple of an even group size, received rows " +
                                      std::to_string(rows) + ", N " + std::to_string(weight.outputs) + ", K " +
                                      std::to_string(weight.inputs) + ", group " + std::to_string(weight.groupSize));
  if (weight.scaleType == ElementType::kF32)
    rejectArguments("int4MatMul", "scales of f16 or bf16");
}

/** 4 to 8 warps such that none idles in the last turn; fewer when there is less to share. */
int warpsFor(int inputs, int words, int depth) {
  const int turns = static_cast<int>(ceilDivide(static_cast<std::size_t>(inputs / (32 * words)), static_cast<std::size_t>(depth)));
  int best = std::min(turns, 8);
  double bestUse = 0;
  for (int warps = 8; warps >= 4 && turns >= 4; --warps) {
    const double use = static_cast<double>(turns) / (warps * static_cast<int>(ceilDivide(static_cast<std::size_t>(turns), static_cast<std::size_t>(warps))));
    if (use > bestUse + 1e-9) {
      best = std::min(warps, turns);
      bestUse = use;
    }
  }
  return best;
}

Int4GemvArguments gemvArguments(cuda::DevicePointer x, int rows, const Int4Weight& weight, ElementType outputType) {
  Int4GemvArguments a{};
  a.x = as<const std::uint16_t>(x);
  a.rows = rows;
  a.inputs = weight.inputs;
  a.groupSize = weight.groupSize;
  a.scalesAreBf16 = weight.scaleType == ElementType::kBf16 ? 1 : 0;
  a.outputIsF32 = outputType == ElementType::kF32 ? 1 : 0;
  return a;
}

Int4Target target(const Int4Weight& weight, cuda::DevicePointer y, int firstBlock) {
  return {as<const std::uint8_t>(weight.packed), as<const std::uint16_t>(weight.scales), as<void>(y), weight.outputs,
          firstBlock};
}

const char* gemvName(int words, int tiles) {
  if (words == 4)
    return tiles == 1 ? "int4Gemv128x1" : "int4Gemv128x2";
  if (words == 2)
    return tiles == 1 ? "int4Gemv64x1" : "int4Gemv64x2";
  return tiles == 1 ? "int4Gemv32x1" : "int4Gemv32x2";
}

const char* gemmName(int words, int tileRows) {
  if (words == 4)
    return tileRows == 32 ? "int4Gemm128x32" : "int4Gemm128x128";
  if (words == 2)
    return tileRows == 32 ? "int4Gemm64x32" : "int4Gemm64x128";
  return tileRows == 32 ? "int4Gemm32x32" : "int4Gemm32x128";
}

/** Bytes of the sums that the warps of a block add up. */
unsigned gemvShared(int warps, int tiles) { return static_cast<unsigned>(warps * tiles * 16 * 8 * 4); }

} // namespace

void int4MatMuls(cuda::Device& device, cuda::Stream stream, cuda::DevicePointer x, int rows, const Int4Product* products,
                 int count, ElementType outputType) {
  if (count < 1 || count > 3)
    rejectArguments("int4MatMuls", "one to three products");
  const Int4Weight& like = products[0].weight;
  int words = 4;
  for (int i = 0; i < count; ++i) {
    const Int4Weight& weight = products[i].weight;
    check(weight, rows);
    if (weight.inputs != like.inputs)
      rejectArguments("int4MatMuls", "products of one x, of equal K");
    const bool alike = weight.groupSize == like.groupSize && weight.scaleType == like.scaleType;
    words = std::min(words, alike ? wordsFor(weight, x) : 0);
  }
  if (words == 0 || rows > kInt4GemvRows) {
    for (int i = 0; i < count; ++i)
      int4MatMul(device, stream, x, rows, products[i].weight, products[i].y, outputType);
    return;
  }
  // Above two rows, reading x costs as much as the weights of 16 outputs: 32 outputs then share it.
  const int tiles = rows > 2 ? 2 : 1;
  Int4GemvArguments a = gemvArguments(x, rows, like, outputType);
  a.targetCount = count;
  unsigned blocks = 0;
  for (int i = 0; i < count; ++i) {
    a.targets[i] = target(products[i].weight, products[i].y, static_cast<int>(blocks));
    blocks += ceilDivide(static_cast<std::size_t>(products[i].weight.outputs), static_cast<std::size_t>(16 * tiles));
  }
  const int warps = warpsFor(like.inputs, words, 4 / tiles);
  launch(device, stream, gemvName(words, tiles), {blocks}, static_cast<unsigned>(warps) * 32, gemvShared(warps, tiles), a);
}

void int4MatMul(cuda::Device& device, cuda::Stream stream, cuda::DevicePointer x, int rows, const Int4Weight& weight,
                cuda::DevicePointer y, ElementType outputType) {
  check(weight, rows);
  const int words = wordsFor(weight, x);
  if (words > 0 && rows <= kInt4GemvRows) {
    const Int4Product product{weight, y};
    int4MatMuls(device, stream, x, rows, &product, 1, outputType);
    return;
  }
  Int4GemmArguments a{};
  a.packed = as<const std::uint8_t>(weight.packed);
  a.scales = as<const std::uint16_t>(weight.scales);
  a.x = as<const std::uint16_t>(x);
  a.y = as<void>(y);
  a.rows = rows;
  a.outputs = weight.outputs;
  a.inputs = weight.inputs;
  a.groupSize = weight.groupSize;
  a.scalesAreBf16 = weight.scaleType == ElementType::kBf16 ? 1 : 0;
  a.outputIsF32 = outputType == ElementType::kF32 ? 1 : 0;
  const auto rowCount = static_cast<std::size_t>(rows), outputs = static_cast<std::size_t>(weight.outputs);
  if (words == 0) {
    if (rows > 65535)
      rejectArguments("int4MatMul", "at most 65535 rows on the plain path");
    launch(device, stream, "int4Plain", {ceilDivide(outputs, 8), static_cast<unsigned>(rows)}, 256, 0, a);
    return;
  }
  const int tileRows = rows <= 64 ? 32 : 128;
  launch(device, stream, gemmName(words, tileRows),
         {ceilDivide(rowCount, static_cast<std::size_t>(tileRows)), ceilDivide(outputs, kGemmTileOutputs)},
         kGemmThreads, gemmSharedBytes(tileRows, words), a);
}

void int4GateUp(cuda::Device& device, cuda::Stream stream, cuda::DevicePointer x, int rows, const Int4Weight& gate,
                const Int4Weight& up, cuda::DevicePointer y, cuda::DevicePointer scratch) {
  check(gate, rows);
  check(up, rows);
  if (gate.inputs != up.inputs || gate.outputs != up.outputs)
    rejectArguments("int4GateUp", "gate and up of equal shape");
  const bool alike = gate.groupSize == up.groupSize && gate.scaleType == up.scaleType;
  const int words = alike ? std::min(wordsFor(gate, x), wordsFor(up, x)) : 0;
  if (words == 0 || rows > kInt4GemvRows) {
    const std::size_t elements = static_cast<std::size_t>(rows) * static_cast<std::size_t>(gate.outputs);
    int4MatMul(device, stream, x, rows, gate, scratch);
    int4MatMul(device, stream, x, rows, up, scratch + 2 * elements);
    siluMul(device, stream, scratch, scratch + 2 * elements, elements, y);
    return;
  }
  Int4GemvArguments a = gemvArguments(x, rows, gate, ElementType::kF16);
  a.targetCount = 2;
  a.targets[0] = target(gate, y, 0);
  a.targets[1] = target(up, y, 0);
  const int warps = warpsFor(gate.inputs, words, 2);
  launch(device, stream, words == 4 ? "int4GateUp128" : words == 2 ? "int4GateUp64" : "int4GateUp32",
         {ceilDivide(static_cast<std::size_t>(gate.outputs), 16)}, static_cast<unsigned>(warps) * 32, gemvShared(warps, 2), a);
}

} // namespace scenebus::kernels
