/**
 * The float model, a layer at a time, on ONNX Runtime: one layer's weights are in memory, and the residual stream of
 * all samples. What the pictures become lies on disk, since that is large.
 */
import { stat } from 'node:fs/promises';
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { visionGeometry } from '#sdk/architecture/vision-tokens.js';
import type { Checkpoint } from '#sdk/checkpoint/index.js';
import type { SdkError } from '#sdk/core/errors.js';
import type { CallOptions } from '#sdk/core/types.js';
import { keysPerImage, planCrossAttention } from '#sdk/engine/shared/cross-attention.js';
import { EmbeddingTable } from '#sdk/engine/shared/embedding-table.js';
import { emitCrossKeyValue, emitDecoderLayer, type GraphOptions, weightsRoot } from '#sdk/graph/index.js';
import type { CalibrationScene } from './calibration-samples.js';
import { allFinite, damagedPart } from './finite.js';
import {
  damagedTower,
  type EncodePicturesOptions,
  encodePictures,
  NUMERICS,
  type PictureStates,
  readStates,
} from './picture-states.js';
import { RowSample } from './row-sample.js';
import type { Feeds, Runtime, Session } from './runtime.js';

const EMBEDDING = 'language_model.model.embed_tokens.weight';
const FINAL_NORM = 'language_model.model.norm.weight';

/** Rows that went into each linear of a layer, by `q_proj` …, and what came in from pictures as `states`. */
export type LinearInputs = ReadonlyMap<string, RowSample>;

interface Stream {
  readonly tokens: Int32Array;
  readonly imageTokenIndex: number;
  /** `[tokens, hidden]`. */
  hidden: Float32Array;
}

interface SceneState extends PictureStates {
  readonly streams: readonly Stream[];
}

export class LayerRunner {
  readonly #model: ModelDescription;
  readonly #runtime: Runtime;
  readonly #scenes: readonly SceneState[];
  readonly #options: GraphOptions;
  /** Rows of pictures, which are the same for all cross layers. */
  readonly states: RowSample;

  private constructor(
    model: ModelDescription,
    runtime: Runtime,
    scenes: readonly SceneState[],
    states: RowSample,
    contextLength: number,
  ) {
    this.#model = model;
    this.#runtime = runtime;
    this.#scenes = scenes;
    this.states = states;
    const root = weightsRoot(model);
    this.#options = { weightsRoot: root, taps: 'inputs', contextLength, accuracyLevel: 1, instrument: false };
  }

  /** Encodes all pictures, into `workDirectory`, and begins all streams with their embeddings. */
  static async open(
    checkpoint: Checkpoint,
    scenes: readonly CalibrationScene[],
    runtime: Runtime,
    options: CallOptions & {
      readonly workDirectory: string;
      readonly onStep?: EncodePicturesOptions['onStep'];
    },
  ): Promise<LayerRunner> {
    const { model } = checkpoint;
    const { hiddenSize } = model.architecture.text;
    const contextLength = Math.max(...scenes.flatMap(({ samples }) => samples.map(({ tokens }) => tokens.length)));
    const pictures = await encodePictures(checkpoint, scenes, runtime, {
      ...options,
      directory: options.workDirectory,
    });
    using embedding = new EmbeddingTable(model.tensors.get(EMBEDDING)!);
    const states = scenes.map(({ samples }, index) => ({
      ...pictures[index]!,
      streams: samples.map(({ tokens, imageTokenIndex }) => ({
        tokens,
        imageTokenIndex,
        hidden: embedding.lookUp(tokens),
      })),
    }));
    const sizes = await Promise.all(pictures.map(async ({ file }) => (await stat(file)).size));
    const sample = new RowSample(hiddenSize, sizes.reduce((sum, size) => sum + size, 0) / 4 / hiddenSize);
    for (const [picture, { file }] of pictures.entries()) {
      const rows = await readStates(file);
      if (!allFinite(rows)) throw damagedTower(model, picture); // left by an earlier run, on a disk that fails
      sample.add(rows);
    }
    return new LayerRunner(model, runtime, states, sample, contextLength);
  }

  /** Moves all streams through one layer; returns what its linears received. */
  async advance(layer: number, signal?: AbortSignal): Promise<LinearInputs> {
    const { text } = this.#model.architecture;
    const isCross = text.crossAttentionLayers.includes(layer);
    const { weightsRoot: root } = this.#options;
    await using decoder = await this.#runtime.open(emitDecoderLayer(this.#model, this.#options, layer), root);
    const onlyThis = { ...this.#model.architecture, text: { ...text, crossAttentionLayers: [layer] } };
    await using cross = isCross
      ? await this.#runtime.open(emitCrossKeyValue({ ...this.#model, architecture: onlyThis }, this.#options), root)
      : undefined;
    const rows = this.#scenes.flatMap(({ streams }) => streams).reduce((sum, { tokens }) => sum + tokens.length, 0);
    const inputs = new Map<string, RowSample>();
    for (const [picture, scene] of this.#scenes.entries()) {
      const image = cross === undefined ? {} : await this.#crossKeyValues(cross, scene, layer);
      for (const stream of scene.streams) {
        signal?.throwIfAborted();
        const feeds = isCross ? { ...image, ...this.#crossFeeds(scene, stream) } : this.#selfFeeds(stream, layer);
        const shape = [1, stream.tokens.length, text.hiddenSize];
        const result = await decoder.run({ ...feeds, inputs_embeds: this.#runtime.float(stream.hidden, shape) });
        stream.hidden = result.hidden!.data.slice();
        if (!Object.values(result).every(({ data }) => allFinite(data))) throw this.#damaged(layer, picture);
        for (const [name, { data, dims }] of Object.entries(result)) {
          if (!name.startsWith('input.')) continue;
          const linear = name.slice('input.'.length);
          const sample = inputs.get(linear) ?? new RowSample(dims[1]!, rows);
          inputs.set(linear, sample);
          // Rows before the picture have no part in a cross layer.
          sample.add(data, isCross ? stream.imageTokenIndex : 0);
        }
      }
    }
    if (isCross) inputs.set('states', this.states);
    return inputs;
  }

  #damaged(layer: number, picture: number): SdkError {
    return damagedPart(this.#model, `layer ${layer} of the text decoder, with calibration picture ${picture}`, [
      `language_model.model.layers.${layer}.`,
      ...(layer === 0 ? [EMBEDDING] : []),
    ]);
  }

  /** After the last layer: what lm_head receives. */
  headInputs(finalNorm: Float32Array): RowSample {
    const { hiddenSize, rmsNormEps } = this.#model.architecture.text;
    const streams = this.#scenes.flatMap((scene) => scene.streams);
    const sample = new RowSample(
      hiddenSize,
      streams.reduce((sum, { tokens }) => sum + tokens.length, 0),
    );
    for (const { hidden } of streams) {
      const normed = new Float32Array(hidden.length);
      for (let row = 0; row < hidden.length; row += hiddenSize) {
        let square = 0;
        for (let i = row; i < row + hiddenSize; i += 1) square += hidden[i]! ** 2;
        const factor = 1 / Math.sqrt(square / hiddenSize + rmsNormEps);
        for (let i = 0; i < hiddenSize; i += 1) normed[row + i] = hidden[row + i]! * factor * finalNorm[i]!;
      }
      if (!allFinite(normed)) throw damagedPart(this.#model, 'the last norm', [FINAL_NORM]);
      sample.add(normed);
    }
    return sample;
  }

  #selfFeeds({ tokens }: Stream, layer: number): Feeds {
    const { keyValueHeads, headDim } = this.#model.architecture.text;
    const rows = tokens.length;
    const empty = () =>
      this.#runtime.float(new Float32Array(keyValueHeads * rows * headDim), [1, keyValueHeads, rows, headDim]);
    return {
      seqlens_k: this.#runtime.int32([rows - 1], [1]),
      total_sequence_length: this.#runtime.int32([rows], []),
      [`past_key.${layer}`]: empty(),
      [`past_value.${layer}`]: empty(),
    };
  }

  #crossFeeds({ numTiles }: SceneState, { tokens, imageTokenIndex }: Stream): Feeds {
    const rows = tokens.length;
    const images = [{ tokenIndex: imageTokenIndex, numTiles }];
    const constants = this.#planConstants();
    const plan = planCrossAttention({ ...constants, images, firstToken: 0, tokens: rows });
    const keys = keysPerImage(constants, numTiles);
    const bias = plan.keys === 0 ? new Float32Array(rows * keys) : plan.bias;
    return {
      cross_attention_bias: this.#runtime.float(bias, [1, 1, rows, keys]),
      cross_attention_rows: this.#runtime.float(plan.attentionTokens, [1, rows, 1]),
      cross_mlp_rows: this.#runtime.float(plan.mlpTokens, [1, rows, 1]),
    };
  }

  async #crossKeyValues(cross: Session, { file }: SceneState, layer: number): Promise<Feeds> {
    const states = await readStates(file);
    const { hiddenSize } = this.#model.architecture.text;
    const shape = [states.length / hiddenSize, hiddenSize];
    const made = await cross.run({ cross_attention_states: this.#runtime.float(states, shape) });
    const names = [`cross_key.${layer}`, `cross_value.${layer}`];
    return Object.fromEntries(names.map((name) => [name, this.#runtime.float(made[name]!.data, made[name]!.dims)]));
  }

  #planConstants() {
    const { vision } = this.#model.architecture;
    const { tokensPerTile } = visionGeometry(vision);
    return { tokensPerTile, maxNumTiles: vision.maxNumTiles, numerics: NUMERICS } as const;
  }
}
