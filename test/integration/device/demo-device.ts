/** The service on the sample clip and the demo model, with the model loaded once for all tests of a file. */
import { fileURLToPath } from 'node:url';
import { type LoadModelOptions, loadModel, openCamera, silentLogger, type VisionLanguageModel } from 'scenebus';
import type { DeviceParts } from '#device/app/device-parts.js';
import { DeviceService, type StartOptions } from '#device/app/device-service.js';
import { int4Folder } from '#device/app/int4-cache.js';
import { parseConfig } from '#device/config/load.js';
import type { DeviceConfig, DeviceConfigInput } from '#device/config/schema.js';

const inRepository = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
export const clip = inRepository('examples/clips/tabletop.mp4');
export const demoModel = inRepository('examples/demo-model/checkpoint');

export const deviceName = 'bench';
export const topic = (rest: string) => `scenebus/${deviceName}/${rest}`;

/** Loads the demo model at int4, as the demo does. */
export async function loadDemoModel(
  cacheDirectory: string,
  options: LoadModelOptions = {},
): Promise<VisionLanguageModel> {
  return await loadModel(await int4Folder(demoModel, { cacheDirectory }), { cacheDirectory, ...options });
}

/** The same model, not closed by who borrows it. */
export function borrow(model: VisionLanguageModel): VisionLanguageModel {
  return {
    info: model.info,
    stats: model.stats.bind(model),
    ask: model.ask.bind(model),
    decide: model.decide.bind(model),
    likelihood: model.likelihood.bind(model),
    describe: model.describe.bind(model),
    complete: model.complete.bind(model),
    generate: model.generate.bind(model),
    [Symbol.asyncDispose]: async () => {},
  };
}

/** Parts with a model that outlives the service. */
export function lend(model: VisionLanguageModel, parts: Partial<DeviceParts> = {}): DeviceParts {
  return { openCamera, loadModel: async () => borrow(model), ...parts };
}

export async function makeConfig(input: Partial<DeviceConfigInput> = {}): Promise<DeviceConfig> {
  const complete = {
    version: 1,
    device: deviceName,
    model: { directory: demoModel },
    cameras: [{ id: 'table', address: clip, loop: true }],
    describe: { minIntervalSeconds: 0 },
    healthIntervalSeconds: 1,
    journal: { enabled: false },
    console: { enabled: false },
    ...input,
  } satisfies DeviceConfigInput;
  return await parseConfig(complete, { file: 'the test', folder: '/', environment: {} });
}

/** Waits for the broker, so that a client that comes right after it finds the device online. */
export async function startService(config: DeviceConfig, options: StartOptions): Promise<DeviceService> {
  return await DeviceService.start(config, { logger: silentLogger, requireBroker: true, ...options });
}
