#include "gpu/kernels/reference/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace scenebus::kernels::reference {
namespace {

std::size_t at(int row, int size) { return static_cast<std::size_t>(row) * static_cast<std::size_t>(size); }

} // namespace

Floats int4MatMul(const Floats& x, int rows, const std::vector<std::uint8_t>& packed, const Floats& scales, int outputs,
                  int inputs, int groupSize) {
  Floats weight(at(outputs, inputs));
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const int value = (packed[i / 2] >> (i % 2 * 4) & 15) - 8;
    weight[i] = static_cast<float>(value) * scales[i / static_cast<std::size_t>(groupSize)];
  }
  return matMul(x, rows, weight, outputs, inputs);
}

Floats matMul(const Floats& x, int rows, const Floats& weight, int outputs, int inputs) {
  Floats y(at(rows, outputs));
  for (int row = 0; row < rows; ++row)
    for (int output = 0; output < outputs; ++output) {
      const float* a = x.data() + at(row, inputs);
      const float* b = weight.data() + at(output, inputs);
      double sum = 0;
      for (int k = 0; k < inputs; ++k)
        sum += static_cast<double>(a[k]) * b[k];
      y[at(row, outputs) + static_cast<std::size_t>(output)] = static_cast<float>(sum);
    }
  return y;
}

void rotate(Floats& x, int rows, int heads, int headDim, int position, const Floats& cosines, const Floats& sines) {
  const int half = headDim / 2;
  for (int row = 0; row < rows; ++row)
    for (int head = 0; head < heads; ++head) {
      float* values = x.data() + at(row * heads + head, headDim);
      const float* cosine = cosines.data() + at(position + row, half);
      const float* sine = sines.data() + at(position + row, half);
      for (int i = 0; i < half; ++i) {
        const float a = values[i], b = values[i + half];
        values[i] = a * cosine[i] - b * sine[i];
        values[i + half] = b * cosine[i] + a * sine[i];
      }
    }
}

Floats attention(const Floats& q, int rows, const Heads& shape, const Floats& keys, const Floats& values, int capacity,
                 int keyCount, int causalFrom, const Floats& bias) {
  Floats result(at(rows * shape.heads, shape.headDim));
  const int group = shape.heads / shape.kvHeads;
  for (int row = 0; row < rows; ++row)
    for (int head = 0; head < shape.heads; ++head) {
      const float* query = q.data() + at(row * shape.heads + head, shape.headDim);
      const std::size_t base = at(head / group * capacity, shape.headDim);
      const int count = causalFrom >= 0 ? std::min(keyCount, causalFrom + row + 1) : keyCount;
      std::vector<double> scores(static_cast<std::size_t>(count), -std::numeric_limits<double>::infinity());
      double greatest = -std::numeric_limits<double>::infinity();
      for (int key = 0; key < count; ++key) {
        const float added = bias.empty() ? 0.0f : bias[at(row, keyCount) + static_cast<std::size_t>(key)];
        if (!(added > -1e30f))
          continue;
        double score = 0;
        for (int d = 0; d < shape.headDim; ++d)
          score += static_cast<double>(query[d]) * keys[base + at(key, shape.headDim) + static_cast<std::size_t>(d)];
        scores[static_cast<std::size_t>(key)] = score / std::sqrt(static_cast<double>(shape.headDim)) + added;
        greatest = std::max(greatest, scores[static_cast<std::size_t>(key)]);
      }
      double weight = 0;
      std::vector<double> sum(static_cast<std::size_t>(shape.headDim));
      for (int key = 0; key < count; ++key) {
        if (!std::isfinite(scores[static_cast<std::size_t>(key)]))
          continue;
        const double p = std::exp(scores[static_cast<std::size_t>(key)] - greatest);
        weight += p;
        for (int d = 0; d < shape.headDim; ++d)
          sum[static_cast<std::size_t>(d)] += p * values[base + at(key, shape.headDim) + static_cast<std::size_t>(d)];
      }
      for (int d = 0; d < shape.headDim; ++d)
        result[at(row * shape.heads + head, shape.headDim) + static_cast<std::size_t>(d)] =
            weight > 0 ? static_cast<float>(sum[static_cast<std::size_t>(d)] / weight) : 0.0f;
    }
  return result;
}

Floats rmsNorm(const Floats& x, int rows, int size, const Floats& weight, float eps) {
  Floats y(x.size());
  for (int row = 0; row < rows; ++row) {
    double squares = 0;
    for (int i = 0; i < size; ++i)
      squares += static_cast<double>(x[at(row, size) + static_cast<std::size_t>(i)]) * x[at(row, size) + static_cast<std::size_t>(i)];
    const double factor = 1.0 / std::sqrt(squares / size + eps);
    for (int i = 0; i < size; ++i)
      y[at(row, size) + static_cast<std::size_t>(i)] =
          static_cast<float>(x[at(row, size) + static_cast<std::size_t>(i)] * factor * weight[static_cast<std::size_t>(i)]);
  }
  return y;
}

Floats siluMul(const Floats& gate, const Floats& up) {
  Floats y(gate.size());
  for (std::size_t i = 0; i < y.size(); ++i)
    y[i] = static_cast<float>(gate[i] / (1.0 + std::exp(-static_cast<double>(gate[i]))) * up[i]);
  return y;
}

Floats gatedAdd(const Floats& hidden, const Floats& update, float gate, const Floats& rowGates, int rows, int size) {
  Floats y(hidden.size());
  for (int row = 0; row < rows; ++row) {
    const float factor = gate * (rowGates.empty() ? 1.0f : rowGates[static_cast<std::size_t>(row)]);
    for (int i = 0; i < size; ++i) {
      const std::size_t place = at(row, size) + static_cast<std::size_t>(i);
      y[place] = hidden[place] + factor * update[place];
    }
  }
  return y;
}

int argmax(const float* logits, int vocabulary) {
  int best = 0;
  for (int i = 1; i < vocabulary; ++i)
    if (logits[i] > logits[best] || (std::isnan(logits[best]) && !std::isnan(logits[i])))
      best = i;
  return best;
}

int topP(const float* logits, int vocabulary, float temperature, float topP, float random) {
  const float greatest = logits[argmax(logits, vocabulary)];
  std::vector<double> mass(static_cast<std::size_t>(vocabulary));
  for (std::size_t i = 0; i < mass.size(); ++i)
    mass[i] = std::exp((static_cast<double>(logits[i]) - greatest) / temperature);
  const double total = std::accumulate(mass.begin(), mass.end(), 0.0);
  std::vector<int> order(mass.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  double before = 0, kept = 0;
  float last = greatest;
  for (const int token : order) {
    // Equal logits are kept or left together.
    if (before > topP * total && logits[token] != last)
      break;
    last = logits[token];
    before += mass[static_cast<std::size_t>(token)];
    kept += mass[static_cast<std::size_t>(token)];
  }
  double drawn = kept * random;
  int token = 0;
  for (int i = 0; i < vocabulary; ++i) {
    if (logits[i] < last)
      continue;
    token = i;
    drawn -= mass[static_cast<std::size_t>(i)];
    if (drawn < 0)
      break;
  }
  return token;
}

} // namespace scenebus::kernels::reference
