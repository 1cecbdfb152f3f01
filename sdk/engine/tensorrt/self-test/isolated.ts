/** A self-test in a process of its own: a mode whose kernels fault cannot take another's verdict with it. */
import path from 'node:path';
import { SupervisedChild } from '../../../child/index.js';
import { SdkError } from '../../../core/errors.js';
import { silentLogger } from '../../../core/logger.js';
import { isErrorCode } from '../../shared/native-call.js';
import { defaultCacheDirectory } from '../../shared/prepared-cache.js';
import type { SelfTestMessage, SelfTestRequest } from './messages.js';
import type { SelfTestOptions, SelfTestReport } from './report.js';

/** The builder's threads leave the child's own free to give signs of life; opening a driver may hold it for seconds. */
const HANG_MS = 60_000;
const GRACE_MS = 2000;
const ENTRY = new URL('./child-main.js', import.meta.url);

/**
 * As `runSelfTest`; a process that dies is a mode that failed.
 * @param entry @internal what runs in place of the test
 */
export async function runIsolatedSelfTest(options: SelfTestOptions, entry: URL = ENTRY): Promise<SelfTestReport> {
  const { mode, layers, cacheDirectory = defaultCacheDirectory(), onProgress, signal, logger = silentLogger } = options;
  signal?.throwIfAborted();
  let settle!: { resolve(report: SelfTestReport): void; reject(reason: unknown): void };
  const answer = new Promise<SelfTestReport>((resolve, reject) => {
    settle = { resolve, reject };
  });
  const failed = (reason: string): SelfTestReport => ({ mode, layers, checks: [], reason, isDeviceFailure: true });
  const child = new SupervisedChild({
    entry,
    name: `self-test of ${mode} mode`,
    hangMs: HANG_MS,
    onLine: (line) => logger.log('info', `self-test: ${line}`),
    onLost: (error) => settle.resolve(failed(error.message)),
    onMessage(received) {
      const message = received as SelfTestMessage;
      if (message.type === 'progress') onProgress?.(message.progress);
      if (message.type === 'report') settle.resolve(message.report);
      if (message.type === 'error') {
        const code = isErrorCode(message.code) ? message.code : 'ERR_ENGINE_FAILED';
        settle.reject(new SdkError(code, message.message));
      }
    },
  });
  const onAbort = () => settle.reject(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  child.ref();
  try {
    const request: SelfTestRequest = { type: 'self-test', mode, layers, cacheDirectory: path.resolve(cacheDirectory) };
    child.send(request);
    return await answer;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await child.stop({ type: 'end' }, signal?.aborted === true ? 0 : GRACE_MS);
  }
}
