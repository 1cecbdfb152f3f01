#pragma once
#include "cpu/kernels/cpuFeatures.h"
#include "cpu/memory/packedStore.h"
#include "cpu/memory/tensorReader.h"

#include <napi.h>

#include <optional>

/** Values that the bindings of the decoder and of the vision tower take or give alike. */
namespace scenebus::addon {

/** `options.tensors`, an array of { name, file, offsetBytes, sizeBytes, dtype, shape }. */
cpu::TensorSources tensorSourcesOf(const Napi::Object& options);

/** `options.instructionSet`; empty: none is asked for. */
std::optional<cpu::InstructionSet> instructionSetOf(const Napi::Object& options);

/** `none` without a store. */
const char* originName(const cpu::PackedStore* store);

} // namespace scenebus::addon
