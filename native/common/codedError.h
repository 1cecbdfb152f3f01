#pragma once
#include <stdexcept>
#include <string>
#include <utility>

namespace scenebus {

/** A failure with the code that the SDK gives to its callers (sdk/core/errors.ts). */
class CodedError : public std::runtime_error {
 public:
  CodedError(std::string code, const std::string& message) : std::runtime_error(message), mCode(std::move(code)) {}
  const std::string& code() const { return mCode; }

 private:
  std::string mCode;
};

} // namespace scenebus
