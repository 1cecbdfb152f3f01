#pragma once
#include "common/mappedFile.h"
#include "cpu/memory/packing.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace scenebus::cpu {

enum class TensorType { kF32, kF16, kBf16, kI8, kI32, kOther };

/** Where a tensor's bytes lie: row-major, any alignment. */
struct TensorSource {
  std::string file;
  std::uint64_t offsetBytes = 0;
  std::uint64_t sizeBytes = 0;
  TensorType type = TensorType::kOther;
  std::vector<std::int64_t> shape;
};

using TensorSources = std::map<std::string, TensorSource>;

/** Tensors of a checkpoint by name: their type and shape are checked, and their files mapped when first asked for. */
class TensorReader {
public:
  /** @param tensors stay where they are while this is asked for some */
  explicit TensorReader(const TensorSources& tensors) : mTensors(&tensors) {}

  /** @throws CodedError ERR_MODEL_INVALID when it is missing, or of another type or shape; so do those below */
  FloatMatrix matrix(const std::string& name, int rows, int columns) { return floats(name, {rows, columns}, columns); }
  /** A tensor of any shape as a matrix of so many columns. */
  FloatMatrix floats(const std::string& name, const std::vector<std::int64_t>& shape, int columns);
  /** Small ones; they must be finite. */
  std::vector<float> vectorOf(const std::string& name, int count);
  /** Linear `name` of compressed-tensors `pack-quantized`, 4 or 8 bits; nothing when it is stored as floats. */
  std::optional<PackSource> packed(const std::string& name, int rows, int columns);

private:
  const TensorSource* find(const std::string& name) const;
  const TensorSource& require(const std::string& name) const;
  const std::uint8_t* bytesOf(const std::string& name, const TensorSource& tensor, bool typeIsRight,
                              const std::vector<std::int64_t>& shape);

  const TensorSources* mTensors;
  std::map<std::string, MappedFile> mFiles;
};

} // namespace scenebus::cpu
