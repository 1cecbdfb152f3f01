/** How recorded samples are kept: base64 of float16, whose steps are far below what is tolerated. */
import { float16Bits, float16Value } from '../../../graph/tensorrt/index.js';
import { RECORDED } from './recorded.js';
import type { Sample } from './scenario.js';

export function recordedSamples(): Sample[] {
  return RECORDED.map(([name, float16]) => {
    const bytes = Uint8Array.from(Buffer.from(float16, 'base64'));
    return { name, values: Float32Array.from(new Uint16Array(bytes.buffer), float16Value) };
  });
}

/** The source text of `recorded.ts`. */
export function encodeSamples(samples: readonly Sample[]): string {
  const lines = samples.map(({ name, values }) => {
    const bits = Uint16Array.from(values, float16Bits);
    return `  ['${name}', '${Buffer.from(bits.buffer).toString('base64')}'],`;
  });
  return [
    '/** Written by test/support/record-self-test.ts: what the scenario gives with float32 activations. */',
    'export const RECORDED: readonly (readonly [name: string, float16: string])[] = [',
    ...lines,
    '];',
    '',
  ].join('\n');
}
