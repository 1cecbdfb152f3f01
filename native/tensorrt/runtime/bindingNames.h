#pragma once

namespace scenebus::tensorrt::bindingNames {

/** int32 `[1]`: tokens of the sequence that are in the K/V cache already. */
constexpr const char* kPastLength = "past_length";
/** float32 `[1, tokens, hidden]`: the tokens of a step. */
constexpr const char* kInputsEmbeds = "inputs_embeds";
/** `past_key.3` is continued by `present_key.3`, in the same memory. */
constexpr const char* kPastPrefix = "past_";
constexpr const char* kPresentPrefix = "present_";

} // namespace scenebus::tensorrt::bindingNames
