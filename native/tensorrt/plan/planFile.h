#pragma once
#include "common/atomicFile.h"
#include "tensorrt/plan/inferenceLibrary.h"

#include <cstdint>
#include <string>

namespace scenebus::tensorrt {

/**
 * A kept file: header, key, contents. The header holds sizes and the SHA-256 of the contents, so that a truncated or
 * damaged file is told from a good one before TensorRT, which need not survive it, sees it. Plans and timing caches
 * have the same form and different magic.
 */
struct KeptHeader {
  std::string key;
  std::uint64_t contentOffset = 0;
  std::uint64_t contentBytes = 0;
  /** Hexadecimal. */
  std::string checksum;
};

enum class KeptKind { kPlan, kTimingCache };

/** Why the file's header cannot be used, or empty; `header` is then set. Does not read the contents. */
std::string readKeptHeader(const std::string& path, KeptKind kind, KeptHeader& header);

/** Why the contents are not what was written, or empty. Reads them all. */
std::string verifyKept(const std::string& path, const KeptHeader& header);

/**
 * `verifyKept` of a file that does not change is one reading of gigabytes too many at every start. Once is enough: what
 * was verified is noted beside it, `PATH.verified`, with size, time and checksum, and holds until any of them differs.
 */
bool isKnownGood(const std::string& path, const KeptHeader& header);
/** A note that cannot be written costs the next start a reading, no more. */
void noteKnownGood(const std::string& path, const KeptHeader& header) noexcept;

/** Writes header and contents; the caller commits. */
void writeKept(PartialFile& file, KeptKind kind, const std::string& key, const void* contents, std::size_t sizeBytes);

/** A plan's contents for `InferenceLibrary::load`. */
class PlanFileSource final : public PlanSource {
public:
  PlanFileSource(const std::string& path, const KeptHeader& header);
  std::uint64_t sizeBytes() const override { return mSizeBytes; }
  std::size_t read(void* to, std::size_t sizeBytes) override;
  bool seek(std::uint64_t position) override;
  std::uint64_t position() const override { return mPosition; }

private:
  FileDescriptor mFile;
  std::uint64_t mOffset, mSizeBytes, mPosition = 0;
};

} // namespace scenebus::tensorrt
