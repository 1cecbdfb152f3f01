#pragma once
#include "common/codedError.h"
#include "tensorrt/plan/inferenceLibrary.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

/**
 * An inference library of the tests' own. A "graph" is a file whose first word names one of the test engines; its
 * plan is that file's contents. Steps run as a kernel of the emulated device, so that they can be recorded.
 */
namespace scenebus::test {

struct FakeTensor {
  tensorrt::TensorInfo info;
  tensorrt::Shape max;
  /** Of an input; empty: 1 for what varies. */
  tensorrt::Shape min = {};
};

/** A tensor within a step. */
struct StepTensor {
  std::uint8_t* data = nullptr;
  tensorrt::Shape shape;
  template <typename T> T* as() const { return reinterpret_cast<T*>(data); }
};

using StepTensors = std::map<std::string, StepTensor>;

struct FakeEngineKind {
  std::vector<FakeTensor> tensors;
  std::uint64_t scratchBytes = 0;
  /** What its inspector tells. */
  std::string layers = {};
  /** Shape of an output from the inputs' shapes. */
  std::function<tensorrt::Shape(const std::string& output, const std::map<std::string, tensorrt::Shape>& inputs)>
      shapeOf;
  std::function<void(const StepTensors&)> compute;
  /** Why these shapes do not go together; empty when they do. Asked at the ends of the profile and before each step. */
  std::function<std::string(const std::map<std::string, tensorrt::Shape>& inputs)> problem = {};
};

struct FakeLibrary final : tensorrt::InferenceLibrary {
  std::map<std::string, FakeEngineKind> kinds;
  std::string where = "/fake/libnvinfer.so";
  int builds = 0, loads = 0;
  int versionNumber = 10'03'00;
  /** Called in the middle of a build. */
  std::function<void()> duringBuild;
  /** Replaces what a build makes. */
  std::string planContents;
  /** What it warns of in a build. */
  std::vector<std::string> remarks;
  std::vector<std::uint8_t> timingIn;
  bool refusesTimings = false;
  /** How often `load` refuses. */
  int refusals = 0;
  /** Graph steps whose context was changed after it was recorded: undefined in TensorRT. */
  int undefinedSteps = 0;
  int contexts = 0;
  /** Gives plugins K/V that lie elsewhere, or other ones to write than to read. */
  bool movesKeyValues = false, copiesKeyValues = false;
  /** The n-th enqueue from now fails; 0 never. */
  int failEnqueue = 0;

  tensorrt::Version version() const override { return {versionNumber}; }
  const std::string& path() const override { return where; }
  std::unique_ptr<tensorrt::PlanBytes> build(const tensorrt::BuildOptions& options, tensorrt::TimingCache& timing,
                                             tensorrt::BuildObserver& observer) override;
  std::unique_ptr<tensorrt::Engine> load(tensorrt::PlanSource& plan) override;

  cuda::Device* device = nullptr;
};

} // namespace scenebus::test
