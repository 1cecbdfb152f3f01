/** Which backend runs a model. */
import { isSdkError, SdkError } from '../core/errors.js';
import { type Logger, silentLogger } from '../core/logger.js';
import type { Engine } from '../engine/engine.js';
import type { EngineCheckpoint, OpenEngine, OpenEngineOptions } from '../engine/options.js';

/** Backends by name, best first: the order in which `auto` tries them. */
export type Backends = Readonly<Record<string, OpenEngine>>;

/**
 * Failures that say "not here": another backend may still do it. A broken model or a full disk is none of them. Memory
 * is: a device's may be too small for a model that the processor's holds, and K/V in it are larger.
 */
const CANNOT_RUN_HERE = new Set([
  'ERR_ENGINE_INCOMPATIBLE',
  'ERR_ENGINE_OUT_OF_MEMORY',
  'ERR_NATIVE_UNAVAILABLE',
  'ERR_MODEL_UNSUPPORTED',
]);

/**
 * Opens the named backend, or with `auto` the first that can run this checkpoint on this machine.
 * @throws SdkError ERR_ARGUMENT_INVALID for an unknown name; the backend's own error when it was named or when it is
 * no matter of ability; with `auto` and none able, ERR_ENGINE_INCOMPATIBLE with every reason in `details.attempts`.
 */
export async function openEngine(
  backends: Backends,
  name: string,
  checkpoint: EngineCheckpoint,
  options: OpenEngineOptions,
): Promise<Engine> {
  if (name !== 'auto') {
    const open = Object.hasOwn(backends, name) ? backends[name] : undefined;
    if (open) return await open(checkpoint, options);
    const known = ['auto', ...Object.keys(backends)].join(', ');
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a backend of ${known} but received ${JSON.stringify(name)}.`);
  }
  const logger: Logger = options.logger ?? silentLogger;
  const attempts: { backend: string; message: string }[] = [];
  for (const [backend, open] of Object.entries(backends)) {
    try {
      return await open(checkpoint, options);
    } catch (error) {
      if (!isSdkError(error) || !CANNOT_RUN_HERE.has(error.code)) throw error;
      logger.log('info', `backend ${backend} cannot run this model here`, { reason: error.message });
      attempts.push({ backend, message: error.message });
    }
  }
  const reasons = attempts.map(({ backend, message }) => `  ${backend}: ${message}`).join('\n');
  throw new SdkError(
    'ERR_ENGINE_INCOMPATIBLE',
    `Expected a backend that can run ${checkpoint.name} here but none can:\n${reasons}`,
    {
      details: { attempts },
    },
  );
}
