import { loadModel, openCamera } from 'scenebus';
import { int4Folder } from '../model/int4-cache.js';
import type { DeviceParts } from './device-service.js';

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
