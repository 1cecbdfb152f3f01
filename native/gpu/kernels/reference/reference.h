#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

/**
 * Every operation in plain C++ on host memory, sums in double: what the kernels are held against, on the emulation and on
 * a GPU. Values are floats here; who compares with halves rounds the inputs first.
 */
namespace scenebus::kernels::reference {

using Floats = std::vector<float>;

/** x `[rows, inputs]`, packed `[outputs, inputs / 2]`, scales `[outputs, inputs / groupSize]` → `[rows, outputs]` */
Floats int4MatMul(const Floats& x, int rows, const std::vector<std::uint8_t>& packed, const Floats& scales, int outputs,
                  int inputs, int groupSize);

/** The same with weights `[outputs, inputs]`. */
Floats matMul(const Floats& x, int rows, const Floats& weight, int outputs, int inputs);

/** Halves of every row (pairs i, i + headDim / 2) turned: x `[rows, heads, headDim]`, row r at `position + r`. */
void rotate(Floats& x, int rows, int heads, int headDim, int position, const Floats& cosines, const Floats& sines);

struct Heads {
  int heads = 0;
  int kvHeads = 0;
  int headDim = 0;
};

/**
 * q `[rows, heads, headDim]`, keys and values `[kvHeads, capacity, headDim]` → `[rows, heads · headDim]`. Row r sees keys
 * below `causalFrom + r + 1` when `causalFrom` ≥ 0; `bias` `[rows, keyCount]` or empty: below −10³⁰ is not seen.
 */
Floats attention(const Floats& q, int rows, const Heads& shape, const Floats& keys, const Floats& values, int capacity,
                 int keyCount, int causalFrom, const Floats& bias);

Floats rmsNorm(const Floats& x, int rows, int size, const Floats& weight, float eps);
/** silu(gate) · up */
Floats siluMul(const Floats& gate, const Floats& up);
/** hidden + gate · rowGates[row] · update; no row gates: ones. */
Floats gatedAdd(const Floats& hidden, const Floats& update, float gate, const Floats& rowGates, int rows, int size);

int argmax(const float* logits, int vocabulary);
/** As `topP` of sampling.h says, by sorting, with masses in double. */
int topP(const float* logits, int vocabulary, float temperature, float topP, float random);

} // namespace scenebus::kernels::reference
