#pragma once
#include "common/cancelFlag.h"
#include "tensorrt/plan/inferenceLibrary.h"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace scenebus::tensorrt {

/** One graph to one plan. */
struct PlanRequest {
  /** For messages and progress: `prefill`. */
  std::string name;
  /** The plan's file; `.lock`, `.timing` and `.partial` lie beside it. */
  std::string path;
  /** Content of the external data that the graph refers to. */
  std::string weightsIdentity;
  /** Size of the plan, about: room on the disk is checked before an hour is spent. 0 when unknown. */
  std::uint64_t expectedBytes = 0;
  BuildOptions options;
};

/** What a plan depends on besides the request: it runs on this machine as it is now, and nowhere else. */
struct PlanPlatform {
  std::string tensorRtVersion;
  int driverVersion = 0;
  int smMajor = 0, smMinor = 0, smCount = 0;
  std::string l4tRelease, powerMode;
};

/** Facts by name, in a fixed order; compared as a whole, and one by one to say what differs. */
class PlanKey {
public:
  /** Reads and hashes the graph. @throws CodedError ERR_MODEL_NOT_FOUND */
  PlanKey(const PlanRequest& request, const PlanPlatform& platform);

  /** `name=value` lines. */
  const std::string& text() const { return mText; }
  /** What differs from the key of a file, in words for a notice. */
  std::string differences(const std::string& other) const;

private:
  std::string mText;
};

struct PlanFile {
  enum class Origin { kFound, kBuilt, kReplaced };
  std::string path;
  Origin origin = Origin::kFound;
  /** Why a plan that was there was replaced. */
  std::string reason;
  std::uint64_t sizeBytes = 0;
  double seconds = 0;
  /** What the library warned of while it was built. */
  std::vector<std::string> remarks;
  /** Of an inspected plan that was loaded: JSON of the library's inspector. */
  std::string layers;
};

/** Told while plans are found or built; called on the thread that works, and by the builder's threads. */
struct PlanListener {
  std::function<void(const BuildProgress&)> onProgress;
  /** Another process builds the same. */
  std::function<void()> onWait;
  std::function<void(const std::string&)> onNotice;
};

/**
 * Finds a plan whose header says exactly what is wanted and whose checksum is right, or builds it. A stale, foreign,
 * truncated or damaged file is replaced, with a notice. One builder at a time: a second process waits and takes what
 * the first made. A plan appears whole or not at all.
 */
class PlanCache {
public:
  using DiskSpace = std::function<std::uint64_t(const std::string& path)>;

  PlanCache(InferenceLibrary& library, PlanPlatform platform);
  /** @param diskSpace for tests */
  PlanCache(InferenceLibrary& library, PlanPlatform platform, DiskSpace diskSpace);

  /**
   * @throws CodedError ERR_DISK_FULL, ERR_CONFIG_INVALID, ERR_MODEL_NOT_FOUND, and what the library throws
   * @throws Aborted; nothing is left then
   */
  PlanFile ensure(const PlanRequest& request, const PlanListener& listener, CancelFlag abort);

  /**
   * Loads the plan that `ensure` returned. A plan that the library refuses in spite of its key is built anew once.
   */
  std::unique_ptr<Engine> load(const PlanRequest& request, PlanFile& file, const PlanListener& listener,
                               CancelFlag abort);

private:
  /** Empty when the file is as wanted; else the reason why not. `exists` tells whether there is any file. */
  std::string inspect(const PlanRequest& request, const PlanKey& key, bool& exists, std::uint64_t& sizeBytes) const;
  PlanFile build(const PlanRequest& request, const PlanKey& key, const std::string& reason,
                 const PlanListener& listener, CancelFlag abort);
  void requireDiskSpace(const PlanRequest& request) const;
  PlanFile ensureUnless(const std::string& refused, const PlanRequest& request, const PlanListener& listener,
                        CancelFlag abort);

  InferenceLibrary& mLibrary;
  PlanPlatform mPlatform;
  DiskSpace mDiskSpace;
};

} // namespace scenebus::tensorrt
