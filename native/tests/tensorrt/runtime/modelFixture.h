#pragma once
#include "tests/gpu/emulation/emulatedDevice.h"
#include "tests/tensorrt/support/fakeLibrary.h"
#include "tensorrt/runtime/model.h"
#include "tests/tensorrt/support/testFolder.h"

#include <string>
#include <vector>

namespace scenebus::test {

/**
 * A model of small engines over the emulated device:
 * - vision: pixels [K] -> states [1, K, 1] = 2 · pixels
 * - cross-kv: states -> cross_key.0 [1, 2, K, 1] = 100 · head + state
 * - decode, prefill: what was before is in the K/V, so logits [R] = sum of all rows so far + sum of the cross keys +
 *   the weight; with cross-attention also cross_query.0 [R, 1, 1] = 3 · row
 */
struct ModelFixture {
  static constexpr std::int64_t kCapacity = 16, kMostKeys = 12;

  emulation::EmulatedDevice device{64 << 20};
  TestFolder folder;
  FakeLibrary library;
  tensorrt::ModelSpec spec;
  std::vector<std::string> notices, stages;
  tensorrt::OpenListener listener;

  /** @param plugins K/V are written in place */
  explicit ModelFixture(bool plugins = true);

  std::unique_ptr<tensorrt::Model> open(CancelFlag abort = {});
  tensorrt::PlanCache cache();

  /** Encodes an image of as many positions as pixels. */
  std::unique_ptr<tensorrt::ImageState> encode(tensorrt::Model& model, const std::vector<float>& pixels,
                                               CancelFlag abort = {});
  /** Rows after `past`; the logits of each. Empty images: the stage without cross-attention. */
  std::vector<float> forward(tensorrt::Model& model, tensorrt::SequenceState& sequence, int past,
                             const std::vector<float>& rows, const std::vector<const tensorrt::ImageState*>& images = {},
                             CancelFlag abort = {}, const std::string& stage = "");
};

} // namespace scenebus::test
