#include "capture/frameSource.h"

#include <opencv2/imgcodecs.hpp>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>

namespace scenebus::capture {

namespace {

namespace fs = std::filesystem;

bool isImageName(const fs::path& path) {
  static const std::set<std::string> kExtensions = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"};
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return kExtensions.count(extension) != 0;
}

/** `frame-9` before `frame-10`: runs of digits compare as numbers. */
bool naturalLess(const std::string& a, const std::string& b) {
  size_t i = 0;
  size_t j = 0;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  while (i < a.size() && j < b.size()) {
    if (digit(a[i]) && digit(b[j])) {
      const size_t beginA = a.find_first_not_of('0', i);
      const size_t beginB = b.find_first_not_of('0', j);
      size_t endA = i;
      size_t endB = j;
      while (endA < a.size() && digit(a[endA]))
        ++endA;
      while (endB < b.size() && digit(b[endB]))
        ++endB;
      const std::string numberA = a.substr(std::min(beginA, endA), endA - std::min(beginA, endA));
      const std::string numberB = b.substr(std::min(beginB, endB), endB - std::min(beginB, endB));
      if (numberA.size() != numberB.size())
        return numberA.size() < numberB.size();
      if (numberA != numberB)
        return numberA < numberB;
      i = endA;
      j = endB;
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i;
      ++j;
    }
  }
  return a.size() - i != b.size() - j ? a.size() - i < b.size() - j : a < b;
}

/** The pictures of a folder in natural order of their names, at a steady rate; read anew on every round of a loop. */
class ImageFolderSource final : public FrameSource {
public:
  explicit ImageFolderSource(const CaptureConfig& config)
      : mDirectory(config.directory), mLoop(config.loop), mFps(config.requestFps > 0 ? config.requestFps : 2) {}

  void open(SourceContext&) override {
    list();
    if (mNames.empty())
      throw CaptureError("ERR_CAPTURE_NOT_FOUND",
                         "the folder holds no picture (.jpg .jpeg .png .bmp .webp .tif .tiff)");
    mDue = Clock::now();
  }

  ReadOutcome read(SourceContext& context, SourceFrame& frame) override {
    for (;;) {
      if (mNext == mNames.size()) {
        if (!mReadable)
          throw CaptureError("ERR_CAPTURE_UNSUPPORTED", "none of the folder's pictures could be decoded");
        if (!mLoop)
          return ReadOutcome::kEnded;
        list();
        mReadable = false;
        if (mNames.empty())
          throw CaptureError("ERR_CAPTURE_NOT_FOUND", "the folder's pictures are gone");
      }
      if (context.stopping() || !context.waitUntil(mDue))
        return ReadOutcome::kStopped;
      const std::string& name = mNames[mNext];
      const double position = 1000.0 * static_cast<double>(mNext) / mFps;
      ++mNext;
      try {
        frame.pixels = cv::imread((fs::path(mDirectory) / name).string(), cv::IMREAD_COLOR);
      } catch (const cv::Exception&) { // too large, or broken inside a decoder
        frame.pixels.release();
      }
      if (frame.pixels.empty()) {
        context.warn("skipped a picture that cannot be decoded: " + name);
        continue;
      }
      mReadable = true;
      frame.capturedAtUs = unixTimeUs();
      frame.mediaTimeMs = position;
      mDue += secondsToDuration(1 / mFps);
      return ReadOutcome::kFrame;
    }
  }

  double framesPerSecond() const override { return mFps; }
  std::string backendName() const override { return "OpenCV imread"; }

private:
  void list() {
    mNames.clear();
    mNext = 0;
    std::error_code failure;
    for (fs::directory_iterator entry(mDirectory, failure), end; !failure && entry != end; entry.increment(failure)) {
      std::error_code ignored;
      if (entry->is_regular_file(ignored) && isImageName(entry->path()))
        mNames.push_back(entry->path().filename().string());
    }
    if (failure)
      throw CaptureError("ERR_CAPTURE_NOT_FOUND", "the folder cannot be read: " + failure.message());
    std::sort(mNames.begin(), mNames.end(), naturalLess);
  }

  std::string mDirectory;
  bool mLoop;
  double mFps;
  std::vector<std::string> mNames;
  size_t mNext = 0;
  bool mReadable = false;
  Clock::time_point mDue;
};

} // namespace

std::unique_ptr<FrameSource> createImageFolderSource(const CaptureConfig& config) {
  return std::make_unique<ImageFolderSource>(config);
}

} // namespace scenebus::capture
