#pragma once
#include "cpu/kernels/matrix.h"
#include "cpu/memory/alignedBuffer.h"

#include <cstddef>
#include <cstdint>

/** From the weights of a checkpoint to `PackedMatrix`, one group of 16 rows at a time, so that it can stream. */
namespace scenebus::cpu {

/** A scale tensor `[rows, columns / groupSize]` as stored. */
struct ScaleSource {
  const void* data = nullptr;
  ScalarType type = ScalarType::kF32;
};

/** Where the packed weights come from. */
struct PackSource {
  enum class Kind {
    /** compressed-tensors `pack-quantized`: `[rows, columns / 2]` bytes, low nibble first, value + 8. */
    kInt4,
    /** The same with 8 bits: `[rows, columns]` bytes, value + 128. */
    kInt8,
    /** Floats `[rows, columns]`, rounded here to 8 bits with a scale for each `groupSize` inputs. */
    kFloat,
  };
  Kind kind = Kind::kInt4;
  const void* values = nullptr;
  /** Of `values` when `kind` is kFloat. */
  ScalarType valueType = ScalarType::kF32;
  ScaleSource scales;
  int rows = 0;
  int columns = 0;
  /** Inputs that share a scale: a multiple of 32 that divides `columns`. */
  int groupSize = kBlockColumns;
  /** Largest magnitude of a packed 8-bit weight; bytes of kInt8 are rounded anew where it is not 127. */
  int levels = 127;
};

/** The packed matrix's shape, with null pointers: sizes for an allocation or a file. */
PackedMatrix packedShape(const PackSource& source);
std::size_t packedDataBytes(const PackedMatrix& shape);
std::size_t packedFactorCount(const PackedMatrix& shape);

/**
 * Packs rows `16·group … 16·group + 15` to `data` (`groupBytes`) and `rowFactors` (16).
 * @throws CodedError ERR_MODEL_INVALID for a scale or a float weight that is not finite.
 */
void packGroup(const PackSource& source, int group, std::uint8_t* data, float* rowFactors);

/** A packed matrix that owns its memory. */
class OwnedPackedMatrix {
public:
  explicit OwnedPackedMatrix(const PackSource& source);
  const PackedMatrix& view() const { return mView; }

private:
  AlignedBuffer<std::uint8_t> mData;
  AlignedBuffer<float> mRowFactors;
  PackedMatrix mView;
};

/** One element of a float array as stored; the address may be unaligned. */
float readScalar(const void* data, ScalarType type, std::size_t index);

} // namespace scenebus::cpu
