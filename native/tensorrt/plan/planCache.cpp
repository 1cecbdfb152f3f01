#include "tensorrt/plan/planCache.h"

#include "common/atomicFile.h"
#include "common/codedError.h"
#include "common/mappedFile.h"
#include "common/sha256.h"
#include "tensorrt/plan/planFile.h"
#include "tensorrt/plan/systemFacts.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <map>
#include <sstream>

namespace scenebus::tensorrt {
namespace {

std::string what(const PlanRequest& request) {
  return "the TensorRT plan of " + request.name;
}

/** Names of a key's facts as a notice calls them; a fact that has no name here is called by its own. */
const std::map<std::string, std::string>& factNames() {
  static const std::map<std::string, std::string> names{
      {"tensorrt", "version of TensorRT"},
      {"driver", "CUDA driver"},
      {"sm", "GPU"},
      {"l4t", "L4T release"},
      {"power", "power mode"},
      {"graph", "graph"},
      {"weights", "weights"},
      {"plugins", "plugin mode"},
      {"workspace", "workspace limit"},
      {"level", "optimisation level"},
      {"inspected", "detail of its layers"},
      {"plugin-abi", "plugins"},
      {"profile", "profile shapes"},
  };
  return names;
}

std::map<std::string, std::string> factsOf(const std::string& text) {
  std::map<std::string, std::string> facts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto equals = line.find('=');
    if (equals != std::string::npos)
      facts[line.substr(0, equals)] += line.substr(equals + 1) + " ";
  }
  return facts;
}

class Observer final : public BuildObserver {
public:
  Observer(const PlanListener& listener, CancelFlag abort) : mListener(listener), mAbort(abort) {}
  void onProgress(const BuildProgress& progress) override {
    if (mListener.onProgress)
      mListener.onProgress(progress);
  }
  /** The builder may repeat one for every kernel. */
  void onRemark(const std::string& remark) override {
    if (std::find(mRemarks.begin(), mRemarks.end(), remark) == mRemarks.end())
      mRemarks.push_back(remark);
  }
  bool isCancelled() const override { return mAbort.isSet(); }
  const std::vector<std::string>& remarks() const { return mRemarks; }

private:
  const PlanListener& mListener;
  CancelFlag mAbort;
  std::vector<std::string> mRemarks;
};

void notice(const PlanListener& listener, const std::string& message) {
  if (listener.onNotice)
    listener.onNotice(message);
}

/** The timing cache beside a plan; one that cannot be used costs time only. */
TimingCache readTiming(const PlanRequest& request, const std::string& key, const PlanListener& listener) {
  const std::string path = request.path + ".timing";
  TimingCache timing;
  if (access(path.c_str(), F_OK) != 0)
    return timing;
  KeptHeader header;
  std::string reason = readKeptHeader(path, KeptKind::kTimingCache, header);
  if (reason.empty() && header.key != key)
    reason = "it is of another version of TensorRT or another GPU";
  if (reason.empty())
    reason = verifyKept(path, header);
  if (reason.empty()) {
    timing.bytes.resize(header.contentBytes);
    if (PlanFileSource(path, header).read(timing.bytes.data(), timing.bytes.size()) != timing.bytes.size())
      reason = "it is truncated";
  }
  if (!reason.empty()) {
    timing.bytes.clear();
    notice(listener, "the timing cache " + path + " is not used: " + reason);
  }
  return timing;
}

void keepTiming(const PlanRequest& request, const std::string& key, const TimingCache& timing,
                const PlanListener& listener) {
  if (timing.bytes.empty())
    return;
  try {
    PartialFile file("the timing cache", request.path + ".timing");
    writeKept(file, KeptKind::kTimingCache, key, timing.bytes.data(), timing.bytes.size());
    file.commit();
  } catch (const CodedError& error) {
    notice(listener, error.what()); // the plan is there: only the next build takes longer
  }
}

/** What timings depend on; less than a plan. */
std::string timingKey(const PlanPlatform& platform) {
  return "tensorrt=" + platform.tensorRtVersion + "\nsm=" + std::to_string(platform.smMajor) + "." +
         std::to_string(platform.smMinor) + "x" + std::to_string(platform.smCount) + "\nl4t=" + platform.l4tRelease +
         "\npower=" + platform.powerMode + "\n";
}

} // namespace

PlanKey::PlanKey(const PlanRequest& request, const PlanPlatform& platform) {
  const MappedFile graph("the graph", request.options.graph);
  Sha256 sum;
  sum.update(graph.data(), graph.sizeBytes());
  std::ostringstream text;
  text << "tensorrt=" << platform.tensorRtVersion << "\ndriver=" << platform.driverVersion
       << "\nsm=" << platform.smMajor << '.' << platform.smMinor << " with " << platform.smCount << " multiprocessors"
       << "\nl4t=" << platform.l4tRelease << "\npower=" << platform.powerMode << "\ngraph=" << sum.hex()
       << "\nweights=" << request.weightsIdentity << "\nplugins=" << request.options.plugins
       << "\nplugin-abi=" << (request.options.plugins ? kPluginAbiVersion : 0)
       << "\nworkspace=" << request.options.workspaceBytes << "\nlevel=" << request.options.optimizationLevel
       << "\ninspected=" << request.options.inspected << '\n';
  for (const auto& range : request.options.profile)
    text << "profile=" << range.name << ' ' << shapeText(range.min) << shapeText(range.opt) << shapeText(range.max)
         << '\n';
  mText = text.str();
}

std::string PlanKey::differences(const std::string& other) const {
  const auto wanted = factsOf(mText), found = factsOf(other);
  std::string text;
  for (const auto& [name, value] : wanted) {
    const auto there = found.find(name);
    if (there != found.end() && there->second == value)
      continue;
    const auto words = factNames().find(name);
    text += (text.empty() ? "" : ", ") + (words == factNames().end() ? name : words->second);
    // Hashes tell a reader nothing.
    if (name != "graph" && name != "weights" && name != "profile")
      text += " (" + (there == found.end() ? "none " : there->second) + "then, " + value + "now)";
  }
  return text.empty() ? "its key has other facts" : "it was made for another " + text;
}

PlanCache::PlanCache(InferenceLibrary& library, PlanPlatform platform)
    : PlanCache(library, std::move(platform), freeDiskBytes) {}

PlanCache::PlanCache(InferenceLibrary& library, PlanPlatform platform, DiskSpace diskSpace)
    : mLibrary(library), mPlatform(std::move(platform)), mDiskSpace(std::move(diskSpace)) {}

std::string PlanCache::inspect(const PlanRequest& request, const PlanKey& key, bool& exists,
                               std::uint64_t& sizeBytes) const {
  exists = access(request.path.c_str(), F_OK) == 0;
  if (!exists)
    return "there is none";
  KeptHeader header;
  std::string reason = readKeptHeader(request.path, KeptKind::kPlan, header);
  if (reason.empty() && header.key != key.text())
    reason = key.differences(header.key);
  if (reason.empty() && !isKnownGood(request.path, header)) {
    reason = verifyKept(request.path, header);
    if (reason.empty())
      noteKnownGood(request.path, header);
  }
  sizeBytes = header.contentBytes;
  return reason;
}

PlanFile PlanCache::ensure(const PlanRequest& request, const PlanListener& listener, CancelFlag abort) {
  return ensureUnless("", request, listener, abort);
}

PlanFile PlanCache::ensureUnless(const std::string& refused, const PlanRequest& request, const PlanListener& listener,
                                 CancelFlag abort) {
  abort.check();
  const PlanKey key(request, mPlatform);
  bool exists = false;
  PlanFile found{request.path, PlanFile::Origin::kFound, {}, 0, 0, {}, {}};
  if (refused.empty() && inspect(request, key, exists, found.sizeBytes).empty())
    return found;
  const FileLock lock(what(request), request.path, abort, listener.onWait);
  // Another process may have built it while this one waited.
  std::string reason = inspect(request, key, exists, found.sizeBytes);
  if (reason.empty() && refused.empty())
    return found;
  if (reason.empty())
    reason = refused;
  if (exists)
    notice(listener, "the plan " + request.path + " is built anew: " + reason);
  return build(request, key, exists ? reason : "", listener, abort);
}

void PlanCache::requireDiskSpace(const PlanRequest& request) const {
  // A little beside the plan: its header, the timing cache, and figures that are about right only.
  const std::uint64_t needed = request.expectedBytes + (std::uint64_t{16} << 20), room = mDiskSpace(request.path);
  if (room < needed)
    throw CodedError("ERR_DISK_FULL", "no room for " + what(request) + " at " + request.path + ": it needs about " +
                                          std::to_string(needed >> 20) + " MB and " + std::to_string(room >> 20) +
                                          " MB are free; free some space or choose another cacheDirectory");
}

PlanFile PlanCache::build(const PlanRequest& request, const PlanKey& key, const std::string& reason,
                          const PlanListener& listener, CancelFlag abort) {
  requireDiskSpace(request);
  const auto started = std::chrono::steady_clock::now();
  const std::string keyOfTimings = timingKey(mPlatform);
  TimingCache timing = readTiming(request, keyOfTimings, listener);
  Observer observer(listener, abort);
  const auto plan = mLibrary.build(request.options, timing, observer);
  abort.check();
  for (const auto& remark : observer.remarks())
    notice(listener, "TensorRT on " + what(request) + ": " + remark);
  if (!timing.ignored.empty())
    notice(listener, "the timing cache " + request.path + ".timing is not used: " + timing.ignored);
  PartialFile file(what(request), request.path);
  writeKept(file, KeptKind::kPlan, key.text(), plan->data(), plan->sizeBytes());
  abort.check();
  file.commit();
  keepTiming(request, keyOfTimings, timing, listener);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  return {request.path,    reason.empty() ? PlanFile::Origin::kBuilt : PlanFile::Origin::kReplaced,
          reason,          plan->sizeBytes(),
          seconds.count(), observer.remarks(), {}};
}

std::unique_ptr<Engine> PlanCache::load(const PlanRequest& request, PlanFile& file, const PlanListener& listener,
                                        CancelFlag abort) {
  const auto open = [&] {
    KeptHeader header;
    if (const std::string reason = readKeptHeader(request.path, KeptKind::kPlan, header); !reason.empty())
      throw CodedError("ERR_ENGINE_INCOMPATIBLE", "the plan " + request.path + " cannot be used: " + reason);
    PlanFileSource source(request.path, header);
    return mLibrary.load(source);
  };
  try {
    return open();
  } catch (const CodedError& error) {
    // Memory or a failing device are not the plan's fault, and a new one that is refused would be so for ever.
    if (error.code() != "ERR_ENGINE_INCOMPATIBLE" || file.origin != PlanFile::Origin::kFound)
      throw;
    file = ensureUnless(std::string("TensorRT refused it: ") + error.what(), request, listener, abort);
  }
  return open();
}

} // namespace scenebus::tensorrt
