import { loadModel, openCamera } from 'scenebus';
import type { DeviceParts } from './device-service.js';
import { int4Folder } from './int4-cache.js';

/** The real thing: cameras through OpenCV, models through the SDK. */
export const deviceParts: DeviceParts = {
  openCamera,
  async loadModel({ directory, quantize, acceptLlamaLicense, ...model }, call) {
    const { cacheDirectory } = model;
    const int4 = { cacheDirectory, acceptLlamaLicense, ...call };
    const folder = quantize === 'int4' ? await int4Folder(directory, int4) : directory;
    return loadModel(folder, { ...model, ...call });
  },
};
