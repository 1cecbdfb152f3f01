#include "common/pageCache.h"

#include <fcntl.h>
#include <unistd.h>

namespace scenebus {

void dropFromPageCache(const std::string& path, std::uint64_t offsetBytes, std::uint64_t sizeBytes) noexcept {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return;
  posix_fadvise(file, static_cast<off_t>(offsetBytes), static_cast<off_t>(sizeBytes), POSIX_FADV_DONTNEED);
  close(file);
}

} // namespace scenebus
