#pragma once
#include "tensorrt/nvinfer/headers.h"

#include <deque>
#include <mutex>
#include <string>

namespace scenebus::tensorrt {

/** Keeps what TensorRT complains about, for the text of an exception. One for the process, as TensorRT wants it. */
class Messages final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity > Severity::kERROR || message == nullptr)
      return;
    try {
      const std::lock_guard<std::mutex> guard(mMutex);
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

 private:
  static constexpr std::size_t kMost = 8;
  std::mutex mMutex;
  std::deque<std::string> mLatest;
};

/** Whether TensorRT's words are about memory. */
inline bool speaksOfMemory(const std::string& text) {
  return text.find("OutOfMemory") != std::string::npos || text.find("out of memory") != std::string::npos ||
         text.find("OUT_OF_MEMORY") != std::string::npos;
}

} // namespace scenebus::tensorrt
