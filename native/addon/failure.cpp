#include "addon/failure.h"

#include "common/cancelFlag.h"
#include "common/codedError.h"

#include <exception>
#include <new>
#include <system_error>

namespace scenebus::addon {

Failure currentFailure() {
  try {
    throw;
  } catch (const CodedError& error) {
    return {error.code(), error.what()};
  } catch (const Aborted&) {
    return {"ABORTED", "the call was aborted"};
  } catch (const std::bad_alloc&) {
    return {"ERR_ENGINE_OUT_OF_MEMORY", "not enough memory; choose a shorter contextLength or a smaller model"};
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::resource_unavailable_try_again)
      return {"ERR_ENGINE_OUT_OF_MEMORY", "the system starts no more threads for this process"};
    return {"ERR_ENGINE_FAILED", error.what()};
  } catch (const std::exception& error) {
    return {"ERR_ENGINE_FAILED", error.what()};
  } catch (...) {
    return {"ERR_ENGINE_FAILED", "an exception of unknown type"};
  }
}

Napi::Error jsError(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("code", failure.code);
  return error;
}

} // namespace scenebus::addon
