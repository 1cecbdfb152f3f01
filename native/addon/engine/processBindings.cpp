// What processes need from the system and Node does not give; typed in sdk/native/addon-types.ts.
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "addon/registrar.h"
#include "common/fileDescriptor.h"

namespace scenebus::addon {

namespace {

[[noreturn]] void throwErrno(Napi::Env env, const char* what) {
  const int code = errno; // before anything that may change it
  throw Napi::Error::New(env, std::string(what) + ": " + std::strerror(code));
}

/**
 * createSharedMemory() -> file descriptor of an empty memory file. It has no name, so nothing is left behind however its
 * holders end, and it does not count against the size of /dev/shm (64 MB in many containers).
 */
Napi::Value createSharedMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  FileDescriptor descriptor(memfd_create("scenebus-frames", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!descriptor.isOpen())
    throwErrno(env, "memfd_create");
  // A reader that has mapped it would be killed (SIGBUS) if somebody cut it short.
  if (fcntl(descriptor.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0)
    throwErrno(env, "fcntl(F_ADD_SEALS)");
  return Napi::Number::New(env, descriptor.release());
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

/**
 * sendDatagram(address, message): one message to a Unix datagram socket, of which Node has none. `@` begins an abstract
 * address, as in sd_notify(3). Never waits.
 */
void sendDatagram(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 2 || !info[0].IsString() || !info[1].IsString())
    throw Napi::TypeError::New(env, "Expected sendDatagram(address, message)");
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  const std::string message = info[1].As<Napi::String>().Utf8Value();
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    throw Napi::RangeError::New(env, "Expected an address of 1 to 107 bytes");
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@')
    address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const FileDescriptor descriptor(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!descriptor.isOpen())
    throwErrno(env, "socket");
  const ssize_t sent = sendto(descriptor.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                              reinterpret_cast<const sockaddr*>(&address), length);
  if (sent < 0)
    throwErrno(env, "sendto");
}

void registerProcess(Napi::Env env, Napi::Object exports) {
  exports.Set("createSharedMemory", Napi::Function::New(env, createSharedMemory, "createSharedMemory"));
  exports.Set("releaseSharedMemory", Napi::Function::New(env, releaseSharedMemory, "releaseSharedMemory"));
  exports.Set("sendDatagram", Napi::Function::New(env, sendDatagram, "sendDatagram"));
  exports.Set("dieWithParent", Napi::Function::New(env, dieWithParent, "dieWithParent"));
}

const Registrar kRegistrar{registerProcess};

} // namespace
} // namespace scenebus::addon
