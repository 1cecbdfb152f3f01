#include "tests/gpu/kernels/int4MatMul/int4Weights.h"
#include "gpu/kernels/halfMatMul/halfMatMul.h"

using namespace scenebus;
using namespace scenebus::test;
using namespace scenebus::kernels;

namespace {

struct Shape {
  int outputs, inputs, groupSize;
};

void checkProduct(int rows, const Shape& shape, ElementType outputType, ElementType scaleType = ElementType::kF16) {
  const Int4Weights weights(shape.outputs, shape.inputs, shape.groupSize, scaleType);
  const Floats x = asHalves(normal(static_cast<std::size_t>(rows) * static_cast<std::size_t>(shape.inputs)));
  const auto deviceX = upload(toHalves(x));
  const Bytes bytes = runTwice([&] {
    cuda::DeviceBuffer y(device(), static_cast<std::size_t>(rows) * static_cast<std::size_t>(shape.outputs) * bytesOf(outputType));
    int4MatMul(device(), stream(), deviceX.get(), rows, weights.onDevice(), y.get(), outputType);
    return download(y);
  });
  const double half = outputType == ElementType::kF32 ? 0 : 6e-4;
  CHECK_CLOSE(floatsOf(bytes, outputType), weights.times(x, rows), int4Tolerance(shape.inputs), half + 1e-5,
              "%d rows, N %d, K %d, group %d", rows, shape.outputs, shape.inputs, shape.groupSize);
}

} // namespace

TEST_CASE("int4 product of 1 to 9 rows at odd sizes") {
  // One chunk; fewer outputs than a tile; several turns of the warps with a remainder; outputs beyond a tile's edge.
  const Shape shapes[] = {{16, 128, 128}, {7, 256, 128}, {50, 2304, 128}, {33, 5248, 128},
                          {48, 64, 64},   {21, 960, 64}, {16, 32, 32},    {19, 672, 32},  {40, 512, 256}};
  int rows = 1;
  for (const auto& shape : shapes) {
    for (int i = 0; i < 3; ++i) {
      checkProduct(rows, shape, i == 1 ? ElementType::kF16 : ElementType::kF32);
      rows = rows % 9 + 1;
    }
  }
  for (int every = 1; every <= 9; ++every)
    checkProduct(every, {20, 640, 128}, ElementType::kF32, ElementType::kBf16);
}

TEST_CASE("int4 product of many rows at odd sizes") {
  checkProduct(9, {130, 128, 128}, ElementType::kF32);
  checkProduct(33, {17, 384, 128}, ElementType::kF16);
  checkProduct(64, {128, 192, 64}, ElementType::kF32);
  checkProduct(65, {131, 256, 128}, ElementType::kF32, ElementType::kBf16);
  checkProduct(130, {40, 192, 64}, ElementType::kF32);
  checkProduct(40, {140, 96, 32}, ElementType::kF16);
  checkProduct(66, {129, 96, 32}, ElementType::kF32);
  checkProduct(70, {24, 512, 256}, ElementType::kF32);
}

TEST_CASE("int4 product with one scale for a row") {
  checkProduct(1, {20, 640, 640}, ElementType::kF32);
  checkProduct(5, {9, 96, 96}, ElementType::kF16);
  checkProduct(12, {30, 192, 192}, ElementType::kF32);
}

TEST_CASE("int4 product takes any even group size, and x at any address") {
  checkProduct(3, {11, 96, 24}, ElementType::kF32);
  checkProduct(12, {9, 30, 6}, ElementType::kF16);
  const Int4Weights weights(5, 128, 128);
  const Floats x = asHalves(normal(2 * 128 + 1));
  const auto deviceX = upload(toHalves(x)); // used from its second half on
  cuda::DeviceBuffer y(device(), 2 * 5 * 4);
  int4MatMul(device(), stream(), deviceX.get() + 2, 2, weights.onDevice(), y.get(), ElementType::kF32);
  CHECK_CLOSE(as<float>(download(y)), weights.times({x.begin() + 1, x.end()}, 2), int4Tolerance(128), 1e-5, "shifted");
}

TEST_CASE("three int4 products of one x in one launch equal three launches") {
  const Int4Weights first(40, 512, 128), second(16, 512, 128), third(9, 512, 128);
  const Int4Weights* all[] = {&first, &second, &third};
  for (const int rows : {1, 2, 5, 8, 20}) {
    const Floats x = asHalves(normal(static_cast<std::size_t>(rows) * 512));
    const auto deviceX = upload(toHalves(x));
    std::vector<cuda::DeviceBuffer> outputs;
    std::vector<Int4Product> products;
    for (const auto* weights : all) {
      outputs.emplace_back(device(), static_cast<std::size_t>(rows) * static_cast<std::size_t>(weights->outputs) * 4);
      products.push_back({weights->onDevice(), outputs.back().get()});
    }
    int4MatMuls(device(), stream(), deviceX.get(), rows, products.data(), 3, ElementType::kF32);
    for (std::size_t i = 0; i < 3; ++i)
      CHECK_CLOSE(as<float>(download(outputs[i])), all[i]->times(x, rows), int4Tolerance(512), 1e-5, "%d rows, product %d",
                  rows, static_cast<int>(i));
  }
}

TEST_CASE("products and pairs of unlike groups run one by one") {
  const Int4Weights first(24, 256, 128), second(24, 256, 64, ElementType::kBf16);
  const Floats x = asHalves(normal(2 * 256));
  const auto deviceX = upload(toHalves(x));
  cuda::DeviceBuffer y(device(), 2 * 24 * 2), other(device(), 2 * 24 * 2), scratch(device(), 2 * 24 * 4);
  const Int4Product products[] = {{first.onDevice(), y.get()}, {second.onDevice(), other.get()}};
  int4MatMuls(device(), stream(), deviceX.get(), 2, products, 2);
  CHECK_CLOSE(floatsOf(download(other), ElementType::kF16), second.times(x, 2), 1e-4, 6e-4, "second product");
  int4GateUp(device(), stream(), deviceX.get(), 2, first.onDevice(), second.onDevice(), y.get(), scratch.get());
  CHECK_CLOSE(floatsOf(download(y), ElementType::kF16), reference::siluMul(first.times(x, 2), second.times(x, 2)), 1e-4, 3e-3,
              "gate and up");
}

TEST_CASE("gate and up with their activation, fused and apart") {
  for (const auto& shape : {Shape{40, 1152, 128}, Shape{19, 256, 64}, Shape{17, 96, 32}}) {
    const Int4Weights gate(shape.outputs, shape.inputs, shape.groupSize), up(shape.outputs, shape.inputs, shape.groupSize);
    for (const int rows : {1, 3, 8, 11}) {
      const auto count = static_cast<std::size_t>(rows) * static_cast<std::size_t>(shape.outputs);
      const Floats x = asHalves(normal(static_cast<std::size_t>(rows) * static_cast<std::size_t>(shape.inputs)));
      const auto deviceX = upload(toHalves(x));
      const Bytes bytes = runTwice([&] {
        cuda::DeviceBuffer y(device(), count * 2), scratch(device(), count * 4);
        int4GateUp(device(), stream(), deviceX.get(), rows, gate.onDevice(), up.onDevice(), y.get(), scratch.get());
        return download(y);
      });
      // Apart, gate and up are rounded to halves in between.
      CHECK_CLOSE(floatsOf(bytes, ElementType::kF16), reference::siluMul(gate.times(x, rows), up.times(x, rows)), 1e-5,
                  rows > 8 ? 3e-3 : 6e-4, "%d rows, N %d", rows, shape.outputs);
    }
  }
}

TEST_CASE("16-bit product at odd sizes") {
  for (const auto& shape : {Shape{16, 32, 0}, Shape{37, 1184, 0}, Shape{5, 160, 0}})
    for (const int rows : {1, 4, 8, 9, 17}) {
      const auto outputs = static_cast<std::size_t>(shape.outputs), inputs = static_cast<std::size_t>(shape.inputs);
      const Floats x = asHalves(normal(static_cast<std::size_t>(rows) * inputs));
      const Floats weight = asHalves(normal(outputs * inputs, 0.05f));
      const auto deviceX = upload(toHalves(x)), deviceWeight = upload(toHalves(weight));
      const Bytes bytes = runTwice([&] {
        cuda::DeviceBuffer y(device(), static_cast<std::size_t>(rows) * outputs * 4);
        halfMatMul(device(), stream(), deviceX.get(), rows, deviceWeight.get(), shape.outputs, shape.inputs, y.get(),
                   ElementType::kF32);
        return download(y);
      });
      CHECK_CLOSE(as<float>(bytes), reference::matMul(x, rows, weight, shape.outputs, shape.inputs),
                  int4Tolerance(shape.inputs), 1e-5, "%d rows, N %d", rows, shape.outputs);
    }
}

TEST_CASE("shapes that the layout does not allow are refused") {
  const auto refused = [](int rows, const Int4Weight& weight) {
    try {
      int4MatMul(device(), stream(), 256, rows, weight, 256);
    } catch (const cuda::CudaError& error) {
      return error.code() == "ERR_ENGINE_FAILED";
    }
    return false;
  };
  CHECK(refused(1, {256, 256, 16, 100, 128}));
  CHECK(refused(1, {256, 256, 16, 21, 7}));
  CHECK(refused(0, {256, 256, 16, 128, 128}));
  CHECK(refused(1, {256, 256, 16, 128, 128, ElementType::kF32}));
}
