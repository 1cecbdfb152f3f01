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
  enum class Kind { kVideo, kTest };
  Kind kind = Kind::kTest;

  std::vector<OpenAttempt> attempts; // kVideo: tried in order
  bool isFile = false;               // kVideo: paced by media time, ends
  bool mayBeFile = false;            // kVideo: paced if it turns out to be a clip (over HTTP)
  std::string pattern = "checker";   // kTest: checker | moving | hang | die | end | freeze | still
  uint64_t patternFrames = 0;        // kTest: frames before hang, die, end or freeze

  bool loop = false;
  int requestWidth = 0; // of the source, before rotation; 0 = as it comes
  int requestHeight = 0;
  double requestFps = 0; // 0 = as it comes
  /** mirror and rotation hold what the file says of its pictures' orientation; false: it could not be asked. */
  bool hasOrientation = false;
  bool mirror = false; // left and right swapped, before the rotation
  int rotation = 0;    // degrees clockwise: 0, 90, 180, 270
  uint32_t ringSlots = 4;
  uint64_t firstSequence = 1;
  int doorbellFd = -1; // stream socket; one byte whenever a waiting reader has a frame
  /** Frames that are byte for byte the same for so long are told as kStalled; 0 = they may. */
  int frozenAfterMs = 0;
  /** Hash of the picture that stood still when the source was opened before; empty = none. */
  std::string frozenHash;
  /** Hash of the first picture of a stream that may have been a clip: one that begins with it again was. Empty = none.
   */
  std::string clipHash;
  int openTimeoutMs = 30'000; // FFmpeg's own limits; the process above has its own as well
  int readTimeoutMs = 30'000;
};

} // namespace scenebus::capture
