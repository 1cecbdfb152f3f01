#pragma once
#include "common/cancelFlag.h"
#include "gpu/driver/device.h"
#include "tensorrt/plan/tensor.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

/**
 * What the product needs of TensorRT, and no more. `nvinfer/` implements it over the real library and is the only place
 * that includes its headers; the tests have a small one of their own. All failures are `CodedError`:
 * ERR_MODEL_UNSUPPORTED for a graph that the library refuses, ERR_ENGINE_INCOMPATIBLE for a plan that it refuses,
 * ERR_ENGINE_OUT_OF_MEMORY, else ERR_ENGINE_FAILED; the library's own messages are part of the text.
 */
namespace scenebus::tensorrt {

/** `MAJOR*10000 + MINOR*100 + PATCH`, as the library counts since version 10. */
struct Version {
  int number = 0;
  int major() const { return number / 10000; }
  int minor() const { return number / 100 % 100; }
  std::string text() const {
    return std::to_string(major()) + "." + std::to_string(minor()) + "." + std::to_string(number % 100);
  }
};

struct ProfileRange {
  std::string name;
  Shape min, opt, max;
};

/** What a plan is built from; all of it is part of the plan's key. */
struct BuildOptions {
  /** ONNX file. */
  std::string graph;
  /** Folder that the graph's external data are relative to. Not part of the key: what lies there is. */
  std::string weightsRoot;
  std::vector<ProfileRange> profile;
  /** Our own operators are plugins, and present K/V alias past K/V. */
  bool plugins = false;
  /** 0: the library's default. */
  std::uint64_t workspaceBytes = 0;
  int optimizationLevel = 3;
  /** The plan keeps what `Engine::layers` tells. */
  bool inspected = false;
};

struct BuildProgress {
  std::string phase;
  int done = 0, total = 0;
};

/** A plan as it comes out of the builder. */
class PlanBytes {
public:
  virtual ~PlanBytes() = default;
  virtual const void* data() const = 0;
  virtual std::size_t sizeBytes() const = 0;
};

/** Timings of earlier builds: faster builds of like graphs, and the same choices again. */
struct TimingCache {
  /** In: of an earlier build, or empty. Out: to keep. */
  std::vector<std::uint8_t> bytes;
  /** Out: why what came in was not used; empty when it was. */
  std::string ignored;
};

class BuildObserver {
public:
  virtual ~BuildObserver() = default;
  virtual void onProgress(const BuildProgress& progress) = 0;
  /** A warning of the library that bears on results or speed. */
  virtual void onRemark(const std::string& remark) = 0;
  /** Polled between steps; true ends the build with `Aborted`. */
  virtual bool isCancelled() const = 0;
};

/** A plan's bytes in order, so that it is never twice in memory. */
class PlanSource {
public:
  virtual ~PlanSource() = default;
  virtual std::uint64_t sizeBytes() const = 0;
  /** Copies up to `sizeBytes` from the position; how many. */
  virtual std::size_t read(void* to, std::size_t sizeBytes) = 0;
  virtual bool seek(std::uint64_t position) = 0;
  virtual std::uint64_t position() const = 0;
};

struct TensorInfo {
  std::string name;
  TensorType type = TensorType::kFloat32;
  /** -1 is a dimension that the call decides. */
  Shape shape;
  bool isInput = false;
  /** The library reads or writes it on the host: only inputs that hold shapes. */
  bool isOnHost = false;
};

/** One way of running an engine: shapes, addresses, scratch. Not for two threads at once. */
class Context {
public:
  virtual ~Context() = default;
  virtual void setShape(const std::string& input, const Shape& shape) = 0;
  /** Of an output, once all shapes of inputs are set. */
  virtual Shape shapeOf(const std::string& tensor) = 0;
  /** Host memory when the tensor is on the host. Must be set for every tensor. */
  virtual void setAddress(const std::string& tensor, cuda::DevicePointer address) = 0;
  /** Shared between contexts that never run at once; at least `Engine::scratchBytes`. */
  virtual void setScratch(cuda::DevicePointer address, std::uint64_t sizeBytes) = 0;
  /** Adds the work to the stream. The first call with new shapes may allocate; later ones can be captured. */
  virtual void enqueue(cuda::Stream stream) = 0;
};

class Engine {
public:
  virtual ~Engine() = default;
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  /** Largest shape that the plan was built for; empty for an output. */
  virtual Shape maxShapeOf(const std::string& input) const = 0;
  virtual std::uint64_t scratchBytes() const = 0;
  /** JSON of the library's inspector; in full only of a plan that was built `inspected`. Empty when it has none. */
  virtual std::string layers() const = 0;
  /** Must not outlive the engine. */
  virtual std::unique_ptr<Context> createContext() = 0;
};

class InferenceLibrary {
public:
  virtual ~InferenceLibrary() = default;
  virtual Version version() const = 0;
  /** Where the library was found. */
  virtual const std::string& path() const = 0;
  /** @throws Aborted */
  virtual std::unique_ptr<PlanBytes> build(const BuildOptions& options, TimingCache& timing,
                                           BuildObserver& observer) = 0;
  /** Must not outlive the library. */
  virtual std::unique_ptr<Engine> load(PlanSource& plan) = 0;
};

/** Raise when a plugin's fields, formats or meaning change: plans built before are then built anew. */
constexpr int kPluginAbiVersion = 1;

} // namespace scenebus::tensorrt
