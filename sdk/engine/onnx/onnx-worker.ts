/**
 * The thread around ONNX Runtime, whose calls block: takes requests one after another and answers them. Sole importer
 * of onnxruntime-node.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { SdkError, serializeError } from '../../core/errors.js';
import type { SliceResult } from '../engine.js';
import { NativeGate } from '../shared/native-gate.js';
import type { ChannelReply, ChannelRequest, ChannelWorkerData } from '../shared/worker-channel.js';
import { OnnxBackend, type Ort } from './onnx-backend.js';
import type { OnnxRequests } from './onnx-protocol.js';

/** Errors of the runtime are plain; what they are about is in the text. */
function classify(error: unknown) {
  const text = error instanceof Error ? error.message : String(error);
  const outOfMemory = /bad_alloc|failed to allocate|cannot allocate|out of memory|allocation failed/i.test(text);
  if (outOfMemory) return serializeError(error, 'ERR_ENGINE_OUT_OF_MEMORY');
  // The runtime throws nothing but Error; what is more special comes from our own code.
  return serializeError(
    error,
    (error as { constructor?: unknown } | undefined)?.constructor === Error ? 'ERR_ENGINE_FAILED' : 'ERR_INTERNAL',
  );
}

async function loadRuntime(): Promise<Ort> {
  try {
    return (await import('onnxruntime-node')).default as unknown as Ort;
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new SdkError(
      'ERR_NATIVE_UNAVAILABLE',
      `Expected onnxruntime-node to load but: ${text}. Install it with \`npm i onnxruntime-node --ignore-scripts\` (Linux x64 and arm64).`,
      { cause },
    );
  }
}

type Handlers = {
  [K in keyof OnnxRequests]: (request: OnnxRequests[K]['request']) => Promise<OnnxRequests[K]['response']>;
};

function serve(port: MessagePort): void {
  let backend: OnnxBackend | undefined;
  const opened = (): OnnxBackend => {
    if (backend === undefined) throw new SdkError('ERR_ENGINE_DIED', 'The engine in this thread is not open.');
    return backend;
  };
  const reply = (message: ChannelReply, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);
  const gate = new NativeGate((workerData as ChannelWorkerData).gate);
  const handlers: Handlers = {
    open: async (config) => {
      const made = new OnnxBackend(await gate.pass(loadRuntime), gate, config, (notice) => reply({ notice }));
      try {
        await made.load();
      } catch (error) {
        // Large sessions that did open are not left to the collector: another attempt may follow.
        await made.close().catch(() => {});
        throw error;
      }
      backend = made;
      return null;
    },
    encodeImage: (request) => opened().encodeImage(request),
    // Copied out of the runtime's memory, so that the copy can be handed over.
    encodeStates: async (request) => ({ states: (await opened().encodeStates(request)).states.slice() }),
    disposeImage: async ({ image }) => {
      backend?.disposeImage(image);
      return null;
    },
    forward: (request) => opened().forward(request),
    disposeSequence: async ({ sequence }) => {
      backend?.disposeSequence(sequence);
      return null;
    },
    close: async () => {
      await backend?.close();
      backend = undefined;
      return null;
    },
  };

  const handle = async ({ id, method, request }: ChannelRequest) => {
    try {
      const response = await handlers[method as keyof Handlers](request as never);
      const { logits, attention, states } = (response ?? {}) as Partial<SliceResult> & { states?: Float32Array };
      const handedOver = [logits, attention?.weights, states].filter((data) => data !== undefined);
      reply(
        { id, response },
        handedOver.map(({ buffer }) => buffer as ArrayBuffer),
      );
    } catch (error) {
      reply({ id, error: classify(error) });
    }
    if (method === 'close') port.close();
  };
  let queue = Promise.resolve();
  port.on('message', (request: ChannelRequest) => {
    queue = queue.then(() => handle(request));
  });
}

if (parentPort !== null) serve(parentPort);
