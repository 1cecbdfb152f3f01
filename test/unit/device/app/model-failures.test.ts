import { SdkError } from 'scenebus';
import { describe, expect, test } from 'vitest';
import { ModelFailures } from '#device/app/model-failures.js';

const died = (how: string) => new SdkError('ERR_ENGINE_DIED', how, { details: { how } });

describe('failures of a model', () => {
  test('count as losses until it answers: the pauses between restarts follow them', () => {
    const failures = new ModelFailures();
    for (const losses of [1, 2, 3]) {
      expect(failures.judge(died('SIGSEGV'))).toBe('replace');
      expect(failures.losses).toBe(losses);
    }
    failures.succeeded();
    expect(failures.losses).toBe(0);
    failures.judge(died('hung'));
    expect(failures.losses).toBe(1);
  });

  test('are no reason to replace it when they are about the call', () => {
    const failures = new ModelFailures();
    const calls = [
      new SdkError('ERR_PROMPT_INVALID', ''),
      new SdkError('ERR_BUSY', ''),
      new SdkError('ERR_REQUEST_EXPIRED', ''),
      new DOMException('', 'AbortError'),
    ];
    for (const each of [...calls, ...calls, ...calls]) expect(failures.judge(each)).toBe('keep');
  });
});
