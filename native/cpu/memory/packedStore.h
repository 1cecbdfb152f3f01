#pragma once
#include "common/cancelFlag.h"
#include "common/mappedFile.h"
#include "common/mappedMemory.h"
#include "cpu/kernels/threadPool.h"
#include "cpu/memory/packing.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace scenebus::cpu {

using ProgressFunction = std::function<void(std::uint64_t doneBytes, std::uint64_t totalBytes)>;

/**
 * All packed matrices of a model in one mapped file, made on the first load. The file appears atomically; its header
 * states format version, key and every matrix, and must be exactly as expected, otherwise the file is made anew.
 * A lock file keeps two processes from preparing at once: the second waits and uses what the first made.
 * The format is the same for every instruction set, so a file moves between machines of one byte order.
 */
class PackedStore {
public:
  enum class Origin { kFound, kCreated, kReplaced, kInMemory };

  /**
   * @param path empty: packs into memory and keeps nothing
   * @throws CodedError ERR_DISK_FULL without room for the file; ERR_CONFIG_INVALID when it cannot be written;
   *   ERR_MODEL_INVALID for weights that cannot be packed.
   * @throws Aborted
   */
  PackedStore(const std::string& path, const std::string& key, const std::vector<PackSource>& sources, ThreadPool& pool,
              CancelFlag abort, const ProgressFunction& progress);

  /** In the order of `sources`; valid as long as the store. */
  const std::vector<PackedMatrix>& matrices() const { return mMatrices; }
  Origin origin() const { return mOrigin; }
  std::uint64_t sizeBytes() const { return mFile.sizeBytes() + mMemory.sizeBytes(); }

private:
  struct Layout;

  static void fill(std::uint8_t* bytes, const Layout& layout, const std::vector<PackSource>& sources, ThreadPool& pool,
                   CancelFlag abort, const ProgressFunction& progress);
  void locate(const std::uint8_t* bytes, const Layout& layout);
  bool openExisting(const std::string& path, const Layout& layout);
  static void create(const std::string& path, const Layout& layout, const std::vector<PackSource>& sources,
                     ThreadPool& pool, CancelFlag abort, const ProgressFunction& progress);

  // One of the two.
  MappedFile mFile;
  MappedMemory mMemory;
  std::vector<PackedMatrix> mMatrices;
  Origin mOrigin = Origin::kFound;
};

} // namespace scenebus::cpu
