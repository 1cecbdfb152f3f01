#include "capture/ffmpegSizes.h"

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstring>

#include <dlfcn.h>

namespace scenebus::capture {

namespace {

// libavutil/log.h; stable since FFmpeg 0.6.
using LogCallback = void (*)(void*, int, const char*, va_list);
using SetCallback = void (*)(LogCallback);

LogCallback gDefault = nullptr;
std::atomic<bool> gChanged{false};

/** Lines of decoders that end in the size of the pictures as two ints. */
constexpr const char* kSizeLines[] = {
    "sof0: picture: %dx%d\n",             // MJPEG, every picture
    "Reinit context to %dx%d, pix_fmt: ", // H.264, when the decoder is set up
    "Reinit context to %dx%d\n",
};
constexpr int kSizeLineCount = 3;
/** width << 32 | height of the last line of each kind; 0 = none yet. */
std::atomic<uint64_t> gSeen[kSizeLineCount];
/** libswscale, when a picture does not fit the converter. */
constexpr const char* kMisfit = "Slice parameters %d, %d are invalid";

void onLog(void* context, int level, const char* format, va_list arguments) {
  for (int kind = 0; kind < kSizeLineCount; ++kind) {
    if (std::strncmp(format, kSizeLines[kind], std::strlen(kSizeLines[kind])) != 0)
      continue;
    va_list copy;
    va_copy(copy, arguments);
    const auto width = static_cast<uint32_t>(va_arg(copy, int));
    const auto height = static_cast<uint32_t>(va_arg(copy, int));
    va_end(copy);
    const uint64_t size = static_cast<uint64_t>(width) << 32 | height;
    const uint64_t before = gSeen[kind].exchange(size);
    if (before != 0 && before != size)
      gChanged = true;
  }
  if (std::strncmp(format, kMisfit, std::strlen(kMisfit)) == 0)
    gChanged = true;
  if (gDefault)
    gDefault(context, level, format, arguments);
}

} // namespace

void FfmpegSizes::listen() {
  static const bool once = [] {
    const auto setCallback = reinterpret_cast<SetCallback>(dlsym(RTLD_DEFAULT, "av_log_set_callback"));
    gDefault = reinterpret_cast<LogCallback>(dlsym(RTLD_DEFAULT, "av_log_default_callback"));
    if (setCallback && gDefault)
      setCallback(onLog);
    return true;
  }();
  (void)once;
}

void FfmpegSizes::accept() {
  gChanged = false;
}

bool FfmpegSizes::haveChanged() {
  return gChanged;
}

} // namespace scenebus::capture
