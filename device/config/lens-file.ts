/** Calibrations of cameras that a configuration names. */
import { readFile, stat } from 'node:fs/promises';
import { type CameraLens, LIMITS, parseCameraInfo, SdkError } from 'scenebus';
import { encodingProblem } from './file-text.js';

/**
 * Reads a `camera_info`, YAML or JSON.
 * @throws SdkError ERR_CONFIG_INVALID, also for a file that is not there
 */
export async function readLens(file: string): Promise<CameraLens> {
  return parseCameraInfo(await readText(file), file);
}

async function readText(file: string): Promise<string> {
  const refuse = (reason: string, cause?: unknown) =>
    new SdkError('ERR_CONFIG_INVALID', `Expected the calibration of a camera in ${file}, but ${reason}.`, { cause });
  try {
    const { size } = await stat(file);
    if (size > LIMITS.configFileBytes) throw refuse(`it has ${size} bytes: at most ${LIMITS.configFileBytes} are read`);
    const bytes = await readFile(file);
    const problem = encodingProblem(bytes);
    if (problem !== undefined) throw refuse(`line ${problem.line} is no UTF-8`);
    return bytes.toString('utf8').replace(/^\uFEFF/, '');
  } catch (error) {
    if (error instanceof SdkError) throw error;
    throw refuse(error instanceof Error ? error.message : String(error), error);
  }
}
