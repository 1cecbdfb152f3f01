#include "tensorrt/plan/planFile.h"

#include "common/codedError.h"
#include "common/sha256.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <vector>

namespace scenebus::tensorrt {
namespace {

constexpr std::size_t kMagicBytes = 8, kChecksumBytes = 64;
constexpr std::uint32_t kFormatVersion = 1;
/** Contents start here or at a multiple: page-aligned. */
constexpr std::uint64_t kAlignment = 4096;
constexpr std::uint32_t kLongestKey = 1 << 16;
/** magic, version, key size, content size, checksum; then the key. */
constexpr std::size_t kFixedBytes = kMagicBytes + 4 + 4 + 8 + kChecksumBytes;

const char* magicOf(KeptKind kind) {
  return kind == KeptKind::kPlan ? "SBTRTPL\n" : "SBTRTTC\n";
}

/** As many bytes as there are up to `sizeBytes`. */
std::size_t readAt(int file, void* to, std::size_t sizeBytes, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < sizeBytes) {
    const ssize_t got = pread(file, static_cast<char*>(to) + done, sizeBytes - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

} // namespace

std::string readKeptHeader(const std::string& path, KeptKind kind, KeptHeader& header) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat facts {};
  if (!file.isOpen() || fstat(file.get(), &facts) != 0)
    return std::string("it cannot be opened: ") + std::strerror(errno);
  char fixed[kFixedBytes];
  const std::size_t got = readAt(file.get(), fixed, sizeof(fixed), 0);
  if (got < kMagicBytes || std::memcmp(fixed, magicOf(kind), kMagicBytes) != 0)
    return got < kMagicBytes ? "it is truncated" : "it is a file of another kind";
  if (got < sizeof(fixed))
    return "it is truncated";
  std::uint32_t version = 0, keyBytes = 0;
  std::memcpy(&version, fixed + kMagicBytes, 4);
  std::memcpy(&keyBytes, fixed + kMagicBytes + 4, 4);
  std::memcpy(&header.contentBytes, fixed + kMagicBytes + 8, 8);
  header.checksum.assign(fixed + kMagicBytes + 16, kChecksumBytes);
  if (version != kFormatVersion)
    return "its format is version " + std::to_string(version) + " instead of " + std::to_string(kFormatVersion);
  if (keyBytes > kLongestKey)
    return "its header is damaged";
  header.key.resize(keyBytes);
  if (readAt(file.get(), header.key.data(), keyBytes, kFixedBytes) != keyBytes)
    return "it is truncated";
  header.contentOffset = (kFixedBytes + keyBytes + kAlignment - 1) / kAlignment * kAlignment;
  const auto size = static_cast<std::uint64_t>(facts.st_size);
  if (size < header.contentOffset || size - header.contentOffset < header.contentBytes)
    return "it is truncated";
  if (size - header.contentOffset != header.contentBytes)
    return "it is longer than its header says";
  return {};
}

std::string verifyKept(const std::string& path, const KeptHeader& header) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.isOpen())
    return std::string("it cannot be opened: ") + std::strerror(errno);
  Sha256 sum;
  std::vector<std::uint8_t> buffer(1 << 20);
  for (std::uint64_t at = 0; at < header.contentBytes;) {
    const std::size_t wanted = std::min<std::uint64_t>(buffer.size(), header.contentBytes - at);
    if (readAt(file.get(), buffer.data(), wanted, header.contentOffset + at) != wanted)
      return "it is truncated";
    sum.update(buffer.data(), wanted);
    at += wanted;
  }
  // Not to be read again soon, and on a board the cache's pages are the device's.
  posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  return sum.hex() == header.checksum ? "" : "its checksum is wrong";
}

namespace {

/** What changes when the file does; empty when there is none. */
std::string fingerprint(const std::string& path, const KeptHeader& header) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0)
    return {};
  return "size " + std::to_string(facts.st_size) + " inode " + std::to_string(facts.st_ino) + " time " +
         std::to_string(facts.st_mtim.tv_sec) + '.' + std::to_string(facts.st_mtim.tv_nsec) + " sha256 " +
         header.checksum + '\n';
}

std::string notePath(const std::string& path) {
  return path + ".verified";
}

} // namespace

bool isKnownGood(const std::string& path, const KeptHeader& header) {
  std::ifstream note(notePath(path), std::ios::binary);
  const std::string noted{std::istreambuf_iterator<char>(note), {}};
  return !noted.empty() && noted == fingerprint(path, header);
}

void noteKnownGood(const std::string& path, const KeptHeader& header) noexcept {
  try {
    const std::string facts = fingerprint(path, header);
    PartialFile note("the note of a plan that was verified", notePath(path));
    note.write(facts.data(), facts.size(), 0);
    note.commit();
  } catch (const std::exception&) {
    // Verified again next time.
  }
}

void writeKept(PartialFile& file, KeptKind kind, const std::string& key, const void* contents, std::size_t sizeBytes) {
  Sha256 sum;
  sum.update(contents, sizeBytes);
  const std::string checksum = sum.hex();
  const std::uint32_t version = kFormatVersion, keyBytes = static_cast<std::uint32_t>(key.size());
  const std::uint64_t contentBytes = sizeBytes;
  std::string header(magicOf(kind), kMagicBytes);
  header.append(reinterpret_cast<const char*>(&version), 4);
  header.append(reinterpret_cast<const char*>(&keyBytes), 4);
  header.append(reinterpret_cast<const char*>(&contentBytes), 8);
  header += checksum + key;
  header.resize((header.size() + kAlignment - 1) / kAlignment * kAlignment);
  file.write(header.data(), header.size(), 0);
  file.write(contents, sizeBytes, header.size());
}

PlanFileSource::PlanFileSource(const std::string& path, const KeptHeader& header)
    : mFile(open(path.c_str(), O_RDONLY | O_CLOEXEC)), mOffset(header.contentOffset), mSizeBytes(header.contentBytes) {
  if (!mFile.isOpen())
    throw CodedError("ERR_ENGINE_FAILED", "cannot open the plan " + path + ": " + std::strerror(errno));
}

std::size_t PlanFileSource::read(void* to, std::size_t sizeBytes) {
  const std::size_t wanted = std::min<std::uint64_t>(sizeBytes, mSizeBytes - mPosition);
  const std::size_t got = readAt(mFile.get(), to, wanted, mOffset + mPosition);
  mPosition += got;
  return got;
}

bool PlanFileSource::seek(std::uint64_t position) {
  if (position > mSizeBytes)
    return false;
  mPosition = position;
  return true;
}

} // namespace scenebus::tensorrt
