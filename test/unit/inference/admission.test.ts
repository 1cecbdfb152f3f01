import { describe, expect, test } from 'vitest';
import { Admission } from '#sdk/inference/admission.js';
import type { Priority } from '#sdk/inference/priority.js';

let arrivals = 0;
const claim = (caller: string, priority: Priority = 'question') => ({
  caller,
  priority,
  deadlineAtMs: undefined,
  arrival: arrivals++,
});

describe('Admission', () => {
  test('refuses beyond the limit, with a hint that follows what requests take', () => {
    const admission = new Admission(2);
    const waiting = [claim('a'), claim('b')];
    expect(admission.admit(claim('c'), waiting.slice(1))).toBeUndefined();
    const refused = { code: 'ERR_BUSY', retryable: true };
    const details = { maxWaiting: 2, waiting: 2, retryAfterMs: 2000 };
    expect(() => admission.admit(claim('c'), waiting)).toThrow(expect.objectContaining({ ...refused, details }));
    for (let i = 0; i < 100; i++) admission.observe(250);
    const faster = { ...details, retryAfterMs: 500 };
    expect(() => admission.admit(claim('c'), waiting)).toThrow(expect.objectContaining({ details: faster }));
  });

  test('counts each priority by itself', () => {
    const admission = new Admission(2);
    const descriptions = Array.from({ length: 2 }, () => claim('camera', 'description'));
    expect(admission.admit(claim('a'), descriptions)).toBeUndefined();
    expect(() => admission.admit(claim('camera', 'description'), descriptions)).toThrow(/Try again/);
  });

  test('lets the newest request of the heaviest caller go for one of a caller with few', () => {
    const admission = new Admission(3);
    const waiting = [claim('greedy'), claim('greedy'), claim('b')];
    expect(admission.admit(claim('modest'), waiting)).toBe(waiting[1]);
    // The heaviest itself, or one that would only change places with it, is refused.
    expect(() => admission.admit(claim('greedy'), waiting)).toThrow();
    expect(() => admission.admit(claim('b'), waiting)).toThrow();
  });
});
