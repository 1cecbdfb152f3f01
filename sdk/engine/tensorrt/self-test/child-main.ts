/** The process of one self-test: what a failing kernel does to the device's context ends with it. */
import { connectParent } from '../../../child/index.js';
import { isSdkError, SdkError } from '../../../core/errors.js';
import { installedTensorRt } from '../installed.js';
import type { SelfTestMessage, SelfTestRequest } from './messages.js';
import { runSelfTest } from './self-test.js';

const parent = connectParent((message) => void answer(message as SelfTestRequest));
const send = (message: SelfTestMessage) => parent?.send(message);

async function answer({ mode, layers, cacheDirectory }: SelfTestRequest): Promise<void> {
  const onProgress = (progress: Extract<SelfTestMessage, { type: 'progress' }>['progress']) =>
    send({ type: 'progress', progress });
  try {
    const report = await runSelfTest(installedTensorRt(), { mode, layers, cacheDirectory, onProgress });
    send({ type: 'report', report });
  } catch (error) {
    const known = isSdkError(error) ? error : new SdkError('ERR_ENGINE_FAILED', String(error), { cause: error });
    send({ type: 'error', code: known.code, message: known.message });
  }
  parent?.exit(0);
}
