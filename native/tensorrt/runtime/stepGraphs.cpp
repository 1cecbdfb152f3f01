#include "tensorrt/runtime/stepGraphs.h"

#include "common/codedError.h"

#include <algorithm>

namespace scenebus::tensorrt {
namespace {

/** Rows 1 to 8 of drafts and both directions of K/V that are not written in place. */
constexpr std::size_t kMostRecorded = 16;
constexpr std::size_t kMostSeen = 64;

} // namespace

StepGraphs::StepGraphs(cuda::Device& device, EngineStage& stage, cuda::DevicePointer scratch, std::uint64_t scratchBytes,
                       Notice notice)
    : mDevice(device), mStage(stage), mScratch(scratch), mScratchBytes(scratchBytes), mNotice(std::move(notice)),
      mIsRecording(stage.spec().isCaptured) {
  // Their addresses belong to the caller and change with every call.
  for (const auto& slot : stage.slots())
    mIsRecording = mIsRecording && !slot.isOnHost;
  stage.context().setScratch(scratch, scratchBytes);
}

Context& StepGraphs::run(const StepSetting& setting, cuda::Stream stream) {
  if (!mIsRecording)
    return runPlainly(setting, stream);
  const std::string key = setting.key();
  const auto found =
      std::find_if(mRecorded.begin(), mRecorded.end(), [&](const Recorded& entry) { return entry.key == key; });
  if (found != mRecorded.end()) {
    mRecorded.splice(mRecorded.begin(), mRecorded, found);
    mDevice.launchGraph(*found->graph, stream);
    return *found->context;
  }
  const auto seen = std::find(mSeen.begin(), mSeen.end(), key);
  if (seen == mSeen.end()) {
    mSeen.push_front(key);
    if (mSeen.size() > kMostSeen)
      mSeen.pop_back();
    return runPlainly(setting, stream);
  }
  mSeen.erase(seen);
  Context* context = record(setting, key, stream);
  return context != nullptr ? *context : runPlainly(setting, stream);
}

Context& StepGraphs::runPlainly(const StepSetting& setting, cuda::Stream stream) {
  setting.apply(mStage.context());
  mStage.context().enqueue(stream);
  return mStage.context();
}

Context* StepGraphs::record(const StepSetting& setting, const std::string& key, cuda::Stream stream) {
  const auto giveUp = [&](const std::string& reason) {
    mIsRecording = false;
    if (mNotice)
      mNotice("steps of " + mStage.name() + " run without CUDA graphs, somewhat slower: " + reason);
  };
  Recorded entry;
  entry.key = key;
  try {
    entry.context = mStage.engine().createContext();
    entry.context->setScratch(mScratch, mScratchBytes);
  } catch (const std::exception& error) {
    giveUp(error.what());
    return nullptr;
  }
  // This is the step itself. It also makes the context do what it puts off until shapes are known, which a recording
  // does not allow.
  setting.apply(*entry.context);
  entry.context->enqueue(stream);
  mDevice.synchronize(stream);
  try {
    entry.graph = mDevice.capture(stream, [&] { entry.context->enqueue(stream); });
  } catch (const std::exception& error) {
    giveUp(error.what());
    // The step has run; only its outputs' shapes are still asked for, and the plain context can tell them.
    setting.apply(mStage.context());
    return &mStage.context();
  }
  mRecorded.push_front(std::move(entry));
  if (mRecorded.size() > kMostRecorded)
    mRecorded.pop_back();
  return mRecorded.front().context.get();
}

} // namespace scenebus::tensorrt
