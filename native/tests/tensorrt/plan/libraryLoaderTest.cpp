#include "tests/support/checks.h"
#include "tensorrt/plan/libraryLoader.h"
#include "tests/tensorrt/support/testFolder.h"

using namespace scenebus;
using namespace scenebus::tensorrt;
using namespace scenebus::test;

namespace {

constexpr Version kHeaders10{10'16'00}, kHeaders11{11'01'00};

/** A folder with libraries under the names that the loader looks for. */
struct Libraries {
  TestFolder folder;
  LibrarySearch search;

  Libraries() {
    search.folders = {folder.path};
    search.useLoaderPaths = false; // what this machine has is no part of the test
  }
  void add(const std::string& built, const std::string& name) {
    // Copied: the loader takes files that are links to one for the same library.
    std::filesystem::copy_file(std::string(SCENEBUS_FAKE_LIBRARIES) + "/lib" + built + ".so", folder.file(name));
  }
  std::string failure(Version headers = kHeaders10) const {
    return failureOf([&] { openLibraries(headers, search); });
  }
};

} // namespace

TEST_CASE("loader: no library says what was looked for and what to install") {
  Libraries libraries;
  const std::string failure = libraries.failure();
  CHECK_MESSAGE(contains(failure, "ERR_NATIVE_UNAVAILABLE"), "%s", failure.c_str());
  CHECK(contains(failure, "libnvinfer.so.10"));
  CHECK(contains(failure, libraries.folder.path + "/libnvinfer.so.10"));
  CHECK(contains(failure, "sudo apt install"));
}

TEST_CASE("loader: finds library and parser, and says where") {
  Libraries libraries;
  libraries.add("fakeNvinfer10", "libnvinfer.so.10");
  libraries.add("fakeParser", "libnvonnxparser.so.10");
  const LoadedLibraries loaded = openLibraries(kHeaders10, libraries.search);
  CHECK(loaded.version.number == 10'03'00);
  CHECK(loaded.version.text() == "10.3.0");
  CHECK(loaded.path == libraries.folder.file("libnvinfer.so.10"));
  CHECK(loaded.symbols.createBuilder != nullptr && loaded.symbols.createRuntime != nullptr);
  CHECK(loaded.symbols.createParser != nullptr && loaded.symbols.pluginRegistry != nullptr);
}

TEST_CASE("loader: a library that is no library says why it cannot be opened") {
  Libraries libraries;
  libraries.folder.write("libnvinfer.so.10", "not a library");
  const std::string failure = libraries.failure();
  CHECK_MESSAGE(contains(failure, "ERR_NATIVE_UNAVAILABLE") && contains(failure, "libnvinfer.so.10: "), "%s",
                failure.c_str());
}

TEST_CASE("loader: a version that is too old or not known yet is refused") {
  Libraries old;
  old.add("fakeNvinfer100", "libnvinfer.so.10");
  CHECK_MESSAGE(contains(old.failure(), "ERR_ENGINE_INCOMPATIBLE") && contains(old.failure(), "10.0.1"), "%s",
                old.failure().c_str());
  Libraries future;
  future.add("fakeNvinfer12", "libnvinfer.so.11");
  CHECK(contains(future.failure(kHeaders11), "before 12") && contains(future.failure(kHeaders11), "12.0.0"));
}

TEST_CASE("loader: another major version than the headers' is refused") {
  Libraries renamed; // by its name right, by its own word not
  renamed.add("fakeNvinfer11", "libnvinfer.so.10");
  CHECK(contains(renamed.failure(), "ERR_ENGINE_INCOMPATIBLE"));
  CHECK(contains(renamed.failure(), "headers of TensorRT 10.16.0"));
  CHECK(contains(renamed.failure(), "11.1.0"));
  CHECK(contains(renamed.failure(), "build:native"));

  Libraries other; // under its own name
  other.add("fakeNvinfer11", "libnvinfer.so.11");
  CHECK(contains(other.failure(), "ERR_ENGINE_INCOMPATIBLE") && contains(other.failure(), "libnvinfer.so.11"));

  Libraries jetpack5;
  jetpack5.add("fakeNvinfer8", "libnvinfer.so.8");
  CHECK(contains(jetpack5.failure(), "JetPack 5") && contains(jetpack5.failure(), "ERR_ENGINE_INCOMPATIBLE"));
}

TEST_CASE("loader: a missing symbol and a missing parser are named") {
  Libraries damaged;
  damaged.add("fakeNvinferDamaged", "libnvinfer.so.10");
  CHECK(contains(damaged.failure(), "ERR_NATIVE_UNAVAILABLE"));
  CHECK(contains(damaged.failure(), "createInferRuntime_INTERNAL"));

  Libraries alone;
  alone.add("fakeNvinfer10", "libnvinfer.so.10");
  CHECK(contains(alone.failure(), "ERR_NATIVE_UNAVAILABLE"));
  CHECK(contains(alone.failure(), "libnvonnxparser.so.10"));
}

TEST_CASE("loader: versions before 10 counted otherwise") {
  CHECK(versionFromLibrary(8601).text() == "8.6.1");
  CHECK(versionFromLibrary(101602).text() == "10.16.2");
}
