#pragma once
#include <cstddef>
#include <cstdint>

namespace scenebus {

/**
 * Copies pixels with red and blue in each other's place: bgr8 becomes rgb8, and back.
 *
 * @param from `[pixels, 3]`
 * @param to   `[pixels, 3]`, written; does not overlap `from`
 */
void copySwapped(const uint8_t* from, uint8_t* to, size_t pixels);

} // namespace scenebus
