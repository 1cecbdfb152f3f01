#include "tensorrt/runtime/memoryForecast.h"
#include "tensorrt/runtime/modelHost.h"
#include "tests/support/checks.h"
#include "tests/tensorrt/runtime/modelFixture.h"

#include <future>
#include <memory>

using namespace scenebus;
using namespace scenebus::tensorrt;
using namespace scenebus::test;
using emulation::Operation;
using Floats = std::vector<float>;

namespace {

/** Sum of the cross keys of an image of these pixels. */
float crossSum(const Floats& pixels) {
  float sum = 0;
  for (const float pixel : pixels)
    sum += 2 * (2 * pixel) + 100;
  return sum;
}

} // namespace

TEST_CASE("model: prefill, then steps that see what came before, the image and the weight") {
  for (const bool plugins : {true, false}) {
    ModelFixture f(plugins);
    const auto model = f.open();
    const auto image = f.encode(*model, {1, 2, 3});
    CHECK(image->positions == 3);
    auto sequence = model->createSequence();
    const float base = 7 + crossSum({1, 2, 3});
    CHECK(f.forward(*model, *sequence, 0, {1, 10, 100}, {image.get()}) == Floats({base + 1, base + 11, base + 111}));
    CHECK(f.forward(*model, *sequence, 3, {5}, {image.get()}) == Floats({base + 116}));
    // A shorter past is a rolled back draft.
    CHECK(f.forward(*model, *sequence, 2, {5}, {image.get()}) == Floats({base + 16}));
    CHECK(f.forward(*model, *sequence, 3, {1}) == Floats({7 + 17}));
    CHECK(f.library.undefinedSteps == 0);
  }
}

TEST_CASE("model: a plan whose profile contradicts itself is refused, one whose sizes are free is not") {
  // Rows that the graph joins out of two inputs, beside a third that claims to be their sum.
  for (const std::int64_t claimed : {ModelFixture::kMostKeys, ModelFixture::kMostKeys + 1, std::int64_t{0}}) {
    ModelFixture f;
    auto& kind = f.library.kinds.at("vision");
    kind.tensors.push_back({{"padding", TensorType::kFloat32, {-1}, true, false}, {1}});
    if (claimed > 0) {
      kind.tensors.push_back({{"rows", TensorType::kFloat32, {-1}, true, false}, {claimed}, {2}});
      kind.problem = [](const auto& inputs) {
        const auto sum = inputs.at("pixels")[0] + inputs.at("padding")[0], rows = inputs.at("rows")[0];
        return sum == rows ? "" : std::to_string(sum) + " rows are " + std::to_string(rows);
      };
    }
    for (auto& stage : f.spec.stages)
      if (stage.name == "vision") {
        stage.bindings.push_back({"padding", Role::kHost, TensorType::kFloat32, {-1}, {1}});
        if (claimed > 0)
          stage.bindings.push_back({"rows", Role::kHost, TensorType::kFloat32, {-1}, {claimed}});
      }
    const std::string failure = failureOf([&] { f.open(); });
    const bool fits = claimed == 0 || claimed == ModelFixture::kMostKeys + 1;
    CHECK_MESSAGE(failure.empty() == fits, "%s", failure.c_str());
    CHECK(fits || contains(failure, "13 rows are 12"));
  }
}

TEST_CASE("model: what the inspector tells comes with the plans that are asked for it") {
  ModelFixture f;
  f.library.kinds.at("vision").layers = R"({"Layers": ["_gemm_mha_v2"]})";
  f.library.kinds.at("decode").layers = "unasked";
  for (auto& stage : f.spec.stages)
    stage.plan.options.inspected = stage.name == "vision";
  const auto model = f.open();
  for (std::size_t i = 0; i < f.spec.stages.size(); ++i)
    CHECK(model->planFiles()[i].layers ==
          (f.spec.stages[i].name == "vision" ? R"({"Layers": ["_gemm_mha_v2"]})" : ""));
}

TEST_CASE("model: sequences do not see each other, and a new one is empty") {
  for (const bool plugins : {true, false}) {
    ModelFixture f(plugins);
    const auto model = f.open();
    auto first = model->createSequence(), second = model->createSequence();
    f.forward(*model, *first, 0, {1});
    f.forward(*model, *second, 0, {20});
    CHECK(f.forward(*model, *first, 1, {2}) == Floats({7 + 3}));
    CHECK(f.forward(*model, *second, 1, {2}) == Floats({7 + 22}));
    model->release(std::move(first));
    auto third = model->createSequence();
    CHECK(f.forward(*model, *third, 3, {1}) == Floats({7 + 1})); // the rows before are zeros
  }
}

TEST_CASE("model: several images are joined in order, and once") {
  ModelFixture f;
  const auto model = f.open();
  const auto a = f.encode(*model, {1, 2}), b = f.encode(*model, {5, 6, 7});
  auto sequence = model->createSequence();
  const float base = 7 + crossSum({1, 2}) + crossSum({5, 6, 7});
  CHECK(f.forward(*model, *sequence, 0, {1}, {a.get(), b.get()}) == Floats({base + 1}));
  const int copies = f.device.count(Operation::kCopy);
  CHECK(f.forward(*model, *sequence, 0, {2}, {a.get(), b.get()}) == Floats({base + 2}));
  CHECK(f.device.count(Operation::kCopy) == copies + 3); // two inputs, one output

  // Head by head: all positions of the first image, then of the second.
  ImageStore store(f.device, {{"cross_key.0", Role::kCross, TensorType::kFloat32, {1, 2, -1, 1}, {1, 2, 3, 1}}}, 3, 0);
  StreamOwner stream(f.device);
  auto first = store.create(1), second = store.create(2);
  const Floats one{1, 2}, two{10, 11, 20, 21};
  f.device.copyToDevice(first->memory.get(), one.data(), 8, stream.get());
  f.device.copyToDevice(second->memory.get(), two.data(), 16, stream.get());
  const ImageState& joined = store.joined({second.get(), first.get()}, stream.get());
  Floats result(6);
  f.device.copyToHost(result.data(), joined.memory.get(), 24, stream.get());
  f.device.synchronize(stream.get());
  CHECK(result == Floats({10, 11, 1, 20, 21, 2}));
}

TEST_CASE("model: queries come out when they are asked for, recorded steps included, and keys of an image head by head") {
  for (const bool plugins : {true, false}) {
    ModelFixture f(plugins);
    const auto model = f.open();
    const auto image = f.encode(*model, {1, 2, 3}), other = f.encode(*model, {9});
    auto sequence = model->createSequence();
    const float base = 7 + crossSum({1, 2, 3});
    for (int i = 0; i < 6; ++i) {
      // Every other step asks for the queries; nothing else changes.
      const float row = static_cast<float>(i + 1);
      float logits = -1, query = -1;
      const std::int32_t past = i;
      ForwardCall call;
      call.stage = "decode";
      call.inputs["inputs_embeds"] = {TensorType::kFloat32, {1, 1, 1}, &row, 4};
      call.inputs["past_length"] = {TensorType::kInt32, {1}, &past, 4};
      call.images = {image.get()};
      call.outputs["logits"] = {&logits, 4};
      if (i % 2 == 0)
        call.outputs["cross_query.0"] = {&query, 4};
      model->forward(*sequence, call, {});
      CHECK(logits == base + row * (row + 1) / 2);
      CHECK(query == (i % 2 == 0 ? 3 * row : -1));
    }
    CHECK(f.device.count(Operation::kLaunchGraph) > 0);

    const auto keysOf = [&](const ImageState& of, std::int64_t head, std::size_t count) {
      Floats keys(count);
      model->read(of, "cross_key.0", head, {keys.data(), keys.size() * 4}, {});
      return keys;
    };
    CHECK(keysOf(*image, 0, 3) == Floats({2, 4, 6}));
    CHECK(keysOf(*image, 1, 3) == Floats({102, 104, 106}));
    CHECK(keysOf(*image, 1, 2) == Floats({102, 104})); // unused slots lie behind
    CHECK(keysOf(*other, 1, 1) == Floats({118}));
    CHECK(contains(failureOf([&] { keysOf(*image, 1, 4); }), "at most 12 bytes of cross_key.0"));
    CHECK(contains(failureOf([&] { keysOf(*image, 2, 3); }), "head of 0 to 1"));
    CHECK(contains(failureOf([&] { keysOf(*image, -1, 3); }), "head of 0 to 1"));
    float key = 0;
    CHECK(contains(failureOf([&] { model->read(*image, "cross_key.7", 0, {&key, 4}, {}); }), "no cross_key.7"));
    CHECK(keysOf(*image, 0, 1) == Floats({2})); // nothing of that is the end of the model
    f.device.failAt(Operation::kCopy, 1);
    CHECK(contains(failureOf([&] { keysOf(*image, 0, 1); }), "ERR_ENGINE_FAILED"));
    CHECK(contains(failureOf([&] { keysOf(*image, 0, 1); }), "opened anew"));
  }
}

TEST_CASE("model: the decode step is recorded, for each combination of shapes and addresses") {
  ModelFixture f;
  const auto model = f.open();
  auto sequence = model->createSequence(), other = model->createSequence();
  for (int i = 0; i < 8; ++i)
    CHECK(f.forward(*model, *sequence, i, {1}) == Floats({7.0f + static_cast<float>(i + 1)}));
  CHECK(f.device.count(Operation::kCapture) == 1);
  CHECK(f.device.count(Operation::kLaunchGraph) == 6); // the first runs plainly, the second is recorded
  for (int i = 0; i < 4; ++i)
    f.forward(*model, *sequence, 0, {1, 2});
  for (int i = 0; i < 4; ++i)
    CHECK(f.forward(*model, *other, 0, {3}) == Floats({10}));
  CHECK(f.device.count(Operation::kCapture) == 3);
  CHECK(f.forward(*model, *sequence, 2, {1}) == Floats({7 + 4}));
  CHECK(f.library.undefinedSteps == 0);
}

TEST_CASE("model: recording alternates where K/V are not written in place") {
  ModelFixture f(false);
  const auto model = f.open();
  auto sequence = model->createSequence();
  for (int i = 0; i < 10; ++i)
    CHECK(f.forward(*model, *sequence, i, {1}) == Floats({7.0f + static_cast<float>(i + 1)}));
  CHECK(f.device.count(Operation::kCapture) == 2);
  CHECK(f.device.count(Operation::kLaunchGraph) == 6);
}

TEST_CASE("model: without a recording steps run plainly, and that is said once") {
  ModelFixture f;
  const auto model = f.open();
  auto sequence = model->createSequence();
  f.device.failAt(Operation::kCapture, 1);
  for (int i = 0; i < 5; ++i)
    CHECK(f.forward(*model, *sequence, i, {1}) == Floats({7.0f + static_cast<float>(i + 1)}));
  CHECK(f.device.count(Operation::kLaunchGraph) == 0);
  CHECK(f.device.count(Operation::kCapture) == 1);
  CHECK(f.notices.size() == 1);
  CHECK(contains(f.notices.back(), "without CUDA graphs"));
}

TEST_CASE("model: K/V that are not written in place are counted, and told once") {
  for (const int how : {0, 1, 2}) {
    ModelFixture f;
    f.library.movesKeyValues = how == 1;
    f.library.copiesKeyValues = how == 2;
    const auto model = f.open();
    auto sequence = model->createSequence();
    f.forward(*model, *sequence, 0, {1});
    CHECK(model->keyValueCopies() == (how == 0 ? 0 : 1));
    // The second step is put together twice: run, then recorded; what is repeated is not counted.
    for (int i = 1; i < 5; ++i)
      f.forward(*model, *sequence, i, {1});
    CHECK(model->keyValueCopies() == (how == 0 ? 0 : 3));
    CHECK(f.notices.size() == (how == 0 ? 0 : 1));
    CHECK(how == 0 || contains(f.notices.back(), "copies K/V of decode-text"));
  }
}

TEST_CASE("model: what cannot fit is refused with figures before anything is built") {
  ModelFixture f;
  f.device.limitMemory(600);
  const std::string failure = failureOf([&] { f.open(); });
  CHECK_MESSAGE(contains(failure, "ERR_ENGINE_OUT_OF_MEMORY") && contains(failure, "K/V of sequences"), "%s",
                failure.c_str());
  CHECK(f.library.builds == 0);

  ModelFixture reserve;
  reserve.spec.reserveBytes = std::uint64_t{100} << 20;
  const std::string reserved = failureOf([&] { reserve.open(); });
  CHECK_MESSAGE(contains(reserved, "reserve 0.1 GB"), "%s", reserved.c_str());

  ModelFixture expected;
  expected.spec.stages[0].plan.expectedBytes = std::uint64_t{5} << 30;
  CHECK(contains(failureOf([&] { expected.open(); }), "plans 5.4 GB"));
}

TEST_CASE("forecast: a board with shared memory can give what the system frees, a card what it has") {
  ModelFixture f;
  f.folder.write("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n");
  CHECK(availableDeviceBytes(f.device, f.folder.path) == std::uint64_t{64} << 20);
  f.device.editableInfo().integrated = true;
  CHECK(availableDeviceBytes(f.device, f.folder.path) == std::uint64_t{4'000'000} * 1024);
}

TEST_CASE("model: out of memory at any allocation leaves nothing behind") {
  int allocations = 0;
  {
    ModelFixture whole;
    const auto model = whole.open();
    allocations = whole.device.count(Operation::kAllocate);
  }
  CHECK(allocations >= 5);
  for (int i = 1; i <= allocations; ++i) {
    ModelFixture f;
    f.device.failAt(Operation::kAllocate, i, "ERR_ENGINE_OUT_OF_MEMORY");
    const std::string failure = failureOf([&] { f.open(); });
    CHECK_MESSAGE(contains(failure, "ERR_ENGINE_OUT_OF_MEMORY") && contains(failure, "the test model"), "%d: %s", i,
                  failure.c_str());
    CHECK(f.device.liveAllocations() == 0);
    CHECK(f.device.liveStreams() == 0);
    CHECK(f.device.livePinned() == 0);
    CHECK(f.library.contexts == 0);
  }
  for (int i = 1; i <= 2; ++i) {
    ModelFixture f;
    f.device.failAt(Operation::kAllocatePinned, i, "ERR_ENGINE_OUT_OF_MEMORY");
    CHECK(contains(failureOf([&] { f.open(); }), "ERR_ENGINE_OUT_OF_MEMORY"));
    CHECK(f.device.liveAllocations() == 0 && f.device.livePinned() == 0);
  }
}

TEST_CASE("model: no memory for one more sequence or image does not end the others") {
  ModelFixture f;
  const auto model = f.open();
  auto sequence = model->createSequence();
  f.device.failAt(Operation::kAllocate, 1, "ERR_ENGINE_OUT_OF_MEMORY");
  CHECK(contains(failureOf([&] { model->createSequence(); }), "ERR_ENGINE_OUT_OF_MEMORY"));
  const auto image = f.encode(*model, {1}); // takes the one that was announced
  f.device.failAt(Operation::kAllocate, 1, "ERR_ENGINE_OUT_OF_MEMORY");
  CHECK(contains(failureOf([&] { f.encode(*model, {1}); }), "ERR_ENGINE_OUT_OF_MEMORY"));
  CHECK(f.forward(*model, *sequence, 0, {1}, {image.get()}) == Floats({7 + crossSum({1}) + 1}));
}

TEST_CASE("model: joined images give way when memory is short") {
  ModelFixture f;
  f.spec.images = 3;
  const auto model = f.open();
  const Floats large(ModelFixture::kMostKeys, 1.0f);
  const auto a = f.encode(*model, large), b = f.encode(*model, {2}), c = f.encode(*model, {3});
  auto sequence = model->createSequence();
  f.forward(*model, *sequence, 0, {1}, {a.get(), b.get()});
  f.device.failAt(Operation::kAllocate, 1, "ERR_ENGINE_OUT_OF_MEMORY");
  CHECK(f.forward(*model, *sequence, 0, {1}, {a.get(), c.get()}) == Floats({7 + crossSum(large) + crossSum({3}) + 1}));
}

TEST_CASE("model: a failed copy, launch or step poisons the model, and says so from then on") {
  const auto expectPoison = [](ModelFixture& f, const std::function<void()>& provoke) {
    const auto model = f.open();
    auto sequence = model->createSequence();
    f.forward(*model, *sequence, 0, {1});
    provoke();
    const std::string first = failureOf([&] { f.forward(*model, *sequence, 1, {1}); });
    CHECK_MESSAGE(contains(first, "ERR_ENGINE_FAILED"), "%s", first.c_str());
    const std::string later = failureOf([&] { f.forward(*model, *sequence, 1, {1}); });
    CHECK_MESSAGE(contains(later, "ERR_ENGINE_FAILED") && contains(later, "opened anew"), "%s", later.c_str());
    CHECK(contains(failureOf([&] { f.encode(*model, {1}); }), "opened anew"));
    CHECK(contains(failureOf([&] { model->createSequence(); }), "opened anew"));
  };
  for (const auto operation : {Operation::kCopy, Operation::kLaunch, Operation::kSynchronize}) {
    ModelFixture f;
    expectPoison(f, [&] { f.device.failAt(operation, 1); });
  }
  ModelFixture f;
  expectPoison(f, [&] { f.library.failEnqueue = 1; });
}

TEST_CASE("model: a step that fails leaves the sequence as it was where K/V are not written in place") {
  ModelFixture f(false);
  const auto model = f.open();
  auto sequence = model->createSequence();
  f.forward(*model, *sequence, 0, {1});
  const auto before = sequence->memory.get();
  f.device.failAt(Operation::kCopy, 3, "ERR_ENGINE_OUT_OF_MEMORY"); // of the logits
  CHECK(contains(failureOf([&] { f.forward(*model, *sequence, 1, {50}); }), "ERR_ENGINE_OUT_OF_MEMORY"));
  CHECK(sequence->memory.get() == before);
  CHECK(f.forward(*model, *sequence, 1, {2}) == Floats({7 + 3}));
}

TEST_CASE("model: aborts between the stages of an image and before a step") {
  ModelFixture f;
  const auto model = f.open();
  std::int32_t flag = 0;
  auto& vision = f.library.kinds.at("vision");
  const auto compute = vision.compute;
  vision.compute = [&](const StepTensors& tensors) {
    compute(tensors);
    flag = 1;
  };
  const int launches = f.device.count(Operation::kLaunch);
  CHECK(failureOf([&] { f.encode(*model, {1}, {&flag}); }) == "ABORTED");
  CHECK(f.device.count(Operation::kLaunch) == launches + 1);
  auto sequence = model->createSequence();
  CHECK(failureOf([&] { f.forward(*model, *sequence, 0, {1}, {}, {&flag}); }) == "ABORTED");
  flag = 0;
  CHECK(f.forward(*model, *sequence, 0, {1}, {}, {&flag}) == Floats({8}));
}

TEST_CASE("model: opening can be aborted, and leaves nothing on the device") {
  ModelFixture f;
  std::int32_t flag = 0;
  f.library.duringBuild = [&] { flag = f.library.builds == 3 ? 1 : 0; };
  CHECK(failureOf([&] { f.open({&flag}); }) == "ABORTED");
  CHECK(f.device.liveAllocations() == 0);
  // The plans that were ready are kept.
  flag = 0;
  f.library.duringBuild = nullptr;
  f.open({&flag});
  CHECK(f.library.builds == 6);
}

TEST_CASE("model: bad calls are refused and change nothing") {
  ModelFixture f;
  const auto model = f.open();
  auto sequence = model->createSequence();
  const auto image = f.encode(*model, {1});
  f.forward(*model, *sequence, 0, {1});
  const auto refused = [&](const std::string& code, const auto& work) {
    const std::string failure = failureOf(work);
    CHECK_MESSAGE(contains(failure, code), "%s instead of %s", failure.c_str(), code.c_str());
  };
  refused("ERR_CONTEXT_OVERFLOW", [&] { f.forward(*model, *sequence, 16, {1}); });
  refused("ERR_CONTEXT_OVERFLOW", [&] { f.forward(*model, *sequence, 15, {1, 2}); });
  refused("ERR_CONTEXT_OVERFLOW", [&] { f.forward(*model, *sequence, -1, {1}); });
  refused("ERR_ARGUMENT_INVALID", [&] { f.forward(*model, *sequence, 0, {1, 2, 3}, {}, {}, "decode-text"); });
  refused("ERR_ARGUMENT_INVALID", [&] { f.forward(*model, *sequence, 0, {1}, {}, {}, "decode"); });
  refused("ERR_ARGUMENT_INVALID", [&] { f.forward(*model, *sequence, 0, {1}, {image.get()}, {}, "decode-text"); });
  refused("ERR_ARGUMENT_INVALID", [&] { f.forward(*model, *sequence, 0, {1}, {}, {}, "vision"); });
  refused("ERR_ARGUMENT_INVALID", [&] { f.forward(*model, *sequence, 0, {1}, {}, {}, "nothing"); });
  refused("ERR_ARGUMENT_INVALID", [&] { f.encode(*model, Floats(ModelFixture::kMostKeys + 1, 1.0f)); });
  refused("ERR_ARGUMENT_INVALID", [&] { model->encode({}, {}, {}); });
  CHECK(f.forward(*model, *sequence, 1, {1}) == Floats({9}));
}

TEST_CASE("model: plan, manifest and checkpoint must belong together") {
  const auto refused = [](const std::string& stage, const auto& change, const char* code = "ERR_MODEL_INVALID") {
    ModelFixture f;
    change(f);
    const std::string failure = failureOf([&] { f.open(); });
    CHECK_MESSAGE(contains(failure, code) && contains(failure, stage), "%s", failure.c_str());
    CHECK(f.device.liveAllocations() == 0);
  };
  refused("lacks", [](ModelFixture& f) { f.spec.stages[0].bindings.pop_back(); });
  refused("extra", [](ModelFixture& f) {
    f.spec.stages[0].bindings.push_back({"extra", Role::kHost, TensorType::kFloat32, {1}, {1}});
  });
  refused("float16", [](ModelFixture& f) { f.spec.stages[0].bindings[0].type = TensorType::kFloat16; });
  refused("expected the weight w", [](ModelFixture& f) { f.spec.weights.clear(); });
  refused("expected the weight w", [](ModelFixture& f) { f.spec.weights[0].sizeBytes = 3; });
  refused("ends outside", [](ModelFixture& f) { f.spec.weights[0].offsetBytes = 7; });
  refused(
      "cannot map the weight w", [](ModelFixture& f) { f.spec.weights[0].file += ".missing"; }, "ERR_MODEL_NOT_FOUND");
}

TEST_CASE("weights: more than the staging buffers hold arrive whole, whatever their offsets") {
  ModelFixture f;
  std::string file(40, '-');
  std::vector<std::string> stages;
  for (const std::size_t size : {std::size_t{1}, std::size_t{8} << 20, (std::size_t{17} << 20) + 3, std::size_t{0}}) {
    std::string stage(size, ' ');
    for (std::size_t i = 0; i < size; ++i)
      stage[i] = static_cast<char>(i * 7 + size + i / 4096);
    stages.push_back(stage);
  }
  std::vector<WeightLocation> weights;
  const std::string path = f.folder.file("weights");
  for (std::size_t i = 0; i < stages.size(); ++i) {
    weights.insert(weights.begin(), {"w" + std::to_string(i), path, file.size(), stages[i].size()});
    file += stages[i] + std::string(i + 1, '-');
  }
  f.folder.write("weights", file);
  // In one allocation, and in pieces of which one weight is larger than a piece.
  for (const std::uint64_t chunkBytes : {WeightStore::kChunkBytes, std::uint64_t{10} << 20}) {
    std::uint64_t done = 0, total = 0;
    const auto before = f.device.count(Operation::kAllocate);
    const WeightStore store(
        f.device, weights, {},
        [&](std::uint64_t d, std::uint64_t t) {
          done = d;
          total = t;
        },
        chunkBytes);
    const auto allocations = f.device.count(Operation::kAllocate) - before;
    CHECK((chunkBytes == WeightStore::kChunkBytes ? allocations == 1 : allocations >= 2));
    CHECK(done == total && total == (std::uint64_t{25} << 20) + 4);
    StreamOwner stream(f.device);
    for (std::size_t i = 0; i < stages.size(); ++i) {
      std::string there(stages[i].size(), '?');
      const auto address = store.addressOf("w" + std::to_string(i));
      CHECK(address % kDeviceAlignment == 0);
      if (there.empty())
        continue;
      f.device.copyToHost(there.data(), address, there.size(), stream.get());
      f.device.synchronize(stream.get());
      CHECK(there == stages[i]);
    }
  }
  CHECK(f.device.livePinned() == 0);
}

TEST_CASE("model: a copy that fails while weights load is typed and leaves nothing") {
  ModelFixture f;
  f.device.failAt(Operation::kCopy, 1);
  CHECK(contains(failureOf([&] { f.open(); }), "ERR_ENGINE_FAILED"));
  CHECK(f.device.liveAllocations() == 0 && f.device.livePinned() == 0 && f.device.liveStreams() == 0);
}

TEST_CASE("model host: calls run in order on one thread, and memory goes back whoever lets go") {
  ModelFixture f;
  {
    PlanCache plans = f.cache();
    auto host = std::make_shared<ModelHost>();
    host->thread().post([&, host = host.get()] { host->open(f.device, plans, f.spec, f.listener, {}); });
    std::vector<int> order;
    std::promise<std::thread::id> first, second;
    host->post([&](Model&) {
      order.push_back(1);
      first.set_value(std::this_thread::get_id());
    });
    auto sequence = std::make_unique<Held<SequenceState>>(host);
    host->post([&](Model& model) {
      order.push_back(2);
      sequence->state = model.createSequence();
      second.set_value(std::this_thread::get_id());
    });
    const auto thread = first.get_future().get();
    CHECK(thread == second.get_future().get());
    CHECK(thread != std::this_thread::get_id());
    CHECK(order == std::vector<int>({1, 2}));
    host.reset();
    sequence.reset(); // held the model open
  }
  CHECK(f.device.liveAllocations() == 0);
  CHECK(f.device.liveStreams() == 0);
  PlanCache plans = f.cache();
  f.device.failAt(Operation::kAllocate, 1, "ERR_ENGINE_OUT_OF_MEMORY");
  CHECK(contains(failureOf([&] { ModelHost().open(f.device, plans, f.spec, f.listener, {}); }),
                 "ERR_ENGINE_OUT_OF_MEMORY"));
}
