#pragma once
#include "common/codedError.h"

namespace scenebus::cpu {

using CpuError = CodedError;

} // namespace scenebus::cpu
