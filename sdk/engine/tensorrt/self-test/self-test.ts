/** Builds and runs a small model on this device and compares it with recorded values. */
import path from 'node:path';
import { isSdkError } from '../../../core/errors.js';
import type { OpenEngineOptions } from '../../options.js';
import { defaultCacheDirectory } from '../../shared/prepared-cache.js';
import type { TensorRtHost } from '../host.js';
import { isRefusal, openModel } from '../open-model.js';
import { compareSamples, describeCheck, firstFailure } from './compare.js';
import { recordedSamples } from './recording.js';
import type { SelfTestOptions, SelfTestReport } from './report.js';
import { runScenario, runWideVision, type Sample, SELF_TEST_CONTEXT, WIDE_VISION } from './scenario.js';
import { makeSyntheticModel, WIDE_VISION_ARCHITECTURE } from './synthetic-model.js';

/**
 * A plan that is refused is a mode that failed. So is a device that fails: the next start then tries the other mode.
 * @throws signal.reason; SdkError for what says nothing about the mode: no memory, no disk
 */
export async function runSelfTest(host: TensorRtHost, options: SelfTestOptions): Promise<SelfTestReport> {
  const { mode, layers, cacheDirectory = defaultCacheDirectory(), onProgress, logger, signal } = options;
  const parent = path.join(path.resolve(cacheDirectory), 'tensorrt-self-test');
  const folder = path.join(parent, 'model');
  const checkpoint = await makeSyntheticModel(folder);
  const contextLength = SELF_TEST_CONTEXT;
  const shared = { cacheDirectory, onProgress: prefixed(onProgress), logger, signal, vision: 'full' } as const;
  const wideVision = async (place: string): Promise<Sample[]> => {
    const wide = await makeSyntheticModel(place, WIDE_VISION_ARCHITECTURE);
    return runWideVision((listener) =>
      openModel(host, wide, {
        ...shared,
        mode,
        contextLength,
        onlyVision: true,
        ...(layers ? { onTensor: listener } : { onFeatures: listener }),
      }),
    );
  };
  let copies = 0;
  const onKeyValueCopies = (counted: number) => {
    copies = counted;
  };
  try {
    const samples = await runScenario(
      (onTensor) => openModel(host, checkpoint, { ...shared, mode, contextLength, onTensor, onKeyValueCopies }),
      layers,
    );
    signal?.throwIfAborted();
    let recorded = recordedSamples();
    if (host.testsLargePicture === false) recorded = recorded.filter(({ name }) => !name.startsWith(WIDE_VISION));
    else samples.push(...(await wideVision(path.join(parent, 'wide-vision'))));
    signal?.throwIfAborted();
    const checks = compareSamples(samples, recorded);
    const failure = firstFailure(checks);
    return {
      mode,
      layers,
      checks,
      reason: failure === undefined ? copiesProblem(copies) : describeCheck(failure),
      isDeviceFailure: false,
    };
  } catch (error) {
    signal?.throwIfAborted();
    const isOfDevice = isSdkError(error, 'ERR_ENGINE_FAILED') || isSdkError(error, 'ERR_ENGINE_DIED');
    if (!isRefusal(error) && !isOfDevice) throw error;
    return { mode, layers, checks: [], reason: error.message, isDeviceFailure: isOfDevice };
  }
}

/** Plugins declare that they write K/V in place; where TensorRT copies all the same, that costs more with every position. */
function copiesProblem(copies: number): string | null {
  return copies === 0 ? null : `K/V caches were copied ${copies} times instead of being written in place`;
}

function prefixed(onProgress: OpenEngineOptions['onProgress']): OpenEngineOptions['onProgress'] {
  return onProgress && ((progress) => onProgress({ ...progress, phase: `self-test: ${progress.phase}` }));
}
