#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace scenebus::capture {

/** A failure with a code of sdk/core/errors.ts. Stays below the addon border. */
struct CaptureError : std::runtime_error {
  CaptureError(std::string errorCode, const std::string& message)
      : std::runtime_error(message), code(std::move(errorCode)) {}
  std::string code;
};

/** One way to open a video: an OpenCV backend with a pipeline, file name or URL, or a V4L2 device number. */
struct OpenAttempt {
  int backend = 0; // cv::VideoCaptureAPIs
  std::string target;
  int deviceIndex = -1; // used instead of `target` when ≥ 0
  /** Size and rate are asked of the driver (V4L2); in pipelines they stand in the text. */
  bool requestFormat = false;
};

struct CaptureConfig {
  enum class Kind { kVideo, kImages, kTest };
  Kind kind = Kind::kTest;

  std::vector<OpenAttempt> attempts; // kVideo: tried in order
  bool isFile = false;               // kVideo: paced by media time, ends
  bool mayBeFile = false;            // kVideo: paced if it has a length (a clip over HTTP)
  std::string directory;             // kImages
  std::string pattern = "checker";   // kTest: checker | moving | hang | die | end
  uint64_t patternFrames = 0;        // kTest: frames before hang, die or end

  bool loop = false;
  int requestWidth = 0; // of the source, before rotation; 0 = as it comes
  int requestHeight = 0;
  double requestFps = 0; // 0 = as it comes
  int rotation = 0;      // degrees clockwise: 0, 90, 180, 270
  uint32_t ringSlots = 4;
  uint64_t firstSequence = 1;
  int doorbellFd = -1; // stream socket; one byte whenever a waiting reader has a frame
};

} // namespace scenebus::capture
