/**
 * What the self-test asks of an engine: every sort of call that serving makes, and every kernel in it. The same on the
 * backend that the expected values were recorded from and on the device.
 */

import { createRandom } from '../../../core/random.js';
import type { ProcessedImage } from '../../../image/processed-image.js';
import type { Engine, ImageState, PlacedImage } from '../../engine.js';
import { SELF_TEST_ARCHITECTURE } from './synthetic-model.js';

export const SELF_TEST_CONTEXT = 512;

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
  using image: ImageState = await engine.encodeImage(syntheticImage());
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

function syntheticTokens(seed: number, count: number): Int32Array {
  const random = createRandom(seed);
  return Int32Array.from({ length: count }, () => random() * SELF_TEST_ARCHITECTURE.text.vocabularySize);
}

/** Two tiles side by side; unused slots hold 0, as the processor leaves them. */
function syntheticImage(): ProcessedImage {
  const { tileSize, maxNumTiles } = SELF_TEST_ARCHITECTURE.vision;
  const random = createRandom(0);
  const pixelValues = new Float32Array(maxNumTiles * 3 * tileSize ** 2);
  for (let i = 0; i < pixelValues.length / 2; i++) pixelValues[i] = 4 * random() - 2;
  const [width, height] = [2 * tileSize, tileSize];
  const geometry = {
    sourceWidth: width,
    sourceHeight: height,
    resizedWidth: width,
    resizedHeight: height,
    canvasWidth: width,
    canvasHeight: height,
    tileSize,
  };
  return { pixelValues, aspectRatioId: 2, numTiles: 2, geometry };
}
