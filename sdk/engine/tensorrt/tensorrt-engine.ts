/** The `tensorrt` backend: plans for this device, own kernels for the hot parts, a self-test before it serves. */

import { SdkError } from '../../core/errors.js';
import type { Engine } from '../engine.js';
import type { EngineCheckpoint } from '../options.js';
import { resolveContextLength } from '../shared/engine-checks.js';
import { requireFloatVision } from '../shared/vision-options.js';
import type { TensorRtHost } from './host.js';
import { installedTensorRt } from './installed.js';
import type { TensorRtMode } from './lowering.js';
import { forecastTensorRtMemory } from './memory-forecast.js';
import { openModel, type TensorRtEngineOptions } from './open-model.js';
import { chooseTestedMode } from './self-test/gate.js';
import { requirePlatform, type TensorRtPlatform } from './status.js';

/**
 * Builds plans on the first call (an hour at worst, with progress), opens them afterwards. The first call on a device
 * also runs the self-test, which builds and runs a small model; the backend refuses to serve on a mismatch.
 *
 * @throws SdkError ERR_NATIVE_UNAVAILABLE no TensorRT, no device, or an addon that was built without it
 * @throws SdkError ERR_ENGINE_INCOMPATIBLE another version, a plan that is refused, a self-test that failed
 * @throws SdkError ERR_ENGINE_OUT_OF_MEMORY with the forecast; ERR_MODEL_UNSUPPORTED, ERR_DISK_FULL, ERR_CONFIG_INVALID
 *
 * @example
 * await using engine = await openTensorRtEngine(await openCheckpoint(directory));
 * using sequence = engine.createSequence();
 * const { logits } = await sequence.forward(tokens, { images: [], logits: 'last' });
 */
export async function openTensorRtEngine(
  checkpoint: EngineCheckpoint,
  options: TensorRtEngineOptions = {},
): Promise<Engine> {
  return openTensorRtEngineOn(installedTensorRt(), checkpoint, options);
}

/** @internal */
export async function openTensorRtEngineOn(
  host: TensorRtHost,
  checkpoint: EngineCheckpoint,
  options: TensorRtEngineOptions = {},
): Promise<Engine> {
  options.signal?.throwIfAborted();
  const platform = requirePlatform(host.addon);
  requireFloatVision(options.vision, 'tensorrt');
  const contextLength = resolveContextLength(options.contextLength, checkpoint.model.architecture.text);
  const mode = options.mode ?? 'auto';
  requireMemory(checkpoint, platform, contextLength, mode);
  const tested = await chooseTestedMode(host, platform, mode, options);
  options.signal?.throwIfAborted();
  return openModel(host, checkpoint, { ...options, contextLength, mode: tested });
}

/** An hour of building is not begun for what cannot fit. */
function requireMemory(
  checkpoint: EngineCheckpoint,
  { device }: TensorRtPlatform,
  contextLength: number,
  mode: 'auto' | TensorRtMode,
): void {
  const forecast = forecastTensorRtMemory(checkpoint.model, { contextLength, mode: mode === 'auto' ? 'plugin' : mode });
  if (forecast.leastBytes <= device.freeBytes) return;
  const parts = forecast.parts.map(({ name, leastBytes }) => `${name} ${gigabytes(leastBytes)}`);
  throw new SdkError(
    'ERR_ENGINE_OUT_OF_MEMORY',
    `${checkpoint.name} needs at least ${gigabytes(forecast.leastBytes)} of device memory (${parts.join(', ')}), but ${gigabytes(device.freeBytes)} of ${gigabytes(device.totalBytes)} are free on ${device.name}. Choose a shorter contextLength, end other programs, use an int4 model or a larger module.`,
    { details: { forecast, freeBytes: device.freeBytes, totalBytes: device.totalBytes } },
  );
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
