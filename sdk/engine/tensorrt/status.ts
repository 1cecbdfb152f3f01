/** Whether this machine can run the backend at all, and on what. */
import { SdkError } from '../../core/errors.js';
import { isErrorCode } from '../shared/native-call.js';
import type { TensorRtAddon, TensorRtDevice, TensorRtStatus } from './addon-types.js';

/** A machine with a library of a version that fits, and a device. */
export interface TensorRtPlatform {
  readonly status: TensorRtStatus;
  readonly device: TensorRtDevice;
  readonly libraryVersion: string;
}

/** @throws SdkError with the first obstacle: ERR_NATIVE_UNAVAILABLE, ERR_ENGINE_INCOMPATIBLE … */
export function requirePlatform(addon: TensorRtAddon): TensorRtPlatform {
  if (typeof addon.tensorRtStatus !== 'function') {
    throw new SdkError(
      'ERR_NATIVE_UNAVAILABLE',
      'The engine addon was built without the TensorRT backend. Run `npm run build:native` in the SceneBus folder (a package: `npx scenebus setup`).',
    );
  }
  const status = addon.tensorRtStatus();
  const { problem, library, device } = status;
  if (problem !== null) {
    const code = isErrorCode(problem.code) ? problem.code : 'ERR_NATIVE_UNAVAILABLE';
    throw new SdkError(code, problem.message, { details: { compiledFor: status.compiledFor, library } });
  }
  if (library === null || device === null) {
    const missing = library === null ? 'the TensorRT library' : 'a CUDA device';
    throw new SdkError('ERR_NATIVE_UNAVAILABLE', `Expected ${missing} on this machine but there is none.`);
  }
  return { status, device, libraryVersion: library.version };
}

/** `Orin, TensorRT 10.3.0, plugins` */
export function describePlatform({ device, libraryVersion }: TensorRtPlatform, mode: 'plugin' | 'native'): string {
  const how = mode === 'plugin' ? 'own kernels' : 'standard operators';
  return `${device.name}, TensorRT ${libraryVersion}, ${how}`;
}
