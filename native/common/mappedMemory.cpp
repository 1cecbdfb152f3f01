#include "common/mappedMemory.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace scenebus {

void unmapInPieces(void* memory, std::size_t sizeBytes) noexcept {
  auto* const bytes = static_cast<unsigned char*>(memory);
  for (std::size_t done = 0; done < sizeBytes; done += kUnmappedBytes)
    munmap(bytes + done, std::min(kUnmappedBytes, sizeBytes - done));
}

MappedMemory MappedMemory::anonymous(std::size_t sizeBytes, bool isReserved) {
  if (sizeBytes == 0)
    return {};
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (isReserved ? 0 : MAP_NORESERVE);
  void* memory = mmap(nullptr, sizeBytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED)
    throw std::bad_alloc();
  return MappedMemory(memory, sizeBytes);
}

void MappedMemory::unmap() noexcept {
  if (mMemory != nullptr)
    unmapInPieces(mMemory, mSizeBytes);
  mMemory = nullptr;
  mSizeBytes = 0;
}

} // namespace scenebus
