/** The model of a device with a second one behind it, on another machine. */
import { createModelRouter, type Logger, loadModel, type VisionLanguageModel } from 'scenebus';
import type { DeviceConfig } from '../config/schema.js';

const KEY_VARIABLE = 'SCENEBUS_REMOTE_KEY';
/** Whoever asked waits meanwhile, and the local model's answer is there. */
const RETRIES = { most: 1, initialMs: 200 };

/**
 * @param load of the local model; nothing of it stays when the remote one cannot be had
 * @throws SdkError ERR_CONFIG_INVALID for a key or certificates that cannot be read; what `load` throws. A server that is away is no such thing
 */
export async function loadRouted(
  load: () => Promise<VisionLanguageModel>,
  { minimumProbability, maximumWaiting, priorities, ...where }: NonNullable<DeviceConfig['model']['remote']>,
  logger: Logger,
): Promise<VisionLanguageModel> {
  const keyVariable = process.env[KEY_VARIABLE] ? KEY_VARIABLE : undefined;
  const remote = await loadModel({ remote: { ...where, keyVariable, connect: 'later', retries: RETRIES }, logger });
  try {
    const local = await load();
    return createModelRouter({ local, remote, minimumProbability, maximumWaiting, priorities, logger });
  } catch (error) {
    await remote[Symbol.asyncDispose]();
    throw error;
  }
}
