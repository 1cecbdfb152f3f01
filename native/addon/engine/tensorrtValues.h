#pragma once
#include "tensorrt/runtime/modelSpec.h"

#include <napi.h>

#include <string>
#include <vector>

/** The values of sdk/engine/tensorrt/addon-types.ts in C++ and back; a TypeError says what was expected. */
namespace scenebus::addon {

tensorrt::PlanRequest planRequestOf(const Napi::Object& request);
tensorrt::ModelSpec modelSpecOf(const Napi::Object& spec);

/** Borrows the arrays; those are added to `held`. */
tensorrt::HostInputs hostInputsOf(const Napi::Value& inputs, std::vector<Napi::Value>& held);
tensorrt::HostOutput hostOutputOf(const Napi::Value& array, const std::string& name, std::vector<Napi::Value>& held);
tensorrt::HostOutputs hostOutputsOf(const Napi::Value& outputs, std::vector<Napi::Value>& held);

Napi::Value planFileValue(Napi::Env env, const tensorrt::PlanFile& file);

} // namespace scenebus::addon
