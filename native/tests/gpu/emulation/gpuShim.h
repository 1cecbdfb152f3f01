#pragma once
#include "cpu/kernels/half.h"
#include "tests/gpu/emulation/blockRunner.h"
#include "tests/gpu/emulation/emulatedDevice.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>

/** The emulated form of gpu/kernels/shared/gpu.h, and of the words of CUDA C++ that our kernels use. */
#define __device__
#define __forceinline__ inline
#define SCENEBUS_KERNEL(name, maxThreads, minBlocks, parameters)                                                       \
  static void name parameters;                                                                                         \
  static const bool name##Registered = scenebus::emulation::registerKernel(#name, maxThreads, name);                   \
  static void name parameters
#define SCENEBUS_SHARED(name) unsigned char* const name = scenebus::emulation::currentThread().shared
#define threadIdx (scenebus::emulation::currentThread().threadIdx)
#define blockIdx (scenebus::emulation::currentThread().blockIdx)
#define blockDim (scenebus::emulation::currentThread().blockDim)
#define gridDim (scenebus::emulation::currentThread().gridDim)

inline void __syncthreads() { scenebus::emulation::currentThread().blockBarrier(); }

namespace scenebus::gpu {

using emulation::kWarpLanes;

struct alignas(16) U32x4 {
  std::uint32_t x, y, z, w;
};
struct alignas(8) U32x2 {
  std::uint32_t x, y;
};

// --- memory ------------------------------------------------------------------------------------------------------

/** Global memory only: checked against the device's allocations. */
template <typename T> T loadChecked(const void* address) {
  emulation::launchingDevice()->checkAccess(address, sizeof(T), alignof(T));
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

inline U32x4 loadStream16(const void* address) { return loadChecked<U32x4>(address); }
inline U32x2 loadStream8(const void* address) { return loadChecked<U32x2>(address); }
inline std::uint32_t loadStream4(const void* address) { return loadChecked<std::uint32_t>(address); }
inline U32x4 loadReadOnly16(const void* address) { return loadChecked<U32x4>(address); }

inline void checkAlignment(const void* address, std::size_t alignment) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0)
    throw std::logic_error("access is not aligned to " + std::to_string(alignment));
}

inline U32x4 load16(const void* address) {
  checkAlignment(address, 16);
  U32x4 value;
  std::memcpy(&value, address, 16);
  return value;
}
inline void store16(void* address, U32x4 value) {
  checkAlignment(address, 16);
  std::memcpy(address, &value, 16);
}

inline void copyAsync16(void* shared, const void* global, bool valid) {
  checkAlignment(shared, 16);
  if (valid)
    emulation::launchingDevice()->checkAccess(global, 16, 16);
  emulation::currentThread().copyAsync(shared, global, valid);
}
inline void commitCopies() { emulation::currentThread().commitCopies(); }
template <int kGroups> void waitForCopies() { emulation::currentThread().waitForCopies(kGroups); }

// --- numbers -----------------------------------------------------------------------------------------------------

inline float floatFromHalf(std::uint16_t value) { return cpu::floatFromF16(value); }
inline std::uint16_t halfFromFloat(float value) { return cpu::f16FromFloat(value); }
inline std::uint32_t packHalves(float low, float high) {
  return halfFromFloat(low) | static_cast<std::uint32_t>(halfFromFloat(high)) << 16;
}
inline float floatFromBf16(std::uint16_t value) { return cpu::floatFromBf16(value); }
inline std::uint32_t bitsOfFloat(float value) { return cpu::bitsOfFloat(value); }
inline std::uint16_t bf16FromFloat(float value) {
  const std::uint32_t bits = cpu::bitsOfFloat(value);
  if (value != value)
    return 0x7fff;
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
template <typename Function> std::uint32_t forHalves(Function function) {
  return function(0) | static_cast<std::uint32_t>(function(16)) << 16;
}
inline float halfAt(std::uint32_t pair, int shift) { return floatFromHalf(static_cast<std::uint16_t>(pair >> shift)); }
inline std::uint32_t subtractHalves(std::uint32_t a, std::uint32_t b) {
  return forHalves([=](int shift) { return halfFromFloat(halfAt(a, shift) - halfAt(b, shift)); });
}
/** A float holds product and sum of our uses (small integers and powers of two) exactly, as a fused one does. */
inline std::uint32_t multiplyAddHalves(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  return forHalves([=](int shift) { return halfFromFloat(halfAt(a, shift) * halfAt(b, shift) + halfAt(c, shift)); });
}
inline std::uint32_t selectBytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  const std::uint64_t bytes = a | static_cast<std::uint64_t>(b) << 32;
  std::uint32_t result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<std::uint32_t>(bytes >> ((selector >> (4 * i) & 7u) * 8) & 0xffu) << (8 * i);
  return result;
}
inline float exp2Fast(float x) { return std::exp2(x); }
inline float divideRounded(float a, float b) { return a / b; }
inline float subtractRounded(float a, float b) { return a - b; }
inline double multiplyRounded(double a, double b) { return a * b; }
inline float infinity() { return std::numeric_limits<float>::infinity(); }
inline float squareRootInverse(float x) { return 1.0f / std::sqrt(x); }

// --- warps -------------------------------------------------------------------------------------------------------

template <typename T> struct Shuffle {
  T value;
  int lane;
};

template <typename T> T shuffleFrom(T value, int lane) {
  Shuffle<T> own{value, lane};
  emulation::currentThread().warpOperation(
      [](void* const* lanes) {
        T values[kWarpLanes];
        for (int i = 0; i < kWarpLanes; ++i)
          values[i] = static_cast<Shuffle<T>*>(lanes[i])->value;
        for (int i = 0; i < kWarpLanes; ++i) {
          auto& shuffle = *static_cast<Shuffle<T>*>(lanes[i]);
          shuffle.value = values[shuffle.lane];
        }
      },
      &own);
  return own.value;
}

inline int ownLane() { return static_cast<int>(threadIdx.x % kWarpLanes); }
template <typename T> T shuffleXor(T value, int mask) { return shuffleFrom(value, ownLane() ^ mask); }
template <typename T> T shuffle(T value, int lane) { return shuffleFrom(value, lane); }
template <typename T> T shuffleUp(T value, int by) {
  return shuffleFrom(value, ownLane() >= by ? ownLane() - by : ownLane());
}

inline std::uint32_t ballot(bool value) {
  std::uint32_t own = value ? 1 : 0;
  emulation::currentThread().warpOperation(
      [](void* const* lanes) {
        std::uint32_t bits = 0;
        for (int i = 0; i < kWarpLanes; ++i)
          bits |= *static_cast<std::uint32_t*>(lanes[i]) << i;
        for (int i = 0; i < kWarpLanes; ++i)
          *static_cast<std::uint32_t*>(lanes[i]) = bits;
      },
      &own);
  return own;
}
inline bool allLanes(bool value) { return ballot(value) == 0xffffffffu; }
inline void syncWarp() {
  emulation::currentThread().warpOperation([](void* const*) {}, nullptr);
}
inline void addShared(unsigned long long* to, unsigned long long value) { *to += value; }

struct Tile {
  float* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
};

/** The layout of PTX: lane 4g + t holds a(g | g + 8, 2t, 2t + 1 | + 8), b(2t, 2t + 1 | + 8, g), d(g | g + 8, 2t, 2t + 1). */
inline void multiplyTile(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  Tile own{d, a, b};
  emulation::currentThread().warpOperation(
      [](void* const* lanes) {
        float left[16][16], right[16][8];
        for (int lane = 0; lane < kWarpLanes; ++lane) {
          const auto& tile = *static_cast<const Tile*>(lanes[lane]);
          const int g = lane / 4, t = lane % 4;
          for (int i = 0; i < 4; ++i)
            for (int half = 0; half < 2; ++half)
              left[g + i % 2 * 8][2 * t + half + i / 2 * 8] = halfAt(tile.a[i], half * 16);
          for (int i = 0; i < 2; ++i)
            for (int half = 0; half < 2; ++half)
              right[2 * t + half + i * 8][g] = halfAt(tile.b[i], half * 16);
        }
        float sum[16][8] = {};
        for (int row = 0; row < 16; ++row)
          for (int k = 0; k < 16; ++k)
            for (int column = 0; column < 8; ++column)
              sum[row][column] += left[row][k] * right[k][column];
        for (int lane = 0; lane < kWarpLanes; ++lane) {
          const auto& tile = *static_cast<const Tile*>(lanes[lane]);
          const int g = lane / 4, t = lane % 4;
          for (int i = 0; i < 4; ++i)
            tile.d[i] += sum[g + i / 2 * 8][2 * t + i % 2];
        }
      },
      &own);
}

} // namespace scenebus::gpu
