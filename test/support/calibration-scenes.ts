import type { CalibrationScene } from '#calibration/quantize/calibration-samples.js';
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { createRandom } from '#sdk/core/random.js';
import { ARRANGEMENTS, syntheticImage } from './tiny-images.js';

/** Pictures and text without meaning for a model with random weights; other seeds give others. */
export function randomScenes({ architecture }: ModelDescription, count: number, seed: number): CalibrationScene[] {
  const { text, imageTokenId, vision } = architecture;
  const arrangements = [ARRANGEMENTS.single, ARRANGEMENTS.wide];
  return Array.from({ length: count }, (_, scene) => {
    const random = createRandom(seed * 1000 + scene);
    const tokens = Int32Array.from({ length: 40 }, () => Math.floor(random() * (text.vocabularySize - 1)));
    tokens[1] = imageTokenId;
    const image = syntheticImage(arrangements[scene % 2]!, seed * 1000 + scene, vision.tileSize, vision.maxNumTiles);
    return { image: async () => image, samples: [{ tokens, imageTokenIndex: 1, answerStart: 20 }] };
  });
}
