import { LIMITS, type ModelInfo, version } from 'scenebus';
import type { InfoInput } from 'scenebus/bus';
import type { DeviceConfig } from '../config/schema.js';

/** What the retained `info` message says about this device. */
export function deviceInfo(config: DeviceConfig, model: ModelInfo | undefined): InfoInput {
  return {
    versions: { scenebus: version, node: process.versions.node },
    model:
      model === undefined
        ? null
        : {
            id: model.name,
            hash: model.contentHash,
            backend: model.engine.backend,
            weights: model.engine.weights,
            numerics: model.engine.numerics,
            contextLength: model.engine.contextLength,
            writesBoxes: model.writesBoxes,
          },
    cameras: config.cameras.map((camera) => camera.id),
    limits: {
      questionsWaiting: config.ask.queueLength,
      requestQueueLength: config.ask.queueLength + 1,
      questionCharacters: LIMITS.questionCharacters,
    },
    ...(model !== undefined && isLlama(model.name) ? { attribution: 'Built with Llama' } : {}),
  };
}

/** The Llama 3.2 Community License asks that derived models carry the name, and that products say so. */
function isLlama(modelName: string): boolean {
  return /^llama/i.test(modelName);
}
