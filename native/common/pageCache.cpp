#include "common/pageCache.h"
#include "common/fileDescriptor.h"

#include <fcntl.h>

namespace scenebus {

void dropFromPageCache(const std::string& path, std::uint64_t offsetBytes, std::uint64_t sizeBytes) noexcept {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.isOpen())
    return;
  posix_fadvise(file.get(), static_cast<off_t>(offsetBytes), static_cast<off_t>(sizeBytes), POSIX_FADV_DONTNEED);
}

} // namespace scenebus
