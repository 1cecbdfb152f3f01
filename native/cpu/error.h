#pragma once
#include <stdexcept>
#include <string>

namespace scenebus::cpu {

/** A failure with the code that the SDK gives to its callers (sdk/core/errors.ts). */
class CpuError : public std::runtime_error {
 public:
  CpuError(std::string code, const std::string& message) : std::runtime_error(message), mCode(std::move(code)) {}
  const std::string& code() const { return mCode; }

 private:
  std::string mCode;
};

} // namespace scenebus::cpu
