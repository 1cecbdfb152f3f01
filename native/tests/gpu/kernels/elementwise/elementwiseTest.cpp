#include "gpu/kernels/elementwise/elementwise.h"

#include "image/imageProcessor.h"
#include "tests/gpu/kernels/kernelTest.h"
#include "gpu/kernels/reference/reference.h"
#include "gpu/kernels/sampling/sampling.h"

#include <limits>

using namespace scenebus;
using namespace scenebus::test;
using namespace scenebus::kernels;

namespace {

std::size_t elements(int rows, int size) { return static_cast<std::size_t>(rows) * static_cast<std::size_t>(size); }

cuda::DeviceBuffer uploadAs(const Floats& values, ElementType type) {
  return type == ElementType::kF32 ? upload(values) : upload(toHalves(values));
}

} // namespace

TEST_CASE("norm of rows and of heads, with and without an update") {
  for (const auto type : {ElementType::kF16, ElementType::kF32})
    for (const int size : {24, 128, 250, 257, 700, 1100})
      for (const int rows : {1, 9}) {
        Floats hidden = normal(elements(rows, size)), weight = asHalves(normal(elements(1, size)));
        if (type == ElementType::kF16)
          hidden = asHalves(hidden);
        const Floats update = asHalves(normal(hidden.size())), rowGates = normal(elements(1, rows));
        const auto deviceHidden = uploadAs(hidden, type), deviceUpdate = upload(toHalves(update));
        const auto deviceWeight = upload(toHalves(weight)), deviceGates = upload(rowGates);
        RmsNorm norm;
        norm.hidden = deviceHidden.get();
        norm.hiddenType = type;
        norm.weight = deviceWeight.get();
        norm.rows = rows;
        norm.size = size;
        const Bytes plain = runTwice([&] {
          cuda::DeviceBuffer y(device(), hidden.size() * 2);
          norm.y = y.get();
          rmsNorm(device(), stream(), norm);
          return download(y);
        });
        CHECK_CLOSE(floatsOf(plain, ElementType::kF16), reference::rmsNorm(hidden, rows, size, weight, 1e-5f), 1e-6, 6e-4,
                    "%d rows of %d", rows, size);

        Floats expected = reference::gatedAdd(hidden, update, 0.7f, rowGates, rows, size);
        norm.update = deviceUpdate.get();
        norm.gate = 0.7f;
        norm.rowGates = deviceGates.get();
        cuda::DeviceBuffer sum(device(), hidden.size() * bytesOf(type)), y(device(), hidden.size() * 2);
        norm.sum = sum.get();
        norm.y = y.get();
        rmsNorm(device(), stream(), norm);
        CHECK_CLOSE(floatsOf(download(sum), type), expected, 1e-6, type == ElementType::kF16 ? 6e-4 : 1e-6, "sum");
        CHECK_CLOSE(floatsOf(download(y), ElementType::kF16), reference::rmsNorm(expected, rows, size, weight, 1e-5f), 2e-3,
                    2e-3, "%d rows of %d with an update", rows, size);

        cuda::DeviceBuffer added(device(), hidden.size() * bytesOf(type));
        gatedAdd(device(), stream(), norm.hidden, type, norm.update, 0.7f, norm.rowGates, rows, size, added.get());
        CHECK_CLOSE(floatsOf(download(added), type), expected, 1e-6, type == ElementType::kF16 ? 6e-4 : 1e-6, "gated add");
      }
}

TEST_CASE("activation of an odd number of elements") {
  const Floats gate = asHalves(normal(301, 4.0f)), up = asHalves(normal(301));
  const auto deviceGate = upload(toHalves(gate)), deviceUp = upload(toHalves(up));
  cuda::DeviceBuffer y(device(), 602);
  siluMul(device(), stream(), deviceGate.get(), deviceUp.get(), 301, y.get());
  CHECK_CLOSE(floatsOf(download(y), ElementType::kF16), reference::siluMul(gate, up), 1e-6, 6e-4, "silu");
}

TEST_CASE("rows of a table, with an id that is not in it") {
  const Floats table = asHalves(normal(7 * 300));
  const auto deviceTable = upload(toHalves(table));
  const auto ids = upload(std::vector<std::int32_t>{6, 0, 7, -1, 3});
  Floats expected;
  for (const int id : {6, 0, -1, -1, 3})
    for (int i = 0; i < 300; ++i)
      expected.push_back(id < 0 ? 0.0f : table[elements(id, 300) + static_cast<std::size_t>(i)]);
  for (const auto type : {ElementType::kF16, ElementType::kF32}) {
    cuda::DeviceBuffer y(device(), expected.size() * bytesOf(type));
    gatherRows(device(), stream(), deviceTable.get(), ElementType::kF16, 7, ids.get(), 5, 300, y.get(), type);
    CHECK(floatsOf(download(y), type) == expected);
  }
}

TEST_CASE("tiles of an image are equal bit for bit to the image processor's") {
  const int side = 42, width = 70, height = 61;
  Bytes pixels(elements(width * height, 3));
  for (std::size_t i = 0; i < pixels.size(); ++i)
    pixels[i] = static_cast<std::uint8_t>(i * 7 + i / 97);
  Normalization normalization;
  normalization.mean = {0.48145466, 0.4578275, 0.40821073};
  normalization.std = {0.26862954, 0.26130258, 0.27577711};
  TileLayout layout;
  layout.rows = 2;
  layout.columns = 2;
  layout.resizedWidth = width;
  layout.resizedHeight = height;
  const auto deviceImage = upload(pixels);
  for (const bool isBgr : {false, true}) {
    Floats expected(4 * tileElements(side));
    fillTiles({pixels.data(), width, height, isBgr}, layout, side, normalization, expected.data(), nullptr);
    ImageTiles image;
    image.image = deviceImage.get();
    image.width = width;
    image.height = height;
    image.isBgr = isBgr;
    image.rows = image.columns = 2;
    image.tileSize = side;
    for (std::size_t c = 0; c < 3; ++c) {
      image.mean[c] = static_cast<float>(normalization.mean[c]);
      image.std[c] = static_cast<float>(normalization.std[c]);
    }
    cuda::DeviceBuffer tiles(device(), expected.size() * 4);
    image.tiles = tiles.get();
    imageTiles(device(), stream(), image);
    const Bytes bytes = download(tiles);
    CHECK(std::memcmp(bytes.data(), expected.data(), bytes.size()) == 0);
    cuda::DeviceBuffer halves(device(), expected.size() * 2);
    image.tiles = halves.get();
    image.tileType = ElementType::kF16;
    imageTiles(device(), stream(), image);
    CHECK(as<std::uint16_t>(download(halves)) == toHalves(expected));
  }
}

TEST_CASE("greatest logit: the first of equals, never NaN") {
  for (const int vocabulary : {1, 31, 1025, 2500}) {
    const int rows = 3;
    Floats logits = normal(elements(rows, vocabulary));
    if (vocabulary > 1000) {
      logits[700] = logits[900] = 9.0f;                                                      // row 0: a tie
      logits[elements(1, vocabulary) + 4] = std::numeric_limits<float>::quiet_NaN();         // row 1
      for (std::size_t i = elements(2, vocabulary); i < elements(3, vocabulary); ++i)
        logits[i] = -5.0f - logits[i] * logits[i];                                           // row 2: all negative
    }
    const auto deviceLogits = upload(logits);
    const auto tokens = as<std::int32_t>(runTwice([&] {
      cuda::DeviceBuffer result(device(), rows * 4);
      argmax(device(), stream(), deviceLogits.get(), rows, vocabulary, result.get());
      return download(result);
    }));
    for (int row = 0; row < rows; ++row)
      CHECK(tokens[static_cast<std::size_t>(row)] == reference::argmax(logits.data() + elements(row, vocabulary), vocabulary));
  }
}

TEST_CASE("draws from the most likely tokens as sorting does") {
  const int rows = 4;
  for (const int vocabulary : {1, 40, 1024, 2051}) {
    Floats logits = normal(elements(rows, vocabulary), 2.0f);
    if (vocabulary == 40)
      for (std::size_t i = 0; i < 40; ++i)
        logits[i] = i % 4 == 1 ? 3.0f : -2.0f; // ten equals
    for (const float topPLimit : {0.0f, 0.5f, 0.9f, 1.0f}) {
      Floats randoms;
      for (int row = 0; row < rows; ++row)
        randoms.push_back(std::uniform_real_distribution<float>(0.0f, 0.999f)(generator()));
      const auto deviceLogits = upload(logits), deviceRandoms = upload(randoms);
      const auto tokens = as<std::int32_t>(runTwice([&] {
        cuda::DeviceBuffer result(device(), rows * 4);
        topP(device(), stream(), deviceLogits.get(), rows, vocabulary, 0.8f, topPLimit, deviceRandoms.get(), result.get());
        return download(result);
      }));
      for (int row = 0; row < rows; ++row) {
        const auto at = static_cast<std::size_t>(row);
        const int expected = reference::topP(logits.data() + elements(row, vocabulary), vocabulary, 0.8f, topPLimit, randoms[at]);
        CHECK_MESSAGE(tokens[at] == expected, "vocabulary %d, topP %g, row %d: %d, expected %d", vocabulary,
                      static_cast<double>(topPLimit), row, tokens[at], expected);
      }
    }
  }
  const auto nothing = upload(Floats(8, std::numeric_limits<float>::quiet_NaN())), zero = upload(Floats{0.5f});
  cuda::DeviceBuffer result(device(), 4);
  topP(device(), stream(), nothing.get(), 1, 8, 1.0f, 0.9f, zero.get(), result.get());
  CHECK(as<std::int32_t>(download(result))[0] == 0);
}
