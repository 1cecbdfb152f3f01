import { describe, expect, test } from 'vitest';
import { SdkError } from '#sdk/core/errors.js';
import { SequencePool } from '#sdk/inference/sequence-pool.js';
import { FakeEngine, type FakeEngineInfo } from '../../support/engine.js';

/** 1000 bytes a token. */
function pool(maxTokens: number | undefined, info: FakeEngineInfo = {}) {
  const engine = new FakeEngine(() => 1, { contextLength: 2000, ...info });
  const made = new SequencePool(engine, maxTokens === undefined ? undefined : maxTokens * 1000);
  const ids = (length: number, first = 0) => Int32Array.from({ length }, (_, i) => first + i);
  /** Computes a prompt and gives the sequence back. */
  const use = async (tokens: Int32Array, room = tokens.length) => {
    const lease = made.acquire(tokens, [], room)!;
    const rest = tokens.slice(lease.reusedTokens);
    await lease.sequence.forward(rest, { images: [], logits: 'last' });
    lease.append(rest);
    lease.release('keep');
    return lease.reusedTokens;
  };
  return { engine, pool: made, ids, use };
}

describe('SequencePool', () => {
  test('goes on from what an idle sequence shares, and leaves at least one token to compute', async () => {
    const { engine, use, ids } = pool(1000);
    expect(await use(ids(10))).toBe(0);
    expect(await use(ids(10))).toBe(9);
    expect(await use(Int32Array.of(...ids(6), 77))).toBe(6);
    expect(engine.liveSequences).toBe(1);
  });

  test('keeps several conversations, and goes on with the right one', async () => {
    const { engine, use, ids } = pool(2000);
    await use(ids(300, 0));
    await use(ids(400, 1000)); // shares nothing: the first is worth keeping
    expect(engine.liveSequences).toBe(2);
    expect(await use(Int32Array.of(...ids(300, 0), 7))).toBe(300);
    expect(await use(Int32Array.of(...ids(400, 1000), 7))).toBe(400);
  });

  test('holds its bound: the idle ones that were used longest ago go first', async () => {
    const { engine, pool: made, use, ids } = pool(1000);
    await use(ids(300, 0));
    await use(ids(300, 1000));
    await use(ids(300, 2000));
    expect(made.stats).toEqual({ sequences: 3, sizeBytes: 900_000 });
    await use(ids(300, 3000));
    expect(engine.liveSequences).toBe(3);
    expect(await use(Int32Array.of(...ids(300, 1000), 7))).toBe(300);
    expect(made.stats.sizeBytes).toBeLessThanOrEqual(1_000_000);
    expect(await use(ids(300, 0))).toBe(0); // gone
  });

  test('reserves what a generation may come to hold, and gives nothing away that others may need', () => {
    const { pool: made, ids } = pool(1000);
    const first = made.acquire(ids(10), [], 600)!;
    expect(made.acquire(ids(10), [], 600)).toBeUndefined();
    const second = made.acquire(ids(10), [], 400)!;
    expect(made.stats).toEqual({ sequences: 2, sizeBytes: 1_000_000 });
    first.release('keep');
    first.release('drop'); // once is enough
    second.release('keep');
    expect(made.acquire(ids(10), [], 600)).toBeDefined();
  });

  test('counts whole contexts where sequences take them at once', () => {
    const { pool: made, ids } = pool(3000, { capabilities: { reservesContext: true } });
    expect(made.acquire(ids(2), [], 5)).toBeDefined();
    expect(made.acquire(ids(2), [], 5)).toBeUndefined();
  });

  test('refuses what does not fit even alone, before anything runs; by default a whole context fits', () => {
    const small = pool(100);
    const refused = { code: 'ERR_LIMIT_EXCEEDED', details: { maxBytes: 100_000, neededBytes: 101_000, tokens: 101 } };
    expect(() => small.pool.check(101)).toThrow(expect.objectContaining(refused));
    small.pool.check(100);
    expect(small.engine.liveSequences).toBe(0);
    pool(undefined, { contextLength: 2 ** 24 }).pool.check(2 ** 24);
  });

  test('keeps an aborted sequence in step with its tokens, and drops one that nobody trusts', async () => {
    const { engine, pool: made, ids, use } = pool(1000);
    const lease = made.acquire(ids(5), [], 100)!;
    await lease.sequence.forward(ids(5), { images: [], logits: 'last' });
    lease.append(ids(3)); // two tokens entered and were never told
    lease.release('keep');
    expect(await use(ids(5))).toBe(3);
    made.acquire(ids(5), [], 100)!.release('drop');
    expect(engine.liveSequences).toBe(0);
  });

  test('makes do with what there is when the engine has no memory for one more', () => {
    const { engine, pool: made, ids } = pool(1000);
    const create = engine.createSequence.bind(engine);
    engine.createSequence = () => {
      if (engine.liveSequences > 0) throw new SdkError('ERR_ENGINE_OUT_OF_MEMORY', 'full');
      return create();
    };
    const first = made.acquire(ids(300), [], 300)!;
    expect(made.acquire(ids(10), [], 10)).toBeUndefined();
    first.release('drop');
    expect(made.acquire(ids(10), [], 10)).toBeDefined();
  });
});
