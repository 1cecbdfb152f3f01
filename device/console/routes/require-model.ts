import { SdkError } from 'scenebus';
import type { ModelAccess } from '../../features/context.js';
import type { ConsoleServices } from './services.js';

/** @throws SdkError ERR_ENGINE_DIED before it was loaded for the first time */
export function requireModel({ device }: ConsoleServices): ModelAccess {
  const model = device.model();
  if (model !== undefined) return model;
  throw new SdkError('ERR_ENGINE_DIED', 'The model is still being loaded. Ask again in a moment.');
}
