/**
 * What the self-test asks of an engine: every sort of call that serving makes, and every kernel in it. The same on the
 * backend that the expected values were recorded from and on the device.
 */

import type { VisionArchitecture } from '../../../architecture/architecture.js';
import { createRandom } from '../../../core/random.js';
import type { ProcessedImage } from '../../../image/processed-image.js';
import type { Engine, ImageState, PlacedImage } from '../../engine.js';
import { SELF_TEST_ARCHITECTURE, WIDE_VISION_ARCHITECTURE } from './synthetic-model.js';

export const SELF_TEST_CONTEXT = 512;
/** The call that encodes the large picture. */
export const WIDE_VISION = 'a picture of 560 px';

/** A vector that came out of a call. */
export interface Sample {
  /** `prefill: text.after_layer_2`; `prefill: logits`. */
  readonly name: string;
  readonly values: Float32Array;
}

export type OnTensor = (name: string, data: Float32Array, shape: readonly number[]) => void;
/** Opens the engine; one that shows intermediate tensors when it is given a listener. */
export type OpenScenarioEngine = (onTensor: OnTensor | undefined) => Promise<Engine>;

/** The token of a vision tensor that is looked at: the second patch of the first tile. */
const VISION_TOKEN = 2;
const LAYER = /^(text\.after_layer_\d+|after_(local|global)_layer_\d+|cross_attention_states)$/;

/**
 * - prefill of 150 tokens that look at a picture, tiled over several blocks of tokens
 * - decode of one token at a time, verification of five drafted ones
 * - a sequence cut back and gone on with
 * - text alone: without cross-attention
 *
 * @param layers Also intermediate tensors, one token of each.
 */
export async function runScenario(open: OpenScenarioEngine, layers: boolean): Promise<Sample[]> {
  const samples: Sample[] = [];
  let call = '';
  const onTensor: OnTensor = (name, data, shape) => {
    if (!LAYER.test(name)) return;
    const columns = shape.at(-1)!;
    const token = name.startsWith('text.') ? data.length / columns - 1 : VISION_TOKEN;
    samples.push({ name: `${call}: ${name}`, values: data.slice(token * columns, (token + 1) * columns) });
  };
  await using engine = await open(layers ? onTensor : undefined);

  call = 'encode';
  using image: ImageState = await engine.encodeImage(syntheticImage(SELF_TEST_ARCHITECTURE.vision, 2));
  const images: PlacedImage[] = [{ image, tokenIndex: 3 }];
  const forward = async (
    name: string,
    sequence: ReturnType<Engine['createSequence']>,
    tokens: Int32Array,
    all = false,
  ) => {
    call = name;
    const placed = sequence === text ? [] : images;
    const { logits } = await sequence.forward(tokens, { images: placed, logits: all ? 'all' : 'last' });
    samples.push({ name: `${name}: logits`, values: logits });
  };
  using sequence = engine.createSequence();
  using text = engine.createSequence();
  const prompt = syntheticTokens(1, 150);
  prompt[3] = SELF_TEST_ARCHITECTURE.imageTokenId;
  await forward('prefill', sequence, prompt);
  await forward('decode', sequence, syntheticTokens(2, 1));
  await forward('second decode', sequence, syntheticTokens(3, 1));
  await forward('verify', sequence, syntheticTokens(4, 5), true);
  sequence.truncate(100);
  await forward('continue', sequence, syntheticTokens(5, 40));
  await forward('text prefill', text, syntheticTokens(6, 33));
  await forward('text decode', text, syntheticTokens(7, 1));
  return samples;
}

/** What is looked at of the tensors of the large picture: the ends of a tile, its middle, padding, another tile. */
const WIDE_TOKENS = [0, 1, 800, 1600, 1601, 1608] as const;
const WIDE_COLUMNS = 320;
const WIDE_TENSOR = /^(after_(local|global)_layer_0|cross_attention_states)$/;

/**
 * One picture of the published size through one layer of each kind. Its features come out of the plan that serves, and of
 * the one with intermediate tensors.
 */
export async function runWideVision(open: (onTensor: OnTensor) => Promise<Engine>): Promise<Sample[]> {
  const samples: Sample[] = [];
  await using engine = await open((name, data, shape) => {
    if (!WIDE_TENSOR.test(name)) return;
    const columns = shape.at(-1)!;
    // Of features only those of the first tile are always there.
    const tokens = WIDE_TOKENS.filter((token) => name.startsWith('after') || token <= 1600);
    const rows = tokens.flatMap((token) => [...data.subarray(token * columns, token * columns + WIDE_COLUMNS)]);
    samples.push({ name: `${WIDE_VISION}: ${name}`, values: Float32Array.from(rows) });
  });
  using _image = await engine.encodeImage(syntheticImage(WIDE_VISION_ARCHITECTURE.vision, 1));
  return samples;
}

function syntheticTokens(seed: number, count: number): Int32Array {
  const random = createRandom(seed);
  return Int32Array.from({ length: count }, () => random() * SELF_TEST_ARCHITECTURE.text.vocabularySize);
}

/** Tiles side by side; unused slots hold 0, as the processor leaves them. */
function syntheticImage(
  { tileSize, maxNumTiles }: Pick<VisionArchitecture, 'tileSize' | 'maxNumTiles'>,
  numTiles: 1 | 2,
): ProcessedImage {
  const random = createRandom(0);
  const pixelValues = new Float32Array(maxNumTiles * 3 * tileSize ** 2);
  const used = (pixelValues.length / maxNumTiles) * numTiles;
  for (let i = 0; i < used; i++) pixelValues[i] = 4 * random() - 2;
  const [width, height] = [numTiles * tileSize, tileSize];
  const geometry = {
    sourceWidth: width,
    sourceHeight: height,
    resizedWidth: width,
    resizedHeight: height,
    canvasWidth: width,
    canvasHeight: height,
    tileSize,
  };
  return { pixelValues, aspectRatioId: numTiles, numTiles, geometry };
}
