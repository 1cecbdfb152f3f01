#pragma once
#include "gpu/driver/device.h"

/** Shared by the headers of the operations. All of them put their work into a stream and return. */
namespace scenebus::kernels {

/** Of 16-bit or 32-bit elements on the device. */
enum class ElementType : int { kF16 = 0, kBf16 = 1, kF32 = 2 };

constexpr std::size_t bytesOf(ElementType type) { return type == ElementType::kF32 ? 4 : 2; }

/** Launches a kernel with parameters given by value, in the order and of the types that the kernel declares. */
template <typename... Parameters>
void launch(cuda::Device& device, cuda::Stream stream, const char* name, cuda::Dim3 grid, unsigned threads,
            unsigned sharedBytes, Parameters... parameters) {
  void* arguments[] = {&parameters...};
  device.launch({name, grid, {threads}, sharedBytes, arguments}, stream);
}

/** A programming error in the caller, not a condition of the device. */
[[noreturn]] void rejectArguments(const char* operation, const std::string& expected);

inline unsigned ceilDivide(std::size_t a, std::size_t b) { return static_cast<unsigned>((a + b - 1) / b); }

} // namespace scenebus::kernels
