/** What tools ask about the backend without opening a model. */

import type { EngineCheckpoint } from '../options.js';
import { resolveContextLength } from '../shared/engine-checks.js';
import type { TensorRtStatus } from './addon-types.js';
import type { TensorRtHost } from './host.js';
import { installedTensorRt } from './installed.js';
import { lowerCheckpoint, type TensorRtMode } from './lowering.js';
import type { SampleCheck } from './self-test/compare.js';
import { type GateOptions, keepVerdict, testOn } from './self-test/gate.js';
import type { SelfTestReport } from './self-test/report.js';
import { requirePlatform } from './status.js';

export type { SampleCheck, SelfTestReport };

/**
 * Whether TensorRT can run here, on what, and if not, why. Loads the library.
 * @throws SdkError ERR_NATIVE_UNAVAILABLE the addon is missing or was built without the backend
 */
export function tensorRtStatus(): TensorRtStatus {
  const { addon } = installedTensorRt();
  return typeof addon.tensorRtStatus === 'function' ? addon.tensorRtStatus() : requirePlatform(addon).status;
}

/**
 * Repeats the self-test of this device, layer by layer and then with the plans that serve, and remembers the verdicts.
 * Standard operators are tested only when own kernels failed, as at the first load of a model.
 * @throws SdkError ERR_NATIVE_UNAVAILABLE, ERR_ENGINE_INCOMPATIBLE the backend cannot run here at all
 */
export async function tensorRtSelfTest(options: GateOptions = {}): Promise<SelfTestReport[]> {
  return tensorRtSelfTestOn(installedTensorRt(), options);
}

/** @internal */
export async function tensorRtSelfTestOn(host: TensorRtHost, options: GateOptions = {}): Promise<SelfTestReport[]> {
  const platform = requirePlatform(host.addon);
  const reports: SelfTestReport[] = [];
  for (const mode of platform.device.hasKernels ? (['plugin', 'native'] as const) : (['native'] as const)) {
    const layers = await testOn(host, { ...options, mode, layers: true });
    const serving = await testOn(host, { ...options, mode, layers: false });
    reports.push(layers, serving);
    const failed = layers.reason === null ? serving : layers;
    await keepVerdict(host, platform, failed, options);
    if (failed.reason === null || (failed.isDeviceFailure && host.runSelfTest === undefined)) break;
  }
  return reports;
}

/**
 * Writes the graphs of a checkpoint into the cache, without a device.
 * @returns The folder, where plans go too.
 * @throws SdkError ERR_MODEL_UNSUPPORTED, ERR_DISK_FULL, ERR_CONFIG_INVALID
 */
export async function prepareTensorRtGraphs(
  checkpoint: EngineCheckpoint,
  options: GateOptions & { readonly mode: TensorRtMode; readonly contextLength?: number | undefined },
): Promise<string> {
  const contextLength = resolveContextLength(options.contextLength, checkpoint.model.architecture.text);
  return (await lowerCheckpoint(checkpoint, { ...options, numerics: 'meta', contextLength })).directory;
}
