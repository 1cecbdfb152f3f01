/**
 * Records what the self-test of the TensorRT backend expects: `node dist/test/support/record-self-test.js` writes
 * sdk/engine/tensorrt/self-test/recorded.ts. Run it when the formula or the scenario changes, and raise
 * SELF_TEST_VERSION. The values come from the `onnx` backend with float32 activations.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { openOnnxEngine } from '#sdk/engine/index.js';
import { encodeSamples } from '#sdk/engine/tensorrt/self-test/recording.js';
import { runScenario, runWideVision, type Sample, SELF_TEST_CONTEXT } from '#sdk/engine/tensorrt/self-test/scenario.js';
import { makeSyntheticModel, WIDE_VISION_ARCHITECTURE } from '#sdk/engine/tensorrt/self-test/synthetic-model.js';

type OnTensor = NonNullable<Parameters<typeof openOnnxEngine>[1]>['onTensor'];

function openReference(checkpoint: Parameters<typeof openOnnxEngine>[0], folder: string, onTensor: OnTensor) {
  const cacheDirectory = path.join(folder, 'cache');
  const options = { cacheDirectory, contextLength: SELF_TEST_CONTEXT, threads: 1, accuracyLevel: 1 } as const;
  return openOnnxEngine(checkpoint, { ...options, vision: 'full', onTensor });
}

/** The scenario on the reference backend. */
export async function referenceSamples(folder: string): Promise<Sample[]> {
  const checkpoint = await makeSyntheticModel(folder);
  return runScenario((onTensor) => openReference(checkpoint, folder, onTensor), true);
}

/** The large picture on the reference backend. */
export async function referencePicture(folder: string): Promise<Sample[]> {
  const checkpoint = await makeSyntheticModel(folder, WIDE_VISION_ARCHITECTURE);
  return runWideVision((onTensor) => openReference(checkpoint, folder, onTensor));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-record-'));
  try {
    const target = fileURLToPath(new URL('../../../sdk/engine/tensorrt/self-test/recorded.ts', import.meta.url));
    const samples = await referenceSamples(path.join(folder, 'model'));
    writeFileSync(target, encodeSamples([...samples, ...(await referencePicture(path.join(folder, 'wide-vision')))]));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
