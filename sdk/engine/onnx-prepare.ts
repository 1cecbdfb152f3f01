/** The graphs of a checkpoint, emitted or from the cache. */
import {
  type AccuracyLevel,
  emitCrossKeyValue,
  emitDecoder,
  emitVisionTower,
  GRAPH_VERSION,
  type GraphOptions,
  weightsRoot,
} from '#graph/index.js';
import type { Numerics } from './engine.js';
import { GRAPH_NAMES, type GraphName } from './onnx-protocol.js';
import type { EngineCheckpoint, OpenEngineOptions } from './options.js';
import { preparedFiles } from './prepared-cache.js';

export interface PrepareGraphsOptions extends OpenEngineOptions {
  readonly numerics: Numerics;
  readonly contextLength: number;
  readonly accuracyLevel: AccuracyLevel;
  readonly instrument: boolean;
}

export interface PreparedGraphs {
  readonly graphs: Readonly<Record<GraphName, Uint8Array>>;
  readonly weightsRoot: string;
}

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
  const key = [GRAPH_VERSION, await checkpoint.contentHash(), locations, graphOptions];
  const build = () => emitAll(checkpoint, graphOptions);
  const files = await preparedFiles({ ...options, kind: 'onnx', key }, build);
  const complete = GRAPH_NAMES.every((name) => files[fileName(name)] !== undefined);
  const usable = complete ? files : build();
  const graphs = Object.fromEntries(GRAPH_NAMES.map((name) => [name, usable[fileName(name)]!]));
  return { graphs: graphs as Record<GraphName, Uint8Array>, weightsRoot: root };
}

function emitAll({ model }: EngineCheckpoint, options: GraphOptions): Record<string, Uint8Array> {
  return {
    [fileName('vision')]: emitVisionTower(model, options),
    [fileName('cross-kv')]: emitCrossKeyValue(model, options),
    [fileName('decoder')]: emitDecoder(model, { ...options, crossAttention: true }),
    [fileName('decoder-text')]: emitDecoder(model, { ...options, crossAttention: false }),
  };
}

function fileName(graph: GraphName): string {
  return `${graph}.onnx`;
}
