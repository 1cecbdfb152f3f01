/** Prompts (`case_*.safetensors`): prefill, everything inside it, and greedy decoding. */
import path from 'node:path';
import type { Checkpoint } from '#sdk/checkpoint/index.js';
import type { Numerics, PlacedImage } from '#sdk/engine/engine.js';
import { crossAttentionSpans } from '#sdk/engine/index.js';
import { createImageProcessor } from '#sdk/image/index.js';
import { argmax } from '#sdk/inference/sampling.js';
import {
  caseFileSchema,
  floats,
  type GoldenFolder,
  type GoldenImage,
  type GoldenTensors,
  integers,
  readGoldenJson,
  readGoldenTensors,
  required,
} from './golden-folder.js';
import type { ReferenceEngine } from './reference-engine.js';
import { CheckBuilder, type VerifyCheck } from './report.js';
import { loadGoldenImage } from './test-images.js';

/** Where the reference took part in the numerics of that name (golden README, `alt_zeroed_rows`). */
const META_PREFIX = 'alt_zeroed_rows.';
/** Position of an image that has no token: no row ever sees it. */
const NEVER = 2 ** 31;

/** One prompt of a case, padding removed. */
interface Prompt {
  readonly index: number;
  readonly tokens: Int32Array;
  /** Rows of padding before it. */
  readonly padding: number;
  readonly images: readonly CaseImage[];
}

interface CaseImage {
  readonly pixelValues: Float32Array;
  readonly aspectRatioId: number;
  readonly numTiles: number;
  /** NEVER: the sample has fewer images than the batch. */
  readonly tokenIndex: number;
  readonly golden: GoldenImage | undefined;
}

export interface GoldenCase {
  readonly name: string;
  readonly tensors: GoldenTensors;
  readonly prompts: readonly Prompt[];
  /** Columns of `input_ids`. */
  readonly length: number;
  readonly decodeSteps: number;
}

export async function readCase(folder: GoldenFolder, name: string, checkpoint: Checkpoint): Promise<GoldenCase> {
  const base = path.join(folder.directory, `case_${name}`);
  const tensors = await readGoldenTensors(`${base}.safetensors`);
  const file = await readGoldenJson(`${base}.json`, caseFileSchema);
  for (const tensor of ['input_ids', 'prefill_logits']) required(tensors, tensor, `${base}.safetensors`);
  if (tensors.has('pixel_values')) {
    for (const tensor of ['aspect_ratio_ids', 'aspect_ratio_mask']) required(tensors, tensor, `${base}.safetensors`);
  }
  const [batch, length] = tensors.get('input_ids')!.shape as [number, number];
  const goldenImages = (Array.isArray(file?.images[0]) ? file.images : [file?.images ?? []]) as GoldenImage[][];
  const prompts = Array.from({ length: batch }, (_, index) =>
    readPrompt(tensors, index, length, checkpoint.model.architecture, goldenImages[index] ?? []),
  );
  return { name, tensors, prompts, length, decodeSteps: tensors.get('decode_tokens')?.shape[1] ?? 0 };
}

function readPrompt(
  tensors: GoldenTensors,
  index: number,
  length: number,
  { imageTokenId, vision }: Checkpoint['model']['architecture'],
  goldenImages: readonly GoldenImage[],
): Prompt {
  const rowOf = (name: string) => integers(tensors, name)?.subarray(index * length, (index + 1) * length);
  const padding = rowOf('attention_mask')?.indexOf(1) ?? 0;
  const tokens = rowOf('input_ids')!.slice(padding);
  const places = [...tokens.keys()].filter((row) => tokens[row] === imageTokenId);
  const slots = tensors.get('pixel_values')?.shape[1] ?? 0;
  const size = vision.maxNumTiles * 3 * vision.tileSize ** 2;
  const images = Array.from({ length: slots }, (_, slot): CaseImage => {
    const at = index * slots + slot;
    const mask = integers(tensors, 'aspect_ratio_mask')!;
    return {
      pixelValues: floats(tensors, 'pixel_values')!.slice(at * size, (at + 1) * size),
      aspectRatioId: integers(tensors, 'aspect_ratio_ids')![at]!,
      numTiles: mask
        .subarray(at * vision.maxNumTiles, (at + 1) * vision.maxNumTiles)
        .reduce((sum, used) => sum + used, 0),
      tokenIndex: places[slot] ?? NEVER + slot,
      golden: goldenImages[slot],
    };
  });
  return { index, tokens, padding, images };
}

/** Whether the folder says what this case gives under `meta`. */
export function coversMeta({ tensors }: GoldenCase): boolean {
  if (tensors.has(`${META_PREFIX}prefill_logits`)) return true;
  // Without rows that see nothing the two agree.
  return !(integers(tensors, 'full_text_row_masked_out_mask')?.includes(0) ?? false);
}

export async function checkCase(
  golden: GoldenCase,
  folder: GoldenFolder,
  checkpoint: Checkpoint,
  reference: ReferenceEngine,
  tolerance: number,
  signal: AbortSignal | undefined,
): Promise<VerifyCheck> {
  const { numerics } = reference.engine.info;
  const check = new CheckBuilder(golden.name, numerics, tolerance);
  for (const prompt of golden.prompts) {
    await checkPixels(check, prompt, folder, checkpoint);
    if (golden.prompts.length === 1) checkMask(check, golden, prompt, checkpoint);
    await checkPrompt(check, golden, prompt, checkpoint, reference, signal);
  }
  return check.finish();
}

/** What the processor makes of the case's pictures. */
async function checkPixels(
  check: CheckBuilder,
  { images }: Prompt,
  folder: GoldenFolder,
  checkpoint: Checkpoint,
): Promise<void> {
  const processor = createImageProcessor(checkpoint.processor);
  for (const [slot, { golden, pixelValues, aspectRatioId, numTiles }] of images.entries()) {
    const picture = golden === undefined ? undefined : await loadGoldenImage(golden, folder.directory);
    if (picture === undefined) continue;
    const made = await processor.process(picture);
    check.equal(
      `image ${slot}: aspect_ratio_id, num_tiles`,
      [made.aspectRatioId, made.numTiles],
      [aspectRatioId, numTiles],
    );
    check.compare(`pixel_values[${slot}]`, made.pixelValues, pixelValues);
  }
}

/** Which tiles each row may look at: the spans, written out densely. */
function checkMask(check: CheckBuilder, golden: GoldenCase, prompt: Prompt, checkpoint: Checkpoint): void {
  const expected = integers(golden.tensors, 'cross_attention_mask');
  if (expected === undefined) return;
  const tiles = checkpoint.model.architecture.vision.maxNumTiles;
  const spans = crossAttentionSpans(prompt.images.map(({ tokenIndex }) => tokenIndex));
  const mask = Array.from(prompt.tokens, (_, row) =>
    prompt.images.map(({ numTiles }, image) =>
      Array.from({ length: tiles }, (_, tile) => {
        const { start, end } = spans[image]!;
        return start <= row && row < end && tile < numTiles ? 1 : 0;
      }),
    ),
  );
  check.equal('cross_attention_mask', mask.flat(2), expected);
  const rows = integers(golden.tensors, 'full_text_row_masked_out_mask');
  const sees = mask.map((images) => (images.flat().includes(1) ? 1 : 0));
  if (rows !== undefined) check.equal('full_text_row_masked_out_mask', sees, rows);
}

async function checkPrompt(
  check: CheckBuilder,
  golden: GoldenCase,
  prompt: Prompt,
  checkpoint: Checkpoint,
  reference: ReferenceEngine,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { tensors } = golden;
  const { numerics } = reference.engine.info;
  const batch = golden.prompts.length;
  const { vocabularySize, hiddenSize } = checkpoint.model.architecture.text;
  const hasVariant = numerics === 'meta' && tensors.has(`${META_PREFIX}prefill_logits`);
  const prefix = hasVariant ? META_PREFIX : '';
  const label = (name: string) => (batch === 1 ? name : `${name}[${prompt.index}]`);

  reference.takeTensors();
  const images: PlacedImage[] = [];
  for (const { tokenIndex, ...image } of prompt.images) {
    images.push({ image: await reference.encode(image, signal), tokenIndex });
  }
  const states = reference.takeTensors().get('cross_attention_states');
  const expectedStates = floats(tensors, 'cross_attention_states');
  if (states !== undefined && expectedStates !== undefined) {
    check.compare('cross_attention_states', states, expectedStates);
  }

  using sequence = reference.engine.createSequence();
  const { logits } = await sequence.forward(prompt.tokens, { images, logits: 'all', signal });
  const rowsOf = (name: string, columns: number) =>
    floats(tensors, name)?.subarray(
      (prompt.index * golden.length + prompt.padding) * columns,
      (prompt.index + 1) * golden.length * columns,
    );
  check.compare(label('prefill_logits'), logits, rowsOf(`${prefix}prefill_logits`, vocabularySize)!);
  // Intermediate tensors were recorded for the main variant only.
  for (const [name, actual] of hasVariant ? [] : reference.takeTensors()) {
    const expected = name.startsWith('text.') ? rowsOf(name, hiddenSize) : undefined;
    if (expected !== undefined) check.compare(label(name), actual, expected);
  }

  const decodeTokens = integers(tensors, `${prefix}decode_tokens`);
  const decodeLogits = floats(tensors, `${prefix}decode_logits`);
  if (decodeTokens !== undefined) {
    const steps = decodeTokens.length / batch;
    const expected = decodeTokens.subarray(prompt.index * steps, (prompt.index + 1) * steps);
    const stepLogits = [logits.subarray(-vocabularySize)];
    // The reference's tokens go in, so that one wrong choice does not spoil all later ones.
    for (const token of expected.subarray(0, -1)) {
      const next = await sequence.forward(Int32Array.of(token), { images, logits: 'last', signal });
      stepLogits.push(next.logits);
    }
    check.equal(label('decode_tokens'), stepLogits.map(argmax), expected);
    if (decodeLogits !== undefined) {
      const size = steps * vocabularySize;
      const all = new Float32Array(size);
      stepLogits.forEach((row, step) => {
        all.set(row, step * vocabularySize);
      });
      check.compare(label('decode_logits'), all, decodeLogits.subarray(prompt.index * size, (prompt.index + 1) * size));
    }
  }
  reference.takeTensors();
  for (const { image } of images) image[Symbol.dispose]();
}

/** The numerics that the main tensors of a golden folder were made with; the other column is `meta`. */
export type MainNumerics = Exclude<Numerics, 'meta'>;
