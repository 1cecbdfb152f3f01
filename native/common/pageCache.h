#pragma once
#include <cstdint>
#include <string>

namespace scenebus {

/**
 * Lets the system forget what it keeps of a file that will not be read again soon. Pages that are mapped or not yet
 * written stay. A file that cannot be opened is no error: this saves memory and changes nothing else.
 *
 * @param sizeBytes 0: to the end
 */
void dropFromPageCache(const std::string& path, std::uint64_t offsetBytes = 0, std::uint64_t sizeBytes = 0) noexcept;

} // namespace scenebus
