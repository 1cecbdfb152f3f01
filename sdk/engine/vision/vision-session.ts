/**
 * The vision tower's session as a file: its graph optimised and its weights in float32 as the kernels take them. From
 * such a file a large tower opens in a fraction of the time, and its weights are mapped instead of copied.
 */
import { rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { SdkError } from '../../core/errors.js';
import { silentLogger } from '../../core/logger.js';
import { engineAddon } from '../../native/index.js';
import type { KeptSessions } from '../onnx/onnx-protocol.js';
import type { EngineCheckpoint, OpenEngineOptions } from '../options.js';
import { preparedFolder, sha256 } from '../shared/prepared-cache.js';

/** Smaller towers open in less time than their file would save; the file of the 11B model's takes 3.5 GB. */
const KEPT_FROM_BYTES = 256 * 2 ** 20;
/** Changes with what the backend asks of ONNX Runtime when it writes a session. */
const VERSION = 2;
/** Making the file takes a minute or two at the sizes of the 11B model. */
const LOCK_TIMEOUT_MS = 10 * 60_000;

export interface KeepSessionOptions extends OpenEngineOptions {
  /** From this size of the tower's weights on, in float32, its session is kept as a file. Default 256 MiB. */
  readonly keepVisionFromBytes?: number | undefined;
}

/**
 * Where the session is kept, made by `write` when it is not there yet. undefined: it is not kept, because the tower is
 * small or the cache has no room.
 */
export async function keptVisionSession(
  checkpoint: EngineCheckpoint,
  graphs: readonly Uint8Array[],
  options: KeepSessionOptions,
  write: (sessions: KeptSessions) => Promise<void>,
): Promise<KeptSessions | undefined> {
  const sizeBytes = visionBytes(checkpoint);
  if (sizeBytes < (options.keepVisionFromBytes ?? KEPT_FROM_BYTES)) return undefined;
  // Graphs hold the places of the weights. How they are packed is a matter of runtime and processor.
  const { instructionSets, processor } = engineAddon().cpuFeatures();
  const key = [
    VERSION,
    runtimeVersion(),
    processor,
    instructionSets,
    await checkpoint.contentHash(),
    ...graphs.map(sha256),
  ];
  const place = { ...options, kind: 'onnx-session', key, sizeBytes, lockTimeoutMs: LOCK_TIMEOUT_MS };
  const report = (done: number) =>
    options.onProgress?.({ phase: 'prepare vision tower', done, total: 1, unit: 'steps' });
  try {
    const directory = await preparedFolder(place, async (draft) => {
      report(0);
      await write({ directory: draft, use: 'write' });
      report(1);
    });
    return directory === undefined ? undefined : { directory, use: 'read' };
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!(error instanceof SdkError) || error.code === 'ERR_PREPARE_LOCKED') throw error;
    // A full disk is an error of the runtime. Without the file the tower opens slowly, or fails with a plainer error.
    warn(options, `The vision tower's session could not be kept (${error.message}); it is made at every start.`);
    return undefined;
  }
}

/** The runtime refuses the kept session: it is deleted, and rebuilt at the next start. */
export async function discardVisionSession(
  { directory }: KeptSessions,
  error: unknown,
  options: Pick<KeepSessionOptions, 'logger'>,
): Promise<void> {
  const reason = error instanceof Error ? error.message : String(error);
  warn(options, `${directory} cannot be opened (${reason}) and is thrown away.`);
  await rm(directory, { recursive: true, force: true }).catch(() => {});
}

function warn({ logger }: Pick<KeepSessionOptions, 'logger'>, message: string): void {
  (logger ?? silentLogger).log('warn', message);
}

/** Of the tower and its projection, in float32. */
function visionBytes({ model }: EngineCheckpoint): number {
  let values = 0;
  for (const [name, { shape }] of model.tensors) {
    if (/^(vision_model|multi_modal_projector)\./.test(name)) values += shape.reduce((a, b) => a * b, 1);
  }
  return values * 4;
}

function runtimeVersion(): string {
  try {
    const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
    return version;
  } catch (cause) {
    throw new SdkError('ERR_NATIVE_UNAVAILABLE', 'Expected onnxruntime-node to be installed; run `npm install`.', {
      cause,
    });
  }
}
