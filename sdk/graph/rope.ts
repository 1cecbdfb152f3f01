/** Rotary position embedding of the self-attention layers, with the llama3 scaling. */
import type { TextArchitecture } from '../architecture/architecture.js';
import type { GraphBuilder, Value } from './builder.js';

/** One frequency per pair of channels, `[headDim / 2]`, radians per position. */
export function inverseFrequencies(
  text: Pick<TextArchitecture, 'headDim' | 'ropeTheta' | 'ropeScaling'>,
): Float32Array {
  const pairs = text.headDim / 2;
  return Float32Array.from({ length: pairs }, (_, i) => {
    const frequency = text.ropeTheta ** -(i / pairs);
    return text.ropeScaling === null ? frequency : scaleFrequency(frequency, text.ropeScaling);
  });
}

/** Short wavelengths are kept, long ones stretched by `factor`, those between blended. */
function scaleFrequency(frequency: number, scaling: NonNullable<TextArchitecture['ropeScaling']>): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings: original } = scaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength < original / highFreqFactor) return frequency;
  if (wavelength > original / lowFreqFactor) return frequency / factor;
  const smooth = (original / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

export interface RopeTables {
  /** `[positions, headDim / 2]`. */
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/** The angle is rounded to float32 before cosine and sine, as in the reference. */
export function ropeTables(
  text: Pick<TextArchitecture, 'headDim' | 'ropeTheta' | 'ropeScaling'>,
  positions: number,
): RopeTables {
  const frequencies = inverseFrequencies(text);
  const cos = new Float32Array(positions * frequencies.length);
  const sin = new Float32Array(cos.length);
  for (let position = 0, at = 0; position < positions; position++) {
    for (const frequency of frequencies) {
      const angle = Math.fround(position * frequency);
      cos[at] = Math.cos(angle);
      sin[at++] = Math.sin(angle);
    }
  }
  return { cos, sin };
}

/** The tables as float32 constants `[positions, headDim / 2]` of a graph. */
export function ropeInitializers(b: GraphBuilder, text: TextArchitecture, positions: number) {
  const tables = ropeTables(text, positions);
  const table = (name: keyof RopeTables): Value => {
    const bytes = new Uint8Array(tables[name].buffer);
    return b.initializer(`rope_${name}`, 'float32', [positions, text.headDim / 2], { kind: 'inline', bytes });
  };
  return { cos: table('cos'), sin: table('sin') };
}
