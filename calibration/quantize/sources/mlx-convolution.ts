import type { TensorLocation } from '#sdk/architecture/architecture.js';
import { readTensorF32 } from '#sdk/checkpoint/index.js';
import type { FloatType, SourceTensor } from './source-tensor.js';

/**
 * MLX keeps the kernel of a convolution as `[outputs, height, width, channels]`; everybody else has the channels second.
 * @param shape `[outputs, channels, height, width]`
 */
export function patchEmbeddingOfMlx(location: TensorLocation, shape: readonly number[]): SourceTensor {
  const [, channels, height, width] = shape as [number, number, number, number];
  const pixels = height * width;
  return {
    shape,
    dtype: location.dtype as FloatType,
    sizeBytes: location.sizeBytes,
    file: location.file,
    rows: (first, count) => {
      const stored = readTensorF32(location, { first, count });
      const result = new Float32Array(stored.length);
      for (let output = 0; output < count; output += 1) {
        const start = output * pixels * channels;
        for (let pixel = 0; pixel < pixels; pixel += 1) {
          for (let channel = 0; channel < channels; channel += 1) {
            result[start + channel * pixels + pixel] = stored[start + pixel * channels + channel]!;
          }
        }
      }
      return result;
    },
  };
}
