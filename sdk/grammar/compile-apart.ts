/** Compiles in a thread of its own, within bounds of time and memory. */
import { Worker } from 'node:worker_threads';
import { deserializeError, SdkError, type SerializedError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { CompileRequest } from './compile-worker.js';
import type { Grammar } from './rules.js';

export interface CompileBounds {
  readonly timeoutMs?: number | undefined;
  readonly memoryMebibytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

type Reply = { readonly grammar: Grammar } | { readonly error: SerializedError };

/**
 * @throws SdkError as `compileGrammar`; ERR_LIMIT_EXCEEDED when time or memory runs out
 * @throws signal.reason when aborted; the thread is stopped
 */
export async function compileApart(request: CompileRequest, bounds: CompileBounds = {}): Promise<Grammar> {
  await takeSlot(bounds.signal);
  try {
    bounds.signal?.throwIfAborted();
    return await compileInThread(request, bounds);
  } finally {
    running--;
    waiting.shift()?.();
  }
}

let running = 0;
/** In the order in which they came. */
const waiting: (() => void)[] = [];

/** Each thread may take all the memory that it is allowed: no more of them at once than a device can bear. */
async function takeSlot(signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  if (running < LIMITS.schemaCompilations) {
    running++;
    return;
  }
  await new Promise<void>((resolve, reject) => {
    const start = () => {
      signal?.removeEventListener('abort', onAbort);
      running++;
      resolve();
    };
    const onAbort = () => {
      waiting.splice(waiting.indexOf(start), 1);
      reject(signal!.reason);
    };
    waiting.push(start);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

function compileInThread(request: CompileRequest, bounds: CompileBounds): Promise<Grammar> {
  const { timeoutMs = LIMITS.schemaCompileMs, memoryMebibytes = LIMITS.schemaCompileMebibytes, signal } = bounds;
  const resourceLimits = { maxOldGenerationSizeMb: memoryMebibytes, maxYoungGenerationSizeMb: 32, stackSizeMb: 4 };
  const worker = new Worker(new URL('./compile-worker.js', import.meta.url), {
    workerData: request,
    resourceLimits,
    execArgv: [],
  });
  return new Promise<Grammar>((resolve, reject) => {
    const end = (settle: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      worker.removeAllListeners();
      worker.on('error', () => {}); // of a thread that is being stopped
      void worker.terminate();
      settle();
    };
    const onAbort = () => end(() => reject(signal!.reason));
    const timer = setTimeout(() => end(() => reject(exceeded(`${timeoutMs} ms`, { timeoutMs }))), timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    worker.once('message', (reply: Reply) =>
      end(() => ('grammar' in reply ? resolve(reply.grammar) : reject(deserializeError(reply.error)))),
    );
    worker.once('error', (error: Error & { code?: string }) =>
      end(() =>
        reject(
          error.code === 'ERR_WORKER_OUT_OF_MEMORY'
            ? exceeded(`${memoryMebibytes} MiB`, { memoryMebibytes })
            : new SdkError('ERR_SCHEMA_INVALID', `The schema could not be compiled: ${error.message}.`, {
                cause: error,
              }),
        ),
      ),
    );
    worker.once('exit', () => end(() => reject(exceeded(`${memoryMebibytes} MiB`, { memoryMebibytes }))));
  });
}

function exceeded(bound: string, details: Readonly<Record<string, unknown>>): SdkError {
  const message = `Expected a schema that compiles within ${bound} but it needs more. Use fewer alternatives, shorter bounds or simpler patterns.`;
  return new SdkError('ERR_LIMIT_EXCEEDED', message, { details });
}
