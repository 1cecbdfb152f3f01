#pragma once
#include <napi.h>

#include <string>

namespace scenebus::addon {

/** What an exception is for JavaScript. */
struct Failure {
  std::string code, message;
};

/** Of the exception that is being handled. */
Failure currentFailure();

/** An Error with `code` set. */
Napi::Error jsError(Napi::Env env, const Failure& failure);

} // namespace scenebus::addon
