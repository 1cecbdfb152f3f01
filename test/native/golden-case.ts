/** Reads a golden case (test/fixtures/golden/README.md) as typed arrays. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const goldenDirectory = fileURLToPath(new URL('../fixtures/golden/', import.meta.url));

export interface GoldenCase {
  readonly inputIds: Int32Array;
  readonly imageTokenIndices: readonly number[];
  readonly numTiles: readonly number[];
  /** `[images, slots, tokensPerTile, hiddenSize]` */
  readonly states: {
    readonly data: Float32Array;
    readonly slots: number;
    readonly tokensPerTile: number;
    readonly hiddenSize: number;
  };
  /** `[tokens, 512]` */
  readonly prefillLogits: Float32Array;
  readonly decodeTokens: Int32Array;
  /** `[decodeTokens, 512]` */
  readonly decodeLogits: Float32Array;
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** Under `meta` the `alt_zeroed_rows` tensors hold where the case has them (rows before the first image). */
export function openGoldenCase(folder: string, name: string, numerics: 'meta' | 'hf-4.45'): GoldenCase {
  const path = join(goldenDirectory, folder, `case_${name}`);
  const facts = JSON.parse(readFileSync(`${path}.json`, 'utf8')) as {
    input_ids: number[];
    num_tiles?: number[];
    images: unknown[];
  };
  const file = readFileSync(`${path}.safetensors`);
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<string, Entry>;
  const bytesOf = (tensor: string): ArrayBuffer | null => {
    const entry = header[tensor];
    if (entry === undefined) return null;
    const [begin, end] = entry.data_offsets;
    return new Uint8Array(file.subarray(8 + headerBytes + begin, 8 + headerBytes + end)).buffer;
  };
  const preferred = (tensor: string): ArrayBuffer =>
    (numerics === 'meta' ? bytesOf(`alt_zeroed_rows.${tensor}`) : null) ?? bytesOf(tensor) ?? new ArrayBuffer(0);
  const stateBytes = bytesOf('cross_attention_states');
  const stateShape = header.cross_attention_states?.shape ?? [0, 0, 0];
  return {
    inputIds: Int32Array.from(facts.input_ids),
    imageTokenIndices: facts.input_ids.flatMap((id, index) => (id === 512 ? [index] : [])),
    numTiles: facts.num_tiles ?? [],
    states: {
      data: new Float32Array(stateBytes ?? new ArrayBuffer(0)),
      slots: 4,
      tokensPerTile: stateShape[1]!,
      hiddenSize: stateShape[2]!,
    },
    prefillLogits: new Float32Array(preferred('prefill_logits')),
    decodeTokens: new Int32Array(preferred('decode_tokens')),
    decodeLogits: new Float32Array(preferred('decode_logits')),
  };
}
