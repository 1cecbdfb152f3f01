#include "common/pageCache.h"
#include "tests/support/checks.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

using namespace scenebus;

namespace {

constexpr std::size_t kPages = 64;

/** Pages of a file that the system holds in memory. */
std::size_t cachedPages(int file, std::size_t pageBytes) {
  void* mapped = mmap(nullptr, kPages * pageBytes, PROT_READ, MAP_SHARED, file, 0);
  std::vector<unsigned char> held(kPages);
  mincore(mapped, kPages * pageBytes, held.data());
  munmap(mapped, kPages * pageBytes);
  std::size_t count = 0;
  for (const auto each : held)
    count += each & 1;
  return count;
}

} // namespace

TEST_CASE("page cache: what was read is forgotten, and a missing file is no error") {
  dropFromPageCache("/does/not/exist");
  // Beside the build, on a disk: memory file systems have nothing that they could forget.
  std::string path = "./pageCacheTest-XXXXXX";
  const int file = mkstemp(path.data());
  CHECK(file >= 0);
  unlink(path.c_str());
  const auto pageBytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::vector<char> contents(kPages * pageBytes, 'x');
  CHECK(write(file, contents.data(), contents.size()) == static_cast<ssize_t>(contents.size()));
  fsync(file);
  const std::size_t before = cachedPages(file, pageBytes);
  dropFromPageCache("/proc/self/fd/" + std::to_string(file));
  // Some file systems keep pages all the same (tmpfs, network disks); none gains any.
  CHECK(cachedPages(file, pageBytes) <= before);
  close(file);
}
