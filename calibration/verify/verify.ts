/**
 * Compares this product with recorded results of a reference implementation, tensor by tensor, for any checkpoint and
 * golden folder of the layout in `test/fixtures/golden/README.md`.
 */
import path from 'node:path';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import type { OnProgress } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import type { OpenEngine } from '#sdk/engine/options.js';
import { findGoldenFolder } from './golden-folder.js';
import { checkProcessor, checkRope } from './processor-checks.js';
import { ReferenceEngine } from './reference-engine.js';
import type { VerifyCheck, VerifyReport } from './report.js';
import { checkCase, coversMeta, type MainNumerics, readCase } from './text-checks.js';
import { checkVision } from './vision-checks.js';

/** Two unrelated float32 implementations differ by about 1e-5; tanh in place of the exact GELU moves logits by 1e-3. */
const DEFAULT_TOLERANCE = 1e-4;

export interface VerifyOptions extends CallOptions {
  /** A checkpoint folder. */
  readonly checkpointDir: string;
  /** A folder of cases, or one that holds `cases-<name of the checkpoint folder>`. */
  readonly casesDir: string;
  /** Largest allowed difference of any value; default 1e-4, for float32 against float32. */
  readonly tolerance?: number | undefined;
  /** What the main tensors were made with; default `hf-4.45`. Tensors `alt_zeroed_rows.*` are always `meta`. */
  readonly mainNumerics?: MainNumerics | undefined;
  /** Another backend than `onnx`; tensors inside the model are then not compared. */
  readonly openEngine?: OpenEngine | undefined;
  readonly threads?: number | undefined;
  readonly cacheDirectory?: string | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * @returns `passed` is false on any miss: print it with `formatVerifyReport`.
 * @throws SdkError ERR_ARGUMENT_INVALID when the folder holds no cases; the errors of `openCheckpoint`
 *
 * @example
 * const report = await verifyCheckpoint({ checkpointDir: 'tiny-a', casesDir: 'cases-tiny-a' });
 * console.log(formatVerifyReport(report));
 * process.exitCode = report.passed ? 0 : 1;
 */
export async function verifyCheckpoint(options: VerifyOptions): Promise<VerifyReport> {
  const { signal } = options;
  const tolerance = options.tolerance ?? DEFAULT_TOLERANCE;
  if (!(tolerance > 0)) {
    throw new SdkError('ERR_ARGUMENT_INVALID', `Expected a tolerance above 0 but received ${tolerance}.`);
  }
  const checkpoint = await openCheckpoint(options.checkpointDir, { signal });
  const folder = await findGoldenFolder(options.casesDir, path.basename(path.resolve(options.checkpointDir)));
  const cases = [];
  for (const name of folder.cases) cases.push(await readCase(folder, name, checkpoint));

  const checks: VerifyCheck[] = [];
  const notCompared: string[] = [];
  const total = folder.processors.length + Number(folder.vision) + 2 * cases.length;
  let done = 0;
  const step = (): void => {
    signal?.throwIfAborted();
    options.onProgress?.({ phase: 'verify', done: done++, total, unit: 'steps' });
  };

  if (folder.rope !== undefined) checks.push(...(await checkRope(folder.rope)));
  for (const base of folder.processors) {
    step();
    checks.push(...(await checkProcessor(base, tolerance)));
  }
  const contextLength = Math.max(1, ...cases.map((golden) => golden.length + golden.decodeSteps));
  const mainNumerics = options.mainNumerics ?? 'hf-4.45';
  for (const numerics of [mainNumerics, 'meta'] as const) {
    await using reference = await ReferenceEngine.open(checkpoint, { ...options, numerics, contextLength });
    if (numerics === mainNumerics && folder.vision) {
      step();
      const vision = await checkVision(folder, checkpoint, reference, tolerance, signal);
      checks.push(...vision.checks);
      notCompared.push(...vision.notCompared);
    }
    for (const golden of cases) {
      step();
      // `meta` taps other vision layers than `hf-5`: nothing of that column can be compared.
      const comparable = numerics === mainNumerics || (mainNumerics !== 'hf-5' && coversMeta(golden));
      if (comparable) checks.push(await checkCase(golden, folder, checkpoint, reference, tolerance, signal));
      else notCompared.push(`${golden.name} under ${numerics}: the folder has no tensors for it`);
    }
  }
  const passed = checks.length > 0 && checks.every((check) => check.passed);
  return { checkpoint: checkpoint.name, tolerance, checks, notCompared, passed };
}
