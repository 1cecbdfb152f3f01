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
import { runScenario, type Sample, SELF_TEST_CONTEXT } from '#sdk/engine/tensorrt/self-test/scenario.js';
import { makeSyntheticModel } from '#sdk/engine/tensorrt/self-test/synthetic-model.js';

/** The scenario on the reference backend. */
export async function referenceSamples(folder: string): Promise<Sample[]> {
  const checkpoint = await makeSyntheticModel(folder);
  const options = { cacheDirectory: path.join(folder, 'cache'), contextLength: SELF_TEST_CONTEXT, threads: 1 } as const;
  const open = (
    onTensor: Parameters<typeof openOnnxEngine>[1] extends infer O
      ? O extends { onTensor?: infer T }
        ? T
        : never
      : never,
  ) => openOnnxEngine(checkpoint, { ...options, accuracyLevel: 1, vision: 'full', onTensor });
  return runScenario(open, true);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-record-'));
  try {
    const target = fileURLToPath(new URL('../../../sdk/engine/tensorrt/self-test/recorded.ts', import.meta.url));
    writeFileSync(target, encodeSamples(await referenceSamples(folder)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
