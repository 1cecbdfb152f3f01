#pragma once
#include <cstdint>

/**
 * What the kernels say to the machine, in one place: by nvcc as PTX (sm_80 and later), for the tests as plain C++ over
 * the emulation in native/tests/gpu/emulation. Half precision is handled as bits (one in 16, two in 32), so neither form
 * needs a header of CUDA.
 */
#if defined(__CUDACC__)

/** Defines a kernel that `cuModuleGetFunction` finds by its name. */
#define SCENEBUS_KERNEL(name, maxThreads, minBlocks, parameters)                                                       \
  extern "C" __global__ void __launch_bounds__(maxThreads, minBlocks) name parameters
/** The dynamic shared memory of the block; all that our kernels use. */
#define SCENEBUS_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

namespace scenebus::gpu {

struct alignas(16) U32x4 {
  std::uint32_t x, y, z, w;
};
struct alignas(8) U32x2 {
  std::uint32_t x, y;
};

// --- memory ------------------------------------------------------------------------------------------------------

/** 16 bytes that nobody writes during the kernel and that are read once: they pass the first cache by. */
__device__ __forceinline__ U32x4 loadStream16(const void* address) {
  U32x4 v;
  asm("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address));
  return v;
}

__device__ __forceinline__ U32x2 loadStream8(const void* address) {
  U32x2 v;
  asm("ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(address));
  return v;
}

__device__ __forceinline__ std::uint32_t loadStream4(const void* address) {
  std::uint32_t v;
  asm("ld.global.nc.L1::no_allocate.L2::128B.u32 %0, [%1];" : "=r"(v) : "l"(address));
  return v;
}

/** 16 bytes that nobody writes during the kernel and that other warps will want too. */
__device__ __forceinline__ U32x4 loadReadOnly16(const void* address) {
  U32x4 v;
  asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address));
  return v;
}

/** 16 bytes of any memory that this block may have written before a barrier. */
__device__ __forceinline__ U32x4 load16(const void* address) { return *static_cast<const U32x4*>(address); }
__device__ __forceinline__ void store16(void* address, U32x4 value) { *static_cast<U32x4*>(address) = value; }

/** 16 bytes from global to shared memory without registers; zeros when not `valid`. */
__device__ __forceinline__ void copyAsync16(void* shared, const void* global, bool valid) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(valid ? 16 : 0) : "memory");
}
__device__ __forceinline__ void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/** Until all but the latest `kGroups` groups of this thread have arrived; others see them after a barrier. */
template <int kGroups> __device__ __forceinline__ void waitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

// --- numbers -----------------------------------------------------------------------------------------------------

__device__ __forceinline__ float floatFromHalf(std::uint16_t value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value));
  return result;
}
__device__ __forceinline__ std::uint16_t halfFromFloat(float value) {
  std::uint16_t result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(value));
  return result;
}
/** `low` in the lower 16 bits. */
__device__ __forceinline__ std::uint32_t packHalves(float low, float high) {
  std::uint32_t result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
__device__ __forceinline__ float floatFromBf16(std::uint16_t value) {
  return __uint_as_float(static_cast<std::uint32_t>(value) << 16);
}
__device__ __forceinline__ std::uint16_t bf16FromFloat(float value) {
  std::uint16_t result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(value));
  return result;
}
__device__ __forceinline__ std::uint32_t subtractHalves(std::uint32_t a, std::uint32_t b) {
  std::uint32_t result;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}
__device__ __forceinline__ std::uint32_t multiplyAddHalves(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t result;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
}
/** Bytes of the eight of `a` (0–3) and `b` (4–7), chosen by the four nibbles of `selector`. */
__device__ __forceinline__ std::uint32_t selectBytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  return __byte_perm(a, b, selector);
}
/** 2^x to 2 units in the last place; 0 for −∞. */
__device__ __forceinline__ float exp2Fast(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
__device__ __forceinline__ float divideRounded(float a, float b) { return __fdiv_rn(a, b); }
__device__ __forceinline__ float subtractRounded(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ double multiplyRounded(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ std::uint32_t bitsOfFloat(float value) { return __float_as_uint(value); }
__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000u); }
__device__ __forceinline__ float squareRootInverse(float x) { return rsqrtf(x); }

// --- warps -------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float shuffleXor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
__device__ __forceinline__ int shuffleXor(int value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
__device__ __forceinline__ float shuffle(float value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
__device__ __forceinline__ unsigned long long shuffle(unsigned long long value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
__device__ __forceinline__ unsigned long long shuffleUp(unsigned long long value, int by) {
  return __shfl_up_sync(0xffffffffu, value, by);
}
__device__ __forceinline__ unsigned long long shuffleXor(unsigned long long value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
__device__ __forceinline__ bool allLanes(bool value) { return __all_sync(0xffffffffu, value ? 1 : 0) != 0; }
__device__ __forceinline__ std::uint32_t ballot(bool value) { return __ballot_sync(0xffffffffu, value ? 1 : 0); }
__device__ __forceinline__ void syncWarp() { __syncwarp(); }
__device__ __forceinline__ void addShared(unsigned long long* to, unsigned long long value) { atomicAdd(to, value); }

/** d += a · b: a `[16, 16]` (rows, k), b `[16, 8]` (k, columns), halves; d `[16, 8]` floats; as PTX deals them to lanes. */
__device__ __forceinline__ void multiplyTile(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

} // namespace scenebus::gpu

#else
#include SCENEBUS_GPU_SHIM // the build of the emulation names it
#endif
