/** The engines that are compared, behind one small interface. Text only. */
import path from 'node:path';
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { openCpuDecoder } from '#sdk/engine/cpu/decoder.js';
import type { OnnxNotice, OnnxRequests } from '#sdk/engine/onnx/onnx-protocol.js';
import { CancelFlag } from '#sdk/engine/shared/cancel-flag.js';
import { WorkerChannel } from '#sdk/engine/shared/worker-channel.js';
import { emitDecoder, weightsRoot } from '#sdk/graph/index.js';
import { engineAddon } from '#sdk/native/index.js';

export interface Contender {
  readonly name: string;
  readonly loadMs: number;
  /** Bytes of weights that one decoded token reads. */
  readonly weightBytes: number;
  /** Of one value in the K/V cache. */
  readonly cacheValueBytes: number;
  /** Forgets all tokens, and the room that was made for them. */
  restart?(): void;
  /** Appends tokens behind the first `position` and computes logits of the last or of all. */
  forward(position: number, tokens: Int32Array, logits: 'last' | 'all'): Promise<void>;
  close(): Promise<void>;
}

export interface ContenderOptions {
  readonly contextLength: number;
  readonly threads: number;
  readonly cacheDirectory: string;
}

export async function openOwn(model: ModelDescription, options: ContenderOptions): Promise<Contender> {
  const start = performance.now();
  const addon = engineAddon();
  const file = [...model.tensors.values()][0]!.file;
  const checkpoint = {
    directory: file,
    name: path.basename(file),
    model,
    contentHash: async () => path.basename(file),
  };
  const decoder = await openCpuDecoder(checkpoint, { ...options, numerics: 'meta' });
  const sequence = addon.createCpuSequence(decoder.handle);
  const columns = model.architecture.text.vocabularySize;
  return {
    name: `own (${decoder.instructionSet})`,
    loadMs: performance.now() - start,
    weightBytes: decoder.linearSizeBytes,
    cacheValueBytes: 2,
    async forward(position, tokens, logits) {
      const room = new Float32Array((logits === 'all' ? tokens.length : 1) * columns);
      addon.truncateCpuSequence(sequence, position);
      await addon.forwardCpu(decoder.handle, sequence, tokens, [], new Int32Array(), logits, room, new Int32Array(1));
    },
    async close() {
      addon.releaseCpuHandle(sequence);
      addon.releaseCpuHandle(decoder.handle);
    },
  };
}

/** The `onnx` backend's own decoder session, in its worker thread as users get it. */
export async function openOnnx(model: ModelDescription, options: ContenderOptions): Promise<Contender> {
  const start = performance.now();
  const root = weightsRoot(model);
  const graph = emitDecoder(model, {
    weightsRoot: root,
    taps: 'inputs',
    contextLength: options.contextLength,
    accuracyLevel: 4,
    instrument: false,
    crossAttention: false,
  });
  const worker = new URL('../../sdk/engine/onnx/onnx-worker.js', import.meta.url);
  const channel = new WorkerChannel<OnnxRequests, OnnxNotice>(worker, { name: 'bench-onnx' }, () => {});
  const empty = new Uint8Array();
  await channel.request('open', {
    graphs: { vision: [], 'cross-kv': empty, decoder: empty, 'decoder-text': graph },
    weightsRoot: root,
    parts: 'text',
    architecture: model.architecture,
    embedding: model.tensors.get('language_model.model.embed_tokens.weight')!,
    numerics: 'meta',
    mergeableFrom: [],
    contextLength: options.contextLength,
    threads: options.threads,
    separateTextDecoder: true,
    trace: false,
  });
  const { shared: cancel } = new CancelFlag();
  let sequence = 1;
  return {
    name: 'onnxruntime MatMulNBits',
    loadMs: performance.now() - start,
    weightBytes: packedBytes(model),
    cacheValueBytes: 4,
    restart() {
      channel.request('disposeSequence', { sequence: sequence++ }).catch(() => {});
    },
    async forward(position, tokens, logits) {
      await channel.request('forward', { sequence, position, tokens, images: [], logits, cancel });
    },
    close: () => channel.terminate(),
  };
}

/** Nibbles as stored, scales as the float32 that MatMulNBits takes. */
function packedBytes(model: ModelDescription): number {
  let sizeBytes = 0;
  for (const [name, { sizeBytes: bytes }] of model.tensors) {
    if (name.endsWith('_packed')) sizeBytes += bytes;
    if (name.endsWith('_scale')) sizeBytes += bytes * 2;
  }
  return sizeBytes;
}
