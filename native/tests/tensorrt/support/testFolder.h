#pragma once
#include "common/cancelFlag.h"
#include "common/codedError.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace scenebus::test {

/** A folder that goes with its owner. */
struct TestFolder {
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "scenebus-trt-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string file(const std::string& name) const { return path + "/" + name; }
  std::string write(const std::string& name, const std::string& contents) const {
    std::filesystem::create_directories(std::filesystem::path(file(name)).parent_path());
    std::ofstream(file(name), std::ios::binary) << contents;
    return file(name);
  }
  std::string read(const std::string& name) const {
    std::ifstream stream(file(name), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  }
  bool has(const std::string& name) const { return std::filesystem::exists(file(name)); }

  std::string path;
};

/** `CODE: message` of what `work` throws; `ABORTED`; empty when nothing. */
template <typename Work>
std::string failureOf(const Work& work) {
  try {
    work();
  } catch (const CodedError& error) {
    return error.code() + ": " + error.what();
  } catch (const Aborted&) {
    return "ABORTED";
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

} // namespace scenebus::test
