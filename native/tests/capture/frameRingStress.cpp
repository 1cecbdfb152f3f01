// Readers against a writer, in processes of their own: no frame may mix two. Exit 0 when all is well.
//   frameRingStress [frames] [readers]
//   frameRingStress --control     verifies after giving the pin back, as a wrong reader would: must find torn frames
#include "capture/frameRing.h"
#include "capture/testPattern.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace scenebus::capture;

namespace {

constexpr uint32_t kWidth = 320;
constexpr uint32_t kHeight = 240;

struct Tally {
  uint64_t frames = 0;
  uint64_t torn = 0;
  uint64_t backwards = 0;
};

Tally readAll(const std::string& name, bool keepPin) {
  RingReader reader(name);
  Tally tally;
  uint64_t last = 0;
  for (;;) {
    const bool ended = reader.ended();
    RingReader::Pin pin = reader.pinNewest(last);
    if (!pin) {
      if (ended)
        return tally;
      sched_yield();
      continue;
    }
    const FrameMeta meta = pin.meta();
    const uint8_t* pixels = pin.pixels();
    if (!keepPin) {
      { const RingReader::Pin given(std::move(pin)); }
      // Until the writer has gone round: it has taken the slot again, by now or at this moment.
      while (!reader.ended() && reader.newestSequence() < meta.sequence + kMaxSlots)
        sched_yield();
    }
    ++tally.frames;
    if (meta.sequence <= last)
      ++tally.backwards;
    last = meta.sequence;
    if (!isChecker(pixels, meta.width, meta.height, meta.sequence))
      ++tally.torn;
    if (!keepPin && tally.torn > 0)
      return tally;
  }
}

void writeAll(RingWriter& writer, uint64_t frames) {
  uint64_t dropped = 0;
  for (uint64_t sequence = 1; sequence <= frames; ++sequence) {
    uint8_t* pixels = writer.beginFrame();
    if (!pixels) {
      ++dropped;
      continue;
    }
    drawChecker(pixels, kWidth, kHeight, sequence);
    FrameMeta meta;
    meta.width = kWidth;
    meta.height = kHeight;
    meta.sequence = sequence;
    writer.publishFrame(meta);
    if (sequence % 4 == 0)
      sched_yield(); // let readers run on machines with few cores
  }
  writer.end();
  std::printf("written %llu dropped %llu\n", static_cast<unsigned long long>(frames - dropped),
              static_cast<unsigned long long>(dropped));
}

} // namespace

int main(int argc, char** argv) {
  const bool control = argc > 1 && std::strcmp(argv[1], "--control") == 0;
  const uint64_t frames = !control && argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20000;
  const int readers = !control && argc > 2 ? std::atoi(argv[2]) : 2;
  RingWriter writer(kMinSlots + static_cast<uint32_t>(readers), frameBytes(kWidth, kHeight));
  std::printf("ring %s\n", writer.name().c_str());
  std::fflush(stdout);
  std::vector<pid_t> children;
  for (int index = 0; index < readers; ++index) {
    const pid_t child = fork();
    if (child == 0) {
      int result = 1;
      try {
        const Tally tally = readAll(writer.name(), !control);
        std::printf("read %llu torn %llu backwards %llu\n", static_cast<unsigned long long>(tally.frames),
                    static_cast<unsigned long long>(tally.torn), static_cast<unsigned long long>(tally.backwards));
        const bool sound = tally.frames > 0 && tally.torn == 0 && tally.backwards == 0;
        result = control ? (tally.torn > 0 ? 0 : 1) : (sound ? 0 : 1);
      } catch (const std::exception& error) {
        std::printf("reader failed: %s\n", error.what());
      }
      std::fflush(stdout);
      _exit(result);
    }
    children.push_back(child);
  }
  writeAll(writer, frames);
  int failures = 0;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      ++failures;
  }
  // One reader that catches the torn frames is enough for the control run.
  return control ? (failures < readers ? 0 : 1) : (failures == 0 ? 0 : 1);
}
