import { getEventListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { linkedAbort } from '#sdk/core/linked-abort.js';

describe('linkedAbort', () => {
  test('aborts with the reason of the source that aborts first', () => {
    const [a, b] = [new AbortController(), new AbortController()];
    using linked = linkedAbort([a.signal, undefined, b.signal]);
    expect(linked.signal.aborted).toBe(false);
    b.abort('b');
    a.abort('a');
    expect(linked.signal.reason).toBe('b');
  });

  test('is aborted at once by a source that is aborted already', () => {
    const a = new AbortController();
    using linked = linkedAbort([a.signal, AbortSignal.abort('before')]);
    expect(linked.signal.reason).toBe('before');
    expect(getEventListeners(a.signal, 'abort')).toEqual([]);
  });

  test('can be aborted by itself, which no source hears of', () => {
    const a = new AbortController();
    using linked = linkedAbort([a.signal]);
    linked.abort('own');
    expect(linked.signal.reason).toBe('own');
    expect(a.signal.aborted).toBe(false);
    expect(getEventListeners(a.signal, 'abort')).toEqual([]);
  });

  test('follows nobody after its disposal', () => {
    const a = new AbortController();
    const linked = linkedAbort([a.signal]);
    linked[Symbol.dispose]();
    a.abort();
    expect(linked.signal.aborted).toBe(false);
  });

  test('leaves nothing at a signal that outlives ten thousand pieces of work', async () => {
    const longLived = new AbortController();
    const seen: WeakRef<AbortSignal>[] = [];
    for (let i = 0; i < 10_000; i++) {
      using linked = linkedAbort([longLived.signal]);
      if (i % 1000 === 0) seen.push(new WeakRef(linked.signal));
    }
    expect(getEventListeners(longLived.signal, 'abort')).toEqual([]);
    await new Promise((resolve) => setImmediate(resolve)); // WeakRefs hold until the job that made them is over
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
    expect(seen.filter((each) => each.deref() !== undefined)).toEqual([]);
    expect(longLived.signal.aborted).toBe(false);
  });
});
