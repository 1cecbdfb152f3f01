#include "cpu/memory/packedStore.h"

#include "common/atomicFile.h"
#include "common/codedError.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <mutex>

namespace scenebus::cpu {
namespace {

constexpr char kMagic[8] = {'S', 'B', 'C', 'P', 'U', 'P', 'K', '\n'};
/** Raise whenever the layout of `PackedMatrix` changes. */
constexpr std::uint32_t kFormatVersion = 2;
constexpr std::uint64_t kAlignment = 4096;

std::uint64_t alignUp(std::uint64_t value) {
  return (value + kAlignment - 1) / kAlignment * kAlignment;
}

template <typename T> void append(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

constexpr const char* kWhat = "the packed weights";

/**
 * All weights are read for every token. With 2 MB pages the processor looks up fewer addresses, and a system that
 * watches which pages are in use (to page out idle ones) makes it note 512 times fewer of them. Only advice: systems
 * without large pages for such memory go on with small ones.
 */
void preferLargePages(const void* memory, std::size_t sizeBytes) {
  madvise(const_cast<void*>(memory), sizeBytes, MADV_HUGEPAGE);
}

} // namespace

struct PackedStore::Layout {
  struct Part {
    PackedMatrix shape;
    std::uint64_t data = 0, rowFactors = 0;
  };
  std::vector<Part> parts;
  std::string header;
  std::uint64_t sizeBytes = 0;

  Layout(const std::string& key, const std::vector<PackSource>& sources) {
    // The header's own size is needed for the offsets and does not depend on them.
    std::uint64_t at = alignUp(sizeof(kMagic) + 4 + 4 + 8 + 4 + key.size() + sources.size() * (4 * 4 + 2 * 8));
    for (const auto& source : sources) {
      Part part;
      part.shape = packedShape(source);
      part.data = at;
      part.rowFactors = alignUp(part.data + packedDataBytes(part.shape));
      at = alignUp(part.rowFactors + packedFactorCount(part.shape) * sizeof(float));
      parts.push_back(part);
    }
    sizeBytes = at;
    header.assign(kMagic, sizeof(kMagic));
    append(header, kFormatVersion);
    append(header, static_cast<std::uint32_t>(parts.size()));
    append(header, sizeBytes);
    append(header, static_cast<std::uint32_t>(key.size()));
    header += key;
    for (const auto& part : parts) {
      for (const int fact : {part.shape.bits, part.shape.rows, part.shape.columns, part.shape.groupSize})
        append(header, static_cast<std::int32_t>(fact));
      for (const std::uint64_t offset : {part.data, part.rowFactors})
        append(header, offset);
    }
  }
};

PackedStore::PackedStore(const std::string& path, const std::string& key, const std::vector<PackSource>& sources,
                         ThreadPool& pool, CancelFlag abort, const ProgressFunction& progress) {
  const Layout layout(key, sources);
  if (path.empty()) {
    mMemory = MappedMemory::anonymous(layout.sizeBytes, true);
    preferLargePages(mMemory.data(), layout.sizeBytes);
    fill(mMemory.data(), layout, sources, pool, abort, progress);
    locate(mMemory.data(), layout);
    mOrigin = Origin::kInMemory;
    return;
  }
  if (openExisting(path, layout))
    return;
  const FileLock lock(kWhat, path, abort);
  if (openExisting(path, layout))
    return;
  mOrigin = access(path.c_str(), F_OK) == 0 ? Origin::kReplaced : Origin::kCreated;
  create(path, layout, sources, pool, abort, progress);
  if (!openExisting(path, layout))
    throw CodedError("ERR_ENGINE_FAILED",
                     "the packed weights at " + path + " changed while they were opened; try again");
}

bool PackedStore::openExisting(const std::string& path, const Layout& layout) {
  if (access(path.c_str(), R_OK) != 0)
    return false;
  MappedFile file(kWhat, path);
  if (file.sizeBytes() != layout.sizeBytes || std::memcmp(file.data(), layout.header.data(), layout.header.size()) != 0)
    return false;
  preferLargePages(file.data(), file.sizeBytes());
  mFile = std::move(file);
  locate(mFile.data(), layout);
  return true;
}

void PackedStore::locate(const std::uint8_t* bytes, const Layout& layout) {
  for (const auto& part : layout.parts) {
    PackedMatrix matrix = part.shape;
    matrix.data = bytes + part.data;
    matrix.rowFactors = reinterpret_cast<const float*>(bytes + part.rowFactors);
    mMatrices.push_back(matrix);
  }
}

void PackedStore::fill(std::uint8_t* bytes, const Layout& layout, const std::vector<PackSource>& sources,
                       ThreadPool& pool, CancelFlag abort, const ProgressFunction& progress) {
  std::exception_ptr failure;
  std::mutex failureMutex;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    abort.check();
    const auto& part = layout.parts[i];
    pool.forEach(part.shape.rowGroups(), [&](int group, int) {
      try {
        packGroup(sources[i], group, bytes + part.data + group * part.shape.groupBytes(),
                  reinterpret_cast<float*>(bytes + part.rowFactors) + group * kGroupRows);
      } catch (...) {
        const std::lock_guard<std::mutex> guard(failureMutex);
        failure = std::current_exception();
      }
    });
    if (failure)
      std::rethrow_exception(failure);
    if (progress)
      progress(part.rowFactors + packedFactorCount(part.shape) * sizeof(float), layout.sizeBytes);
  }
  if (progress)
    progress(layout.sizeBytes, layout.sizeBytes);
}

void PackedStore::create(const std::string& path, const Layout& layout, const std::vector<PackSource>& sources,
                         ThreadPool& pool, CancelFlag abort, const ProgressFunction& progress) {
  PartialFile file(kWhat, path);
  file.reserve(layout.sizeBytes);
  void* memory = mmap(nullptr, layout.sizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor(), 0);
  if (memory == MAP_FAILED)
    file.fail(errno);
  const MappedMemory owner(memory, layout.sizeBytes);

  preferLargePages(memory, layout.sizeBytes);
  auto* bytes = static_cast<std::uint8_t*>(memory);
  fill(bytes, layout, sources, pool, abort, progress);
  std::memcpy(bytes, layout.header.data(), layout.header.size());
  if (msync(memory, layout.sizeBytes, MS_SYNC) != 0)
    file.fail(errno);
  file.commit();
}

} // namespace scenebus::cpu
