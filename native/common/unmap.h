#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>

namespace scenebus {

/** A few milliseconds' work for the system; a multiple of every page size. */
constexpr std::size_t kUnmappedBytes = std::size_t{16} << 20;

/**
 * Unmaps `[memory, memory + sizeBytes)` in pieces: while the system takes pages back, no other thread of the process can
 * map or unmap anything, and JavaScript does so all the time.
 */
inline void unmapInPieces(void* memory, std::size_t sizeBytes) {
  auto* const bytes = static_cast<unsigned char*>(memory);
  for (std::size_t done = 0; done < sizeBytes; done += kUnmappedBytes)
    munmap(bytes + done, std::min(kUnmappedBytes, sizeBytes - done));
}

} // namespace scenebus
