// What a model in a process of its own needs from the system; typed in sdk/native/addon-types.ts.
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "addon/registrar.h"

namespace scenebus::addon {

namespace {

[[noreturn]] void throwErrno(Napi::Env env, const char* what) {
  throw Napi::Error::New(env, std::string(what) + ": " + std::strerror(errno));
}

/**
 * createSharedMemory() -> file descriptor of an empty memory file. It has no name, so nothing is left behind however its
 * holders end, and it does not count against the size of /dev/shm (64 MB in many containers).
 */
Napi::Value createSharedMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int descriptor = memfd_create("scenebus-frames", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0)
    throwErrno(env, "memfd_create");
  // A reader that has mapped it would be killed (SIGBUS) if somebody cut it short.
  if (fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK) != 0) {
    const int failure = errno;
    close(descriptor);
    errno = failure;
    throwErrno(env, "fcntl(F_ADD_SEALS)");
  }
  return Napi::Number::New(env, descriptor);
}

/** releaseSharedMemory(descriptor, offsetBytes, sizeBytes): the range's pages go back to the system and read as zeros. */
void releaseSharedMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 3 || !info[0].IsNumber() || !info[1].IsNumber() || !info[2].IsNumber())
    throw Napi::TypeError::New(env, "Expected releaseSharedMemory(descriptor, offsetBytes, sizeBytes)");
  if (fallocate(info[0].As<Napi::Number>().Int32Value(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                info[1].As<Napi::Number>().Int64Value(), info[2].As<Napi::Number>().Int64Value()) != 0)
    throwErrno(env, "fallocate");
}

/** dieWithParent(): the kernel ends this process, even a stopped one, when the thread that started it is gone. */
void dieWithParent(const Napi::CallbackInfo& info) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
    throwErrno(info.Env(), "prctl");
}

void registerProcess(Napi::Env env, Napi::Object exports) {
  exports.Set("createSharedMemory", Napi::Function::New(env, createSharedMemory, "createSharedMemory"));
  exports.Set("releaseSharedMemory", Napi::Function::New(env, releaseSharedMemory, "releaseSharedMemory"));
  exports.Set("dieWithParent", Napi::Function::New(env, dieWithParent, "dieWithParent"));
}

const Registrar kRegistrar{registerProcess};

} // namespace
} // namespace scenebus::addon
