#include "tests/tensorrt/support/fakeLibrary.h"

#include "tensorrt/plan/inPlaceWatch.h"
#include "tests/gpu/emulation/blockRunner.h"
#include "tests/gpu/emulation/kernelRegistry.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace scenebus::test {
namespace {

using namespace tensorrt;

struct FakeContext;

Shape leastOf(const FakeTensor& tensor) {
  Shape least = tensor.min.empty() ? tensor.info.shape : tensor.min;
  for (auto& side : least)
    side = side < 0 ? 1 : side;
  return least;
}

void requireConsistent(const FakeEngineKind& kind, const std::map<std::string, Shape>& inputs) {
  const std::string problem = kind.problem ? kind.problem(inputs) : "";
  if (!problem.empty())
    throw CodedError("ERR_MODEL_UNSUPPORTED", "the shapes do not go together: " + problem);
}

/** TensorRT only warns of this and fails later; here it is an error where it arises. */
void requireConsistentProfile(const FakeEngineKind& kind) {
  std::map<std::string, Shape> least, most;
  for (const auto& tensor : kind.tensors)
    if (tensor.info.isInput) {
      least[tensor.info.name] = leastOf(tensor);
      most[tensor.info.name] = tensor.max;
    }
  requireConsistent(kind, least);
  requireConsistent(kind, most);
}

/** What one enqueue put into the stream. */
struct Step {
  FakeContext* context = nullptr;
  int changes = 0;
  StepTensors tensors;
};

struct FakeContext final : Context {
  FakeContext(FakeLibrary& library, const FakeEngineKind& kind) : library(library), kind(kind) { ++library.contexts; }
  ~FakeContext() override { --library.contexts; }

  void setShape(const std::string& input, const Shape& shape) override {
    const auto& tensor = find(input);
    const Shape least = leastOf(tensor);
    bool fits = matches(tensor.info.shape, shape);
    for (std::size_t i = 0; fits && i < shape.size(); ++i)
      fits = shape[i] >= least[i] && shape[i] <= tensor.max[i];
    if (!fits)
      throw CodedError("ERR_ENGINE_FAILED", "bad shape of " + input + ": " + shapeText(shape) + " is not from " +
                                                shapeText(least) + " to " + shapeText(tensor.max));
    shapes[input] = shape;
    ++changes;
  }
  Shape shapeOf(const std::string& tensor) override {
    for (const auto& each : kind.tensors)
      if (each.info.isInput && shapes.count(each.info.name) == 0)
        shapes[each.info.name] = each.info.shape; // fixed ones need no call
    requireConsistent(kind, shapes);
    return find(tensor).info.isInput ? shapes.at(tensor) : kind.shapeOf(tensor, shapes);
  }
  void setAddress(const std::string& tensor, cuda::DevicePointer address) override {
    find(tensor);
    addresses[tensor] = address;
    ++changes;
  }
  void setScratch(cuda::DevicePointer address, std::uint64_t sizeBytes) override {
    if (address == 0 || sizeBytes < kind.scratchBytes)
      throw CodedError("ERR_ENGINE_FAILED", "not enough scratch");
    hasScratch = true;
    ++changes;
  }
  void enqueue(cuda::Stream stream) override {
    if (!hasScratch)
      throw CodedError("ERR_ENGINE_FAILED", "no scratch");
    if (library.failEnqueue > 0 && --library.failEnqueue == 0)
      throw CodedError("ERR_ENGINE_FAILED", "the fake step failed");
    auto step = std::make_unique<Step>();
    step->context = this;
    step->changes = changes;
    for (const auto& each : kind.tensors) {
      const auto address = addresses.find(each.info.name);
      if (address == addresses.end())
        throw CodedError("ERR_ENGINE_FAILED", "no address of " + each.info.name);
      step->tensors[each.info.name] = {reinterpret_cast<std::uint8_t*>(address->second), shapeOf(each.info.name)};
    }
    startPlugins();
    Step* argument = step.get();
    steps.push_back(std::move(step));
    void* arguments[] = {&argument};
    library.device->launch({"fakeStep", {}, {32}, 0, arguments}, stream);
  }

  /** What plugins in the plan tell of the caches that they are handed. */
  void startPlugins() const {
    const std::string prefix = "present_";
    for (const auto& [name, address] : addresses)
      if (name.rfind(prefix, 0) == 0) {
        const cuda::DevicePointer past = addresses.at("past_" + name.substr(prefix.size()));
        InPlaceWatch::note(library.movesKeyValues ? 64 : past,
                           library.movesKeyValues ? 64 : library.copiesKeyValues ? 128 : address);
      }
  }

  const FakeTensor& find(const std::string& name) const {
    const auto found = std::find_if(kind.tensors.begin(), kind.tensors.end(),
                                    [&](const FakeTensor& each) { return each.info.name == name; });
    if (found == kind.tensors.end())
      throw CodedError("ERR_ENGINE_FAILED", "no tensor " + name);
    return *found;
  }

  FakeLibrary& library;
  const FakeEngineKind& kind;
  std::map<std::string, Shape> shapes;
  std::map<std::string, cuda::DevicePointer> addresses;
  std::vector<std::unique_ptr<Step>> steps;
  int changes = 0;
  bool hasScratch = false;
};

void fakeStep(Step* step) {
  if (emulation::currentThread().threadIdx.x != 0)
    return;
  if (step->changes != step->context->changes)
    ++step->context->library.undefinedSteps;
  step->context->kind.compute(step->tensors);
}

const bool kRegistered = emulation::registerKernel("fakeStep", 32, fakeStep);

struct FakeEngine final : Engine {
  FakeEngine(FakeLibrary& library, const FakeEngineKind& kind) : library(library), kind(kind) {
    for (const auto& each : kind.tensors)
      infos.push_back(each.info);
  }
  const std::vector<TensorInfo>& tensors() const override { return infos; }
  Shape maxShapeOf(const std::string& input) const override {
    for (const auto& each : kind.tensors)
      if (each.info.name == input && each.info.isInput)
        return each.max;
    return {};
  }
  std::uint64_t scratchBytes() const override { return kind.scratchBytes; }
  std::string layers() const override { return kind.layers; }
  std::unique_ptr<Context> createContext() override { return std::make_unique<FakeContext>(library, kind); }

  FakeLibrary& library;
  const FakeEngineKind& kind;
  std::vector<TensorInfo> infos;
};

struct TextBytes final : PlanBytes {
  explicit TextBytes(std::string text) : text(std::move(text)) {}
  const void* data() const override { return text.data(); }
  std::size_t sizeBytes() const override { return text.size(); }
  std::string text;
};

} // namespace

std::unique_ptr<PlanBytes> FakeLibrary::build(const BuildOptions& options, TimingCache& timing,
                                              BuildObserver& observer) {
  ++builds;
  timingIn = timing.bytes;
  if (refusesTimings && !timing.bytes.empty())
    timing.ignored = "the fake refused it";
  observer.onProgress({"fake phase", 1, 2});
  for (const auto& remark : remarks)
    observer.onRemark(remark);
  if (duringBuild)
    duringBuild();
  if (observer.isCancelled())
    throw Aborted();
  timing.bytes = {1, 2, 3};
  if (!planContents.empty())
    return std::make_unique<TextBytes>(planContents);
  std::ifstream file(options.graph);
  return std::make_unique<TextBytes>(std::string(std::istreambuf_iterator<char>(file), {}));
}

std::unique_ptr<Engine> FakeLibrary::load(PlanSource& plan) {
  ++loads;
  if (refusals > 0) {
    --refusals;
    throw CodedError("ERR_ENGINE_INCOMPATIBLE", "the fake refuses the plan");
  }
  std::string text(plan.sizeBytes(), ' ');
  if (plan.read(text.data(), text.size()) != text.size())
    throw CodedError("ERR_ENGINE_INCOMPATIBLE", "short plan");
  std::string kind;
  std::istringstream(text) >> kind;
  const auto found = kinds.find(kind);
  if (found == kinds.end())
    throw CodedError("ERR_ENGINE_INCOMPATIBLE", "unknown kind of plan " + kind);
  requireConsistentProfile(found->second);
  return std::make_unique<FakeEngine>(*this, found->second);
}

} // namespace scenebus::test
