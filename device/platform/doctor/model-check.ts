import { existsSync } from 'node:fs';
import { openCheckpoint } from 'scenebus';
import { demoModelDirectory } from '../repository-files.js';
import type { Finding } from './finding.js';

/** The named model folder, or the demo's. Reads headers and configuration, not the weights. */
export async function checkModel(directory: string | undefined): Promise<Finding> {
  const base = { id: 'model', title: 'Model folder' };
  const folder = directory ?? demoModelDirectory();
  if (directory === undefined && !existsSync(folder))
    return {
      ...base,
      status: 'absent',
      value: 'the demo model is not here',
      meaning: 'it comes with the repository, not with the package: name a folder of your own with --model',
    };
  try {
    const { name, model, manifest, warnings } = await openCheckpoint(folder);
    const weights = model.int4 === null ? 'float' : int4Text(model.int4.groupSize);
    const boxes = manifest.boxes ? 'writes boxes' : 'writes no boxes: objects stay empty';
    const meaning = warnings.length === 0 ? {} : { meaning: warnings.join('; ') };
    return { ...base, status: 'ok', value: `${name}: ${model.tensors.size} tensors, ${weights}, ${boxes}`, ...meaning };
  } catch (error) {
    return { ...base, status: 'problem', value: error instanceof Error ? error.message : String(error) };
  }
}

function int4Text(groupSize: number): string {
  return groupSize === 0 ? 'int4, one scale for each output' : `int4 in groups of ${groupSize}`;
}
