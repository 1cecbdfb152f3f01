#pragma once
#include "tensorrt/nvinfer/headers.h"

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace scenebus::tensorrt {

/** Set to `verbose`, all that TensorRT says goes to the standard error output, which a service manager keeps. */
constexpr const char* kLogVariable = "SCENEBUS_TENSORRT_LOG";

/**
 * Keeps what TensorRT complains about, for the text of an exception, and what a build must not pass over in silence, at
 * whatever severity it comes. One for the process, as TensorRT wants it.
 */
class Messages final : public nvinfer1::ILogger {
public:
  void log(Severity severity, const char* message) noexcept override {
    if (message == nullptr)
      return;
    try {
      const std::lock_guard<std::mutex> guard(mMutex);
      if (mIsVerbose)
        std::fprintf(stderr, "tensorrt[%d] %s\n", static_cast<int>(severity), message);
      if (severity > Severity::kERROR && isNotable(message) && mRemarks.size() < kMostRemarks)
        mRemarks.emplace_back(message);
      if (severity > Severity::kERROR)
        return;
      mLatest.emplace_back(message);
      if (mLatest.size() > kMost)
        mLatest.pop_front();
    } catch (...) {
      // No memory for a message: the failure itself is still told.
    }
  }

  void clear() {
    const std::lock_guard<std::mutex> guard(mMutex);
    mLatest.clear();
    mRemarks.clear();
  }

  /** Since `clear`, a line each; empties the list. */
  std::string take() {
    const std::lock_guard<std::mutex> guard(mMutex);
    std::string text;
    for (const auto& message : mLatest)
      text += "\n  " + message;
    mLatest.clear();
    return text;
  }

  /** Warnings since `clear` that bear on results or speed; empties the list. */
  std::vector<std::string> takeRemarks() {
    const std::lock_guard<std::mutex> guard(mMutex);
    return std::exchange(mRemarks, {});
  }

private:
  /** A profile that contradicts itself; a kernel that was not tried for want of memory. */
  static bool isNotable(const char* message) {
    std::string text(message);
    for (char& each : text)
      each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
    return text.find("self-consistent") != std::string::npos || text.find("skipping tactic") != std::string::npos;
  }
  static bool isVerbose() {
    const char* wanted = std::getenv(kLogVariable);
    return wanted != nullptr && std::string(wanted) == "verbose";
  }

  static constexpr std::size_t kMost = 8, kMostRemarks = 64;
  const bool mIsVerbose = isVerbose();
  std::vector<std::string> mRemarks;
  std::mutex mMutex;
  std::deque<std::string> mLatest;
};

/** Whether TensorRT's words are about memory. */
inline bool speaksOfMemory(const std::string& text) {
  return text.find("OutOfMemory") != std::string::npos || text.find("out of memory") != std::string::npos ||
         text.find("OUT_OF_MEMORY") != std::string::npos;
}

/**
 * Whether a build failed because kernels had too little memory. The error itself may only say that no implementation of a
 * node was found; that each was skipped for want of memory, TensorRT warns of before.
 */
inline bool isForWantOfMemory(const std::string& errors, const std::vector<std::string>& remarks) {
  if (speaksOfMemory(errors))
    return true;
  if (errors.find("Could not find any implementation") == std::string::npos)
    return false;
  for (const auto& remark : remarks)
    if (speaksOfMemory(remark) || remark.find("insufficient memory") != std::string::npos)
      return true;
  return false;
}

} // namespace scenebus::tensorrt
