#include "common/mappedFile.h"

#include "common/codedError.h"
#include "tests/support/checks.h"

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

using scenebus::CodedError;
using scenebus::MappedFile;
using scenebus::MappedMemory;

namespace {

struct TemporaryFile {
  char path[32] = "/tmp/scenebus-mapped-XXXXXX";

  explicit TemporaryFile(const std::vector<std::uint8_t>& content) {
    std::FILE* file = fdopen(mkstemp(path), "wb");
    CHECK(file != nullptr && std::fwrite(content.data(), 1, content.size(), file) == content.size());
    if (file != nullptr)
      std::fclose(file);
  }
  ~TemporaryFile() { std::remove(path); }
};

std::vector<std::uint8_t> numbered(std::size_t count) {
  std::vector<std::uint8_t> content(count);
  for (std::size_t i = 0; i < count; ++i)
    content[i] = static_cast<std::uint8_t>(i * 7);
  return content;
}

std::string failureOf(const std::string& path, MappedFile::Range range) {
  try {
    MappedFile("the test file", path, range, MappedFile::Pages::kShared);
  } catch (const CodedError& error) {
    return error.code() + ": " + error.what();
  }
  return "";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

} // namespace

TEST_CASE("mapped file: any range, shared or private, and moves") {
  const auto content = numbered(10000);
  const TemporaryFile file(content);
  for (const auto pages : {MappedFile::Pages::kShared, MappedFile::Pages::kPrivate}) {
    MappedFile part("the test file", file.path, {4097, 100}, pages);
    CHECK(part.sizeBytes() == 100 && std::memcmp(part.data(), content.data() + 4097, 100) == 0);
    MappedFile moved = std::move(part);
    CHECK(moved.sizeBytes() == 100 && moved.data()[0] == content[4097]);
    CHECK(part.sizeBytes() == 0 && part.data() == nullptr); // NOLINT: this is what moving leaves
    moved = MappedFile("the test file", file.path);
    CHECK(moved.sizeBytes() == content.size() && std::memcmp(moved.data(), content.data(), content.size()) == 0);
    const MappedFile empty("the test file", file.path, {10000, MappedFile::Range::kToEnd}, pages);
    CHECK(empty.sizeBytes() == 0 && empty.data() == nullptr);
  }
}

TEST_CASE("mapped file: a write to private pages does not reach the file") {
  const auto content = numbered(5000);
  const TemporaryFile file(content);
  MappedFile mapped("the test file", file.path, {}, MappedFile::Pages::kPrivate);
  mapped.writableData()[4999] = static_cast<std::uint8_t>(content[4999] + 1);
  const MappedFile again("the test file", file.path);
  CHECK(again.data()[4999] == content[4999]);
}

TEST_CASE("mapped file: refusals say what, where and why") {
  const TemporaryFile file(numbered(10000));
  CHECK(contains(failureOf(file.path, {9999, 2}), "ERR_MODEL_INVALID: cannot map the test file at /tmp/"));
  CHECK(contains(failureOf(file.path, {9999, 2}), "ends outside the file of 10000 bytes"));
  CHECK(contains(failureOf(file.path, {-1, 2}), "starts outside the file"));
  CHECK(contains(failureOf(file.path, {10001, MappedFile::Range::kToEnd}), "starts outside the file"));
  CHECK(contains(failureOf("/nowhere", {}), "ERR_MODEL_NOT_FOUND: cannot map the test file at /nowhere: No such file"));
  CHECK(contains(failureOf("/", {}), "ERR_MODEL_NOT_FOUND: cannot map the test file at /: not a regular file"));
}

TEST_CASE("mapped memory: zeroed, movable, empty where nothing was asked for") {
  MappedMemory memory = MappedMemory::anonymous(100000, false);
  CHECK(memory.sizeBytes() == 100000 && memory.data()[0] == 0 && memory.data()[99999] == 0);
  memory.data()[99999] = 7;
  const MappedMemory moved = std::move(memory);
  CHECK(moved.data()[99999] == 7 && memory.data() == nullptr && memory.sizeBytes() == 0); // NOLINT
  CHECK(MappedMemory::anonymous(0, true).data() == nullptr);
}
