import {
  type Camera,
  type CameraOptions,
  type Logger,
  loadModel,
  type OnProgress,
  openCamera,
  type VisionLanguageModel,
} from 'scenebus';
import type { DeviceConfig } from '../config/schema.js';
import { int4Folder } from './int4-cache.js';
import type { ModelMemory } from './model-supervisor.js';
import { loadRouted } from './routed-model.js';

/** What the service is made of; tests and other programs bring their own. */
export interface DeviceParts {
  readonly openCamera: (address: string, options: CameraOptions) => Promise<Camera>;
  readonly loadModel: (
    config: DeviceConfig['model'],
    options: {
      readonly logger: Logger;
      readonly onProgress?: OnProgress | undefined;
      /** Requests of one priority that may wait; see `LoadModelOptions`. */
      readonly maxWaiting: number;
      readonly signal: AbortSignal;
      /** Default `full`. */
      readonly memory?: ModelMemory | undefined;
    },
  ) => Promise<VisionLanguageModel>;
}

/** The picture that is being asked about is always kept. */
const SMALL_IMAGE_CACHE = { maxImages: 1, maxBytes: 0 };

/** The real thing: cameras through OpenCV, models through the SDK. */
export const deviceParts: DeviceParts = {
  openCamera,
  async loadModel({ directory, quantize, acceptLlamaLicense, remote, ...model }, { memory = 'full', ...call }) {
    const { cacheDirectory } = model;
    const load = async () => {
      const int4 = { cacheDirectory, acceptLlamaLicense, ...call };
      const folder = quantize === 'int4' ? await int4Folder(directory, int4) : directory;
      const imageCache = memory === 'small' ? SMALL_IMAGE_CACHE : undefined;
      return await loadModel(folder, { ...model, imageCache, ...call });
    };
    return remote === undefined ? await load() : await loadRouted(load, remote, call.logger);
  },
};
