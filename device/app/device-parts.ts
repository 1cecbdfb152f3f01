import { loadModel, openCamera } from 'scenebus';
import type { DeviceParts } from './device-service.js';
import { int4Folder } from './int4-cache.js';

/** The picture that is being asked about is always kept. */
const SMALL_IMAGE_CACHE = { maxImages: 1, maxBytes: 0 };

/** The real thing: cameras through OpenCV, models through the SDK. */
export const deviceParts: DeviceParts = {
  openCamera,
  async loadModel({ directory, quantize, acceptLlamaLicense, ...model }, { memory = 'full', ...call }) {
    const { cacheDirectory } = model;
    const int4 = { cacheDirectory, acceptLlamaLicense, ...call };
    const folder = quantize === 'int4' ? await int4Folder(directory, int4) : directory;
    const imageCache = memory === 'small' ? SMALL_IMAGE_CACHE : undefined;
    return loadModel(folder, { ...model, imageCache, ...call });
  },
};
