/** The graphs of a checkpoint, emitted or from the cache. */
import {
  type AccuracyLevel,
  emitCrossKeyValue,
  emitDecoder,
  emitVisionRange,
  emitVisionTower,
  GRAPH_VERSION,
  type GraphOptions,
  type VisionRange,
  visionRanges,
  weightsRoot,
} from '../../graph/index.js';
import type { Numerics } from '../engine.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import { preparedFiles } from '../shared/prepared-cache.js';
import type { Graphs } from './onnx-protocol.js';

export interface PrepareGraphsOptions extends OpenEngineOptions {
  readonly numerics: Numerics;
  readonly contextLength: number;
  readonly accuracyLevel: AccuracyLevel;
  readonly instrument: boolean;
  /** Of the tower's layers in one graph, in float32; one layer at least. Default 320 MB. */
  readonly visionRangeBytes?: number | undefined;
}

/** Graphs, ready to be opened, and the folder that their weights are read from. */
export interface PreparedGraphs {
  readonly graphs: Graphs;
  readonly weightsRoot: string;
}

/**
 * A call that is cancelled ends behind the graph that runs. Four layers of the 11B model, a tenth of an image; smaller
 * towers, as the demo model's, are one graph.
 */
const VISION_RANGE_BYTES = 320e6;

/** Takes the graphs of a checkpoint from the cache, or emits them into it. */
export async function prepareGraphs(
  checkpoint: EngineCheckpoint,
  options: PrepareGraphsOptions,
): Promise<PreparedGraphs> {
  const { model } = checkpoint;
  const root = weightsRoot(model);
  const graphOptions: GraphOptions = {
    weightsRoot: root,
    taps: options.numerics === 'hf-5' ? 'outputs' : 'inputs',
    contextLength: options.contextLength,
    accuracyLevel: options.accuracyLevel,
    instrument: options.instrument,
  };
  // Graphs hold the places of the weights; the same checkpoint in another folder is another entry.
  const locations = [...new Set([...model.tensors.values()].map((tensor) => tensor.file))];
  const ranges = options.instrument
    ? []
    : visionRanges(model.architecture.vision, options.visionRangeBytes ?? VISION_RANGE_BYTES);
  const key = [GRAPH_VERSION, await checkpoint.contentHash(), locations, graphOptions, ranges];
  const build = () => emitAll(checkpoint, graphOptions, ranges);
  const files = await preparedFiles({ ...options, kind: 'onnx', key }, build);
  return { graphs: graphsOf(files) ?? graphsOf(build())!, weightsRoot: root };
}

type Files = Readonly<Record<string, Uint8Array>>;

/** @param ranges of the tower; with fewer than two it is one graph */
function emitAll({ model }: EngineCheckpoint, options: GraphOptions, ranges: readonly VisionRange[]): Files {
  const vision =
    ranges.length < 2
      ? [emitVisionTower(model, options)]
      : ranges.map((range) => emitVisionRange(model, options, range));
  return {
    ...Object.fromEntries(vision.map((graph, index) => [visionFile(index), graph])),
    'cross-kv.onnx': emitCrossKeyValue(model, options),
    'decoder.onnx': emitDecoder(model, { ...options, crossAttention: true }),
    'decoder-text.onnx': emitDecoder(model, { ...options, crossAttention: false }),
  };
}

/** undefined when one is missing. */
function graphsOf(files: Files): Graphs | undefined {
  const vision: Uint8Array[] = [];
  for (let graph = files[visionFile(0)]; graph !== undefined; graph = files[visionFile(vision.length)]) {
    vision.push(graph);
  }
  const { 'cross-kv.onnx': crossKv, 'decoder.onnx': decoder, 'decoder-text.onnx': decoderText } = files;
  if (vision.length === 0 || !crossKv || !decoder || !decoderText) return undefined;
  return { vision, 'cross-kv': crossKv, decoder, 'decoder-text': decoderText };
}

const visionFile = (index: number) => `vision.${index}.onnx`;
