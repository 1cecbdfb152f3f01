#pragma once
#include "cpu/kernels/half.h"
#include "tests/support/checks.h"
#include "gpu/driver/device.h"
#include "gpu/kernels/shared/types.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

/** What the kernel tests share; they run on the emulation and, by the harness, on a GPU. */
namespace scenebus::test {

using Floats = std::vector<float>;
using Halves = std::vector<std::uint16_t>;
using Bytes = std::vector<std::uint8_t>;

/** The device that the tests run on, and a stream of it; set by main. */
cuda::Device& device();
cuda::Stream stream();
/** Whether `device` is the emulation: then sizes are small. */
bool isEmulated();

/**
 * Runs `work` twice, on the emulation with threads in opposite orders, and expects equal bytes: a race or memory that
 * nobody wrote would show.
 */
Bytes runTwice(const std::function<Bytes()>& work);

inline std::mt19937& generator() {
  static std::mt19937 engine(20261125);
  return engine;
}

inline Floats normal(std::size_t count, float deviation = 1.0f) {
  std::normal_distribution<float> distribution(0.0f, deviation);
  Floats values(count);
  for (auto& value : values)
    value = distribution(generator());
  return values;
}

inline Halves toHalves(const Floats& values) {
  Halves result;
  for (const float value : values)
    result.push_back(cpu::f16FromFloat(value));
  return result;
}

inline Floats fromHalves(const Halves& values) {
  Floats result;
  for (const auto value : values)
    result.push_back(cpu::floatFromF16(value));
  return result;
}

/** The values as halves hold them. */
inline Floats asHalves(const Floats& values) { return fromHalves(toHalves(values)); }

template <typename T> cuda::DeviceBuffer upload(const std::vector<T>& values) {
  cuda::DeviceBuffer buffer(device(), values.size() * sizeof(T));
  device().copyToDevice(buffer.get(), values.data(), values.size() * sizeof(T), stream());
  device().synchronize(stream());
  return buffer;
}

inline Bytes download(const cuda::DeviceBuffer& buffer) {
  Bytes bytes(buffer.bytes());
  device().copyToHost(bytes.data(), buffer.get(), bytes.size(), stream());
  device().synchronize(stream());
  return bytes;
}

template <typename T> std::vector<T> as(const Bytes& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

inline Floats floatsOf(const Bytes& bytes, kernels::ElementType type) {
  return type == kernels::ElementType::kF32 ? as<float>(bytes) : fromHalves(as<std::uint16_t>(bytes));
}

/** Greatest |a − b| / (absolute + relative · |b|); not finite where a value is not. Below 1 means equal enough. */
inline double excess(const Floats& a, const Floats& b, double absolute, double relative) {
  if (a.size() != b.size())
    return HUGE_VAL;
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double ratio = std::fabs(static_cast<double>(a[i]) - b[i]) / (absolute + relative * std::fabs(b[i]));
    if (!(ratio <= most))
      most = ratio;
    if (std::isnan(most))
      return most;
  }
  return most;
}

} // namespace scenebus::test

#define CHECK_CLOSE(actual, expected, absolute, relative, ...)                             \
  do {                                                                                     \
    const double over = scenebus::test::excess(actual, expected, absolute, relative);      \
    if (!(over <= 1)) {                                                                    \
      ++scenebus::test::failures();                                                        \
      std::fprintf(stderr, "%s:%d: %.3g times the tolerance: ", __FILE__, __LINE__, over); \
      std::fprintf(stderr, __VA_ARGS__);                                                   \
      std::fputc('\n', stderr);                                                            \
    }                                                                                      \
  } while (false)
