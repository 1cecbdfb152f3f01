#pragma once
#include "cpu/decoder/modelSpec.h"

#include <optional>
#include <vector>

namespace scenebus::cpu {

/** Radians per position of each pair of dimensions, `[headDim / 2]`, with the scaling of Llama 3 (`rope_type: llama3`).
 */
std::vector<double> ropeFrequencies(int headDim, double theta, const std::optional<RopeScaling>& scaling);

} // namespace scenebus::cpu
