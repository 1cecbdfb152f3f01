#include "tensorrt/plan/planCache.h"
#include "common/atomicFile.h"
#include "common/sha256.h"
#include "tensorrt/plan/systemFacts.h"
#include "tests/support/checks.h"
#include "tests/tensorrt/support/fakeLibrary.h"
#include "tests/tensorrt/support/testFolder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

using namespace scenebus;
using namespace scenebus::tensorrt;
using namespace scenebus::test;

namespace {

struct Fixture {
  TestFolder folder;
  FakeLibrary library;
  PlanPlatform platform{"10.3.0", 12060, 8, 7, 16, "R36.4.3", "0"};
  PlanRequest request;
  std::vector<std::string> notices;
  PlanListener listener;

  Fixture() {
    library.kinds["decoder"];
    request.name = "decode";
    request.path = folder.file("decode.plan");
    request.weightsIdentity = "weights-1";
    request.options.graph = folder.write("decode.onnx", "decoder graph");
    request.options.profile = {{"inputs_embeds", {1, 1, 8}, {1, 1, 8}, {1, 8, 8}}};
    listener.onNotice = [this](const std::string& message) { notices.push_back(message); };
  }
  PlanFile ensure(CancelFlag abort = {}) { return PlanCache(library, platform).ensure(request, listener, abort); }
  bool noticed(const std::string& part) const {
    for (const auto& notice : notices)
      if (contains(notice, part))
        return true;
    return false;
  }
  /** Builds, changes the file, and expects a build anew that says `reason`. */
  void expectReplaced(const std::string& contents, const std::string& reason) {
    folder.write("decode.plan", contents);
    const int before = library.builds;
    const PlanFile file = ensure();
    CHECK(file.origin == PlanFile::Origin::kReplaced);
    CHECK(library.builds == before + 1);
    CHECK_MESSAGE(contains(file.reason, reason), "%s", file.reason.c_str());
    CHECK(noticed(reason));
    CHECK(ensure().origin == PlanFile::Origin::kFound);
  }
};

} // namespace

TEST_CASE("sha256: the vectors of FIPS 180-4") {
  Sha256 empty, abc, long2, pieces;
  CHECK(empty.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  abc.update("abc", 3);
  CHECK(abc.hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const std::string text = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  long2.update(text.data(), text.size());
  CHECK(long2.hex() == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  for (int i = 0; i < 1'000; ++i)
    pieces.update(std::string(1'000, 'a').data(), 1'000);
  CHECK(pieces.hex() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("plans: built once, then found") {
  Fixture f;
  const PlanFile built = f.ensure();
  CHECK(built.origin == PlanFile::Origin::kBuilt);
  CHECK(built.sizeBytes == std::string("decoder graph").size());
  CHECK(f.ensure().origin == PlanFile::Origin::kFound);
  CHECK(f.library.builds == 1);
  CHECK(!f.folder.has("decode.plan.partial"));
  CHECK(f.notices.empty());
}

TEST_CASE("plans: a truncated one is built anew and said so") {
  Fixture f;
  f.ensure();
  const std::string whole = f.folder.read("decode.plan");
  for (const std::size_t size : {std::size_t{0}, std::size_t{4}, std::size_t{30}, std::size_t{120}, whole.size() - 1})
    f.expectReplaced(whole.substr(0, size), "truncated");
}

TEST_CASE("plans: a foreign or damaged file is built anew and said so") {
  Fixture f;
  f.ensure();
  const std::string whole = f.folder.read("decode.plan");
  f.expectReplaced("GGUF and much more than a header needs" + std::string(200, 'x'), "another kind");
  std::string damaged = whole;
  damaged.back() ^= 1;
  f.expectReplaced(damaged, "checksum");
  f.expectReplaced(whole + "x", "longer");
  std::string otherFormat = whole;
  otherFormat[8] = 99;
  f.expectReplaced(otherFormat, "version 99");
}

TEST_CASE("plans: a stale one says what has changed") {
  Fixture f;
  f.ensure();
  const auto expectStale = [&](const std::string& reason) {
    f.notices.clear();
    const PlanFile file = f.ensure();
    CHECK(file.origin == PlanFile::Origin::kReplaced);
    CHECK_MESSAGE(f.noticed(reason), "%s", file.reason.c_str());
  };
  f.platform.smCount = 8;
  expectStale("GPU (8.7 with 16 multiprocessors then, 8.7 with 8 multiprocessors now)");
  f.platform.smMinor = 9;
  expectStale("GPU");
  f.platform.tensorRtVersion = "10.16.2";
  expectStale("version of TensorRT (10.3.0 then, 10.16.2 now)");
  f.platform.driverVersion = 13020;
  expectStale("CUDA driver");
  f.platform.l4tRelease = "R39.2.0";
  expectStale("L4T release");
  f.platform.powerMode = "2";
  expectStale("power mode");
  f.request.weightsIdentity = "weights-2";
  expectStale("weights");
  f.request.options.workspaceBytes = 5;
  expectStale("workspace limit");
  f.request.options.plugins = true;
  expectStale("plugin mode");
  f.request.options.profile[0].max = {1, 4, 8};
  expectStale("profile shapes");
  f.folder.write("decode.onnx", "decoder changed");
  expectStale("graph");
}

TEST_CASE("plans: one that the library refuses is built anew once") {
  Fixture f;
  f.ensure();
  PlanFile file = f.ensure();
  PlanCache cache(f.library, f.platform);
  f.library.refusals = 1;
  CHECK(failureOf([&] { cache.load(f.request, file, f.listener, {}); }).empty());
  CHECK(f.library.builds == 2);
  CHECK(file.origin == PlanFile::Origin::kReplaced);
  CHECK(f.noticed("TensorRT refused it"));
  // A new one that is refused too is no plan's fault.
  f.library.refusals = 2;
  file = f.ensure();
  CHECK(contains(failureOf([&] { cache.load(f.request, file, f.listener, {}); }), "ERR_ENGINE_INCOMPATIBLE"));
  CHECK(f.library.builds == 3);
  f.library.refusals = 1;
  CHECK(contains(failureOf([&] { cache.load(f.request, file, f.listener, {}); }), "ERR_ENGINE_INCOMPATIBLE"));
  CHECK(f.library.builds == 3);
}

TEST_CASE("plans: two builders at once build one") {
  Fixture f;
  std::mutex mutex;
  std::condition_variable changed;
  bool isWaiting = false;
  // The first build goes on only when the second builder waits for it.
  f.library.duringBuild = [&] {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return isWaiting; });
  };
  PlanFile first, second;
  std::thread builder([&] { first = f.ensure(); });
  FakeLibrary otherLibrary;
  PlanListener other;
  other.onWait = [&] {
    const std::lock_guard<std::mutex> guard(mutex);
    isWaiting = true;
    changed.notify_all();
  };
  // Until the first holds the lock there is nothing to wait for.
  while (!f.folder.has("decode.plan.lock") || f.library.builds == 0)
    std::this_thread::yield();
  second = PlanCache(otherLibrary, f.platform).ensure(f.request, other, {});
  builder.join();
  CHECK(first.origin == PlanFile::Origin::kBuilt);
  CHECK(second.origin == PlanFile::Origin::kFound);
  CHECK(f.library.builds == 1);
  CHECK(otherLibrary.builds == 0);
}

TEST_CASE("plans: who waits for another builder can be aborted") {
  Fixture f;
  const FileLock lock("a plan", f.request.path, {});
  std::int32_t flag = 0;
  f.listener.onWait = [&] { flag = 1; };
  CHECK(failureOf([&] { f.ensure({&flag}); }) == "ABORTED");
  CHECK(f.library.builds == 0);
}

TEST_CASE("plans: no room on the disk is said before the build") {
  Fixture f;
  f.request.expectedBytes = std::uint64_t{3} << 30;
  PlanCache cache(f.library, f.platform, [](const std::string&) { return std::uint64_t{1} << 30; });
  const std::string failure = failureOf([&] { cache.ensure(f.request, f.listener, {}); });
  CHECK_MESSAGE(contains(failure, "ERR_DISK_FULL") && contains(failure, "about 3088 MB and 1024 MB"), "%s",
                failure.c_str());
  CHECK(f.library.builds == 0);
}

TEST_CASE("plans: a disk that fills up while a plan is written leaves nothing") {
  Fixture f;
  // Every write to this device fails for want of room.
  CHECK(symlink("/dev/full", (f.request.path + ".partial").c_str()) == 0);
  const std::string failure = failureOf([&] { f.ensure(); });
  CHECK_MESSAGE(contains(failure, "ERR_DISK_FULL"), "%s", failure.c_str());
  CHECK(!f.folder.has("decode.plan"));
  CHECK(!f.folder.has("decode.plan.partial"));
}

TEST_CASE("plans: a folder that is not there or is a file is a matter of configuration") {
  Fixture f;
  f.request.path = f.folder.file("decode.onnx/decode.plan");
  CHECK(contains(failureOf([&] { f.ensure(); }), "ERR_CONFIG_INVALID"));
  CHECK(f.library.builds == 0);
  f.request.path = f.folder.file("decode.plan");
  f.request.options.graph = f.folder.file("missing.onnx");
  CHECK(contains(failureOf([&] { f.ensure(); }), "ERR_MODEL_NOT_FOUND"));
}

TEST_CASE("plans: a build that is cancelled half-way leaves nothing, and keeps what was there") {
  Fixture f;
  std::int32_t flag = 0;
  f.library.duringBuild = [&] { flag = 1; };
  CHECK(failureOf([&] { f.ensure({&flag}); }) == "ABORTED");
  CHECK(!f.folder.has("decode.plan"));
  CHECK(!f.folder.has("decode.plan.partial"));
  CHECK(!f.folder.has("decode.plan.timing"));

  flag = 0;
  f.library.duringBuild = nullptr;
  f.ensure();
  const std::string before = f.folder.read("decode.plan");
  f.platform.smCount = 4;
  f.library.duringBuild = [&] { flag = 1; };
  CHECK(failureOf([&] { f.ensure({&flag}); }) == "ABORTED");
  CHECK(f.folder.read("decode.plan") == before);
  // The lock is free again.
  flag = 0;
  f.library.duringBuild = nullptr;
  CHECK(f.ensure({&flag}).origin == PlanFile::Origin::kReplaced);
}

TEST_CASE("plans: contents are hashed once, and again when size, time or file change") {
  Fixture f;
  f.ensure();
  CHECK(f.ensure().origin == PlanFile::Origin::kFound);
  CHECK(f.folder.has("decode.plan.verified"));
  const std::string whole = f.folder.read("decode.plan");
  struct stat facts {};
  CHECK(stat(f.request.path.c_str(), &facts) == 0);
  // Same size and time: taken for the file that was hashed.
  std::string damaged = whole;
  damaged.back() ^= 1;
  f.folder.write("decode.plan", damaged);
  const timespec times[] = {facts.st_atim, facts.st_mtim};
  CHECK(utimensat(AT_FDCWD, f.request.path.c_str(), times, 0) == 0);
  CHECK(f.ensure().origin == PlanFile::Origin::kFound);
  // Another time: hashed, and found out.
  const timespec later[] = {facts.st_atim, {facts.st_mtim.tv_sec + 1, 0}};
  CHECK(utimensat(AT_FDCWD, f.request.path.c_str(), later, 0) == 0);
  const PlanFile again = f.ensure();
  CHECK(again.origin == PlanFile::Origin::kReplaced);
  CHECK(contains(again.reason, "checksum"));
  // A note that says nothing is no note.
  f.folder.write("decode.plan.verified", "");
  CHECK(f.ensure().origin == PlanFile::Origin::kFound);
  CHECK(!f.folder.read("decode.plan.verified").empty());
}

TEST_CASE("plans: what the library warns of while it builds is told and kept in the report") {
  Fixture f;
  f.library.remarks = {"Profile is not self-consistent", "Skipping tactic 3", "Skipping tactic 3"};
  const PlanFile built = f.ensure();
  CHECK(built.remarks == std::vector<std::string>({"Profile is not self-consistent", "Skipping tactic 3"}));
  CHECK(f.noticed("the TensorRT plan of decode: Profile is not self-consistent"));
  CHECK(f.ensure().remarks.empty());
}

TEST_CASE("timing cache: kept beside the plan; a damaged or foreign one is ignored and said so") {
  Fixture f;
  f.ensure();
  f.request.weightsIdentity = "weights-2";
  f.ensure();
  CHECK(f.library.timingIn == std::vector<std::uint8_t>({1, 2, 3}));

  std::string damaged = f.folder.read("decode.plan.timing");
  damaged.back() ^= 1;
  f.folder.write("decode.plan.timing", damaged);
  f.request.weightsIdentity = "weights-3";
  CHECK(f.ensure().origin == PlanFile::Origin::kReplaced);
  CHECK(f.library.timingIn.empty());
  CHECK(f.noticed("decode.plan.timing is not used: its checksum is wrong"));

  f.platform.smCount = 4;
  f.ensure();
  CHECK(f.library.timingIn.empty());
  CHECK(f.noticed("another GPU"));

  f.library.refusesTimings = true;
  f.request.weightsIdentity = "weights-4";
  f.ensure();
  CHECK(f.noticed("the fake refused it"));
}

TEST_CASE("board facts: release, power mode and memory from its files") {
  TestFolder root;
  CHECK(l4tRelease(root.path).empty());
  CHECK(powerMode(root.path).empty());
  CHECK(availableMemoryBytes(root.path) == 0);
  root.write("etc/nv_tegra_release",
             "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n");
  root.write("var/lib/nvpmodel/status", "pmode:0002");
  root.write("proc/meminfo", "MemTotal:       15656284 kB\nMemFree:          524288 kB\nMemAvailable:    1048576 kB\n");
  CHECK(l4tRelease(root.path) == "R36.4.3");
  CHECK(powerMode(root.path) == "2");
  CHECK(availableMemoryBytes(root.path) == std::uint64_t{1} << 30);
  root.write("var/lib/nvpmodel/status", "pmode:0000 fmode:fanNull");
  CHECK(powerMode(root.path) == "0");
}
