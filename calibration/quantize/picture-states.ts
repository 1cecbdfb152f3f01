/**
 * What the pictures become, in files: the vision tower on ONNX Runtime, a few layers at a time, each for all pictures.
 * In memory are the weights of those layers and the vision tokens of one picture; the rest lies on disk, and is taken up again
 * after a kill.
 */
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MllamaArchitecture, ModelDescription } from '#sdk/architecture/architecture.js';
import { visionGeometry } from '#sdk/architecture/vision-tokens.js';
import type { Checkpoint } from '#sdk/checkpoint/index.js';
import type { SdkError } from '#sdk/core/errors.js';
import type { CallOptions } from '#sdk/core/types.js';
import { mergeableFrom } from '#sdk/engine/shared/tile-tables.js';
import {
  chooseVisionTokens,
  isTap,
  rangeFeeds,
  type VisionInputs,
  visionFeeds,
} from '#sdk/engine/shared/vision-inputs.js';
import { emitVisionRange, type VisionRange, visionRanges, weightsRoot } from '#sdk/graph/index.js';
import type { ProcessedImage } from '#sdk/image/processed-image.js';
import type { CalibrationScene } from './calibration-samples.js';
import { allFinite, damagedPart } from './finite.js';
import type { Feeds, Runtime, Tensor } from './runtime.js';

/** As Meta's implementation, which is what all else is measured by. */
export const NUMERICS = 'meta';

export interface PictureStates {
  /** `[keys, textHidden]` in float32; see `readStates`. */
  readonly file: string;
  readonly numTiles: number;
}

export interface EncodePicturesOptions extends CallOptions {
  /** Where files lie; those that an earlier run with the same checkpoint and pictures left are used. */
  readonly directory: string;
  /** Of the layers that are in memory together, in float32; one at least. Default 480 MB: six of the 11B model's. */
  readonly weightBytes?: number | undefined;
  /** After each group of layers of each picture, and for those that lie there from the start. */
  readonly onStep?: ((done: number, total: number) => void) | undefined;
}

const WEIGHT_BYTES = 480e6;
/** Pictures that pass a group of layers before the next is opened: what lies between layers is 200 MB for each. */
const BATCH = 8;

export async function encodePictures(
  checkpoint: Checkpoint,
  scenes: readonly CalibrationScene[],
  runtime: Runtime,
  options: EncodePicturesOptions,
): Promise<readonly PictureStates[]> {
  const { signal, onStep } = options;
  const encoder = new PictureEncoder(checkpoint, runtime, options);
  const steps = scenes.length * encoder.ranges.length;
  const made: PictureStates[] = [];
  for (let first = 0; first < scenes.length; first += BATCH) {
    const pictures: Picture[] = [];
    for (const scene of scenes.slice(first, first + BATCH)) {
      signal?.throwIfAborted();
      pictures.push(await encoder.picture(first + pictures.length, await scene.image(options)));
    }
    const stepsBefore = first * encoder.ranges.length;
    const report = () =>
      onStep?.(
        pictures.reduce((sum, { behind }) => sum + behind, stepsBefore),
        steps,
      );
    report();
    for (const range of encoder.ranges.keys()) await encoder.advance(range, pictures, report, signal);
    made.push(...pictures.map(({ files, numTiles }) => ({ file: files.of(STATES), numTiles })));
  }
  return made;
}

/** Most that the files of so many pictures take at any time. */
export function picturesBytes({ vision, text }: MllamaArchitecture, pictures: number): number {
  const { tokensPerTile, paddedTokensPerTile } = visionGeometry(vision);
  const between = (paddedTokensPerTile + vision.intermediateLayersIndices.length * tokensPerTile) * vision.hiddenSize;
  const states = tokensPerTile * text.hiddenSize;
  return 4 * vision.maxNumTiles * (pictures * states + Math.min(pictures, BATCH) * between);
}

export async function readStates(file: string): Promise<Float32Array> {
  const bytes = await readFile(file);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** For a picture, by its index, whose states are not finite. */
export function damagedTower(model: ModelDescription, picture: number): SdkError {
  return damagedPart(model, `the vision model, with calibration picture ${picture}`, [
    'vision_model.',
    'multi_modal_projector.',
  ]);
}

const STATES = 'cross_attention_states';
const hiddenName = (range: number) => `hidden.${range}`;

interface Picture {
  readonly files: PictureFiles;
  readonly numTiles: number;
  readonly aspectRatioId: number;
  readonly inputs: VisionInputs;
  /** Groups of layers. */
  behind: number;
}

class PictureEncoder {
  readonly ranges: readonly VisionRange[];
  readonly #model: ModelDescription;
  readonly #runtime: Runtime;
  readonly #directory: string;
  readonly #mergeableFrom: readonly number[];

  constructor(
    { model }: Checkpoint,
    runtime: Runtime,
    { directory, weightBytes = WEIGHT_BYTES }: EncodePicturesOptions,
  ) {
    this.#model = model;
    this.#runtime = runtime;
    this.#directory = directory;
    this.#mergeableFrom = mergeableFrom(model);
    this.ranges = visionRanges(model.architecture.vision, weightBytes);
  }

  async picture(index: number, image: ProcessedImage): Promise<Picture> {
    const { architecture } = this.#model;
    const config = { architecture, mergeableFrom: this.#mergeableFrom, numerics: NUMERICS, trace: false } as const;
    const { numTiles, aspectRatioId } = image;
    const files = new PictureFiles(this.#directory, index);
    const behind = await files.rangesBehind(this.ranges.length);
    return { files, numTiles, aspectRatioId, inputs: chooseVisionTokens(config, image), behind };
  }

  /** Takes all pictures that are in front of a group of layers through it. */
  async advance(
    number: number,
    pictures: readonly Picture[],
    onPicture: () => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const waiting = pictures.filter(({ behind }) => behind === number);
    if (waiting.length === 0) return;
    const root = weightsRoot(this.#model);
    const graph = { weightsRoot: root, taps: 'inputs', contextLength: 1, accuracyLevel: 1, instrument: false } as const;
    await using session = await this.#runtime.open(emitVisionRange(this.#model, graph, this.ranges[number]!), root);
    const isLast = number === this.ranges.length - 1;
    for (const picture of waiting) {
      signal?.throwIfAborted();
      const { files } = picture;
      const made = await session.run(await this.#feeds(picture, isLast));
      if (!Object.values(made).every(({ data }) => allFinite(data))) throw damagedTower(this.#model, files.index);
      for (const [name, { data }] of Object.entries(made)) {
        if (isTap(name)) await files.write(name, data);
      }
      if (isLast) await files.write(STATES, made[STATES]!.data);
      else await files.write(hiddenName(number + 1), made.new_hidden!.data);
      await files.drop((name) => (isLast ? name !== STATES : name === hiddenName(number)));
      picture.behind += 1;
      onPicture();
    }
  }

  async #feeds({ files, inputs, aspectRatioId, behind }: Picture, isLast: boolean): Promise<Feeds> {
    const read = async (name: string): Promise<Tensor> => {
      const data = await readStates(files.of(name));
      const { hiddenSize } = this.#model.architecture.vision;
      return this.#runtime.float(data, [data.length / hiddenSize, hiddenSize]);
    };
    const hidden = behind === 0 ? undefined : await read(hiddenName(behind));
    const taps: Feeds = {};
    if (isLast) for (const name of await files.names()) if (isTap(name)) taps[name] = await read(name);
    return rangeFeeds(visionFeeds(inputs, aspectRatioId, this.#runtime), { hidden, taps }, isLast);
  }
}

/** `picture-N.NAME`: what a group of layers gave. Each appears whole. */
class PictureFiles {
  readonly index: number;
  readonly #directory: string;
  readonly #prefix: string;

  constructor(directory: string, index: number) {
    this.index = index;
    this.#directory = directory;
    this.#prefix = `picture-${index}.`;
  }

  of(name: string): string {
    return join(this.#directory, `${this.#prefix}${name}`);
  }

  async names(): Promise<readonly string[]> {
    const names = await readdir(this.#directory);
    return names.filter((name) => name.startsWith(this.#prefix)).map((name) => name.slice(this.#prefix.length));
  }

  async rangesBehind(ranges: number): Promise<number> {
    const names = await this.names();
    if (names.includes(STATES)) return ranges;
    return Math.max(0, ...names.map((name) => Number(/^hidden\.(\d+)$/.exec(name)?.[1] ?? 0)));
  }

  async write(name: string, data: Float32Array): Promise<void> {
    const draft = this.of('draft');
    await writeFile(draft, data);
    await rename(draft, this.of(name));
  }

  async drop(unwanted: (name: string) => boolean): Promise<void> {
    for (const name of await this.names()) if (unwanted(name)) await rm(this.of(name), { force: true });
  }
}
