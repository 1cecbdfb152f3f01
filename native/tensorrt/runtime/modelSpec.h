#pragma once
#include "tensorrt/plan/planCache.h"
#include "tensorrt/plan/tensor.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

/** A model as TypeScript describes it; see sdk/engine/tensorrt/addon-types.ts for what the fields mean. */
namespace scenebus::tensorrt {

enum class Role { kHost, kPast, kPresent, kCross, kWeight, kOutput };

struct Binding {
  std::string name;
  Role role = Role::kHost;
  TensorType type = TensorType::kFloat32;
  /** -1 is a dimension that the call decides. */
  Shape shape;
  /** Largest that a call may bring or get: no dimension is open. */
  Shape maxShape;
};

struct StageSpec {
  std::string name;
  PlanRequest plan;
  std::vector<Binding> bindings;
  /** Steps are recorded as CUDA graphs. */
  bool isCaptured = false;
};

struct WeightLocation {
  std::string name;
  std::string file;
  std::uint64_t offsetBytes = 0, sizeBytes = 0;
};

struct ModelSpec {
  std::string name;
  std::vector<StageSpec> stages;
  /** Stages that make an image's cross K/V, in order. */
  std::vector<std::string> encode;
  std::vector<WeightLocation> weights;
  /** Taken when the model opens. */
  int sequences = 1, images = 1;
  std::int64_t imagePositions = 0;
  std::uint64_t reserveBytes = 0;
};

/** Borrowed: valid until the call returns. */
struct HostInput {
  TensorType type = TensorType::kFloat32;
  Shape shape;
  const void* data = nullptr;
  std::uint64_t sizeBytes = 0;
};

struct HostOutput {
  void* data = nullptr;
  std::uint64_t sizeBytes = 0;
};

using HostInputs = std::map<std::string, HostInput>;
using HostOutputs = std::map<std::string, HostOutput>;

/** Device memory by purpose; `plans` counts what plans hold of weights. */
struct MemoryUse {
  std::uint64_t weights = 0, plans = 0, keyValues = 0, images = 0, scratch = 0, bindings = 0;
  std::uint64_t total() const { return weights + plans + keyValues + images + scratch + bindings; }
};

} // namespace scenebus::tensorrt
