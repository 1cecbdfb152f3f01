/** The scenes that one run calibrates with, and what tells them from those of another run. */
import { createHash } from 'node:crypto';
import type { Checkpoint } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import { type Logger, type OnProgress, silentLogger } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import { boundedScenes, type CalibrationScene, defaultCalibration, readCalibration } from './calibration-samples.js';
import { allFinite } from './finite.js';

/**
 * @param given A place as `readCalibration` takes it, or scenes; undefined: those beside the checkpoint
 * @throws SdkError ERR_ARGUMENT_INVALID when there are none
 */
export async function calibrationScenes(
  checkpoint: Checkpoint,
  given: string | readonly CalibrationScene[] | undefined,
  logger: Logger = silentLogger,
): Promise<readonly CalibrationScene[]> {
  const place = given ?? (await defaultCalibration(checkpoint.directory));
  if (place === undefined) {
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      'The method awq needs pictures of the kind that the model will see: give a folder of them or a .jsonl file with --calibrate (calibrate).',
    );
  }
  const scenes = typeof place === 'string' ? await readCalibration(place, checkpoint, { logger }) : place;
  const total = promptsIn(scenes);
  if (total === 0) {
    throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected at least one calibration scene with a prompt, but got none.');
  }
  const bounded = boundedScenes(scenes);
  const kept = promptsIn(bounded);
  if (kept === 0) {
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected calibration prompts with the image token near their beginning, but in all ${total} it comes so late that it would be cut off with ${scenes.length} scenes. Give shorter prompts or fewer scenes.`,
    );
  }
  if (kept < total) {
    logger.log(
      'warn',
      `${total - kept} of ${total} calibration prompts are left out: there is no room for so much text.`,
    );
  }
  return bounded;
}

function promptsIn(scenes: readonly CalibrationScene[]): number {
  return scenes.reduce((sum, { samples }) => sum + samples.length, 0);
}

/**
 * A hash of what the model gets to see of each picture: its pixels after the image processor. Names and times of files
 * would not tell pictures apart that were exchanged. Every picture is decoded once for it, so a bad one is found here,
 * and not after hours.
 *
 * @throws SdkError ERR_ARGUMENT_INVALID for pixel values that are not finite; the errors of decoding
 */
export async function pictureDigests(
  scenes: readonly CalibrationScene[],
  { signal, onProgress }: CallOptions & { readonly onProgress?: OnProgress | undefined } = {},
): Promise<readonly string[]> {
  const digests: string[] = [];
  for (const [index, scene] of scenes.entries()) {
    signal?.throwIfAborted();
    onProgress?.({ phase: 'calibrate: reading pictures', done: index, total: scenes.length, unit: 'steps' });
    const { pixelValues, aspectRatioId, numTiles } = await scene.image({ signal });
    if (!allFinite(pixelValues)) {
      throw new SdkError(
        'ERR_ARGUMENT_INVALID',
        `Expected finite pixel values, but calibration picture ${index} has others. Leave it out.`,
      );
    }
    const hash = createHash('sha256').update(JSON.stringify([aspectRatioId, numTiles]));
    digests.push(hash.update(pixelValues).digest('hex'));
  }
  if (scenes.length > 0) {
    onProgress?.({ phase: 'calibrate: reading pictures', done: scenes.length, total: scenes.length, unit: 'steps' });
  }
  return digests;
}
