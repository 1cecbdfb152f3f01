#pragma once

namespace scenebus::capture {

/**
 * Tells when FFmpeg, below OpenCV, begins to decode pictures of another size. OpenCV (seen from 4.5 to 4.12) then goes
 * on with a converter for the old size: it gives the last old picture, or a mixture, and says success; no property
 * tells of the change. FFmpeg's log does, so it is listened to (av_log_set_callback, found at run time: the addon is
 * not linked with FFmpeg). Where it cannot be found, only the guard against frozen pictures is left.
 */
class FfmpegSizes {
public:
  /** Listens from now on. Call it when OpenCV has opened something: it has loaded FFmpeg by then. */
  static void listen();
  /** What was logged so far is the size that the pictures have now. */
  static void accept();
  /** Whether another size has been logged since accept(). */
  static bool haveChanged();
};

} // namespace scenebus::capture
