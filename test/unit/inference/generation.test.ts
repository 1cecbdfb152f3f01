import { describe, expect, test } from 'vitest';
import type { TokenMask } from '#sdk/inference/token-mask.js';
import { loadTokenizer } from '#sdk/text/tokenizer.js';
import { FakeEngine } from '../../support/engine.js';
import { type RunInput, runGeneration } from '../../support/generation.js';
import { greedy } from '../../support/model.js';
import { writeTokenizerFolder } from '../../support/tiny-tokenizer.js';

async function run(change: (defaults: RunInput) => Partial<RunInput>) {
  const tokenizer = await loadTokenizer(await writeTokenizerFolder());
  const [a] = tokenizer.encodeText('a');
  const engine = new FakeEngine(() => a!);
  const defaults: RunInput = {
    sequence: engine.createSequence(),
    tokens: Int32Array.of(1, 2, 3),
    images: [],
    tokenizer,
    sample: greedy,
    stopIds: new Set([tokenizer.specialTokenId('<|eot_id|>')!]),
    stopStrings: [],
    maxNewTokens: 4,
    signal: new AbortController().signal,
    onText: () => {},
    onForward: () => {},
  };
  return { output: await runGeneration({ ...defaults, ...change(defaults) }), engine, tokenizer };
}

describe('runGeneration', () => {
  test('lets a mask decide what may come, without changing the probabilities that are reported', async () => {
    const accepted: number[] = [];
    let allowed = 0;
    const mask: TokenMask = {
      apply: (logits) => {
        const only = logits[allowed]!;
        logits.fill(Number.NEGATIVE_INFINITY);
        logits[allowed] = only;
      },
      accept: (id) => void accepted.push(id),
    };
    const { output, tokenizer } = await run(({ tokenizer }) => {
      allowed = tokenizer.encodeText('b')[0]!;
      return { mask };
    });
    expect(output.text).toBe('bbbb');
    expect(accepted).toEqual(Array.from({ length: 4 }, () => tokenizer.encodeText('b')[0]));
    // `b` was 8 below `a` before the mask.
    const expected = -8 - Math.log(1 + 1023 * Math.exp(-8));
    for (const { logProbability } of output.tokens) expect(logProbability).toBeCloseTo(expected, 5);
  });

  test('keeps the likeliest tokens of every place, in order, where they are wanted', async () => {
    const { output, tokenizer } = await run(() => ({ likeliest: 2 }));
    const [a] = tokenizer.encodeText('a');
    for (const { id, logProbability, likeliest } of output.tokens) {
      expect(likeliest).toHaveLength(2);
      expect(likeliest[0]).toEqual({ id, logProbability });
      expect(likeliest[0]?.id).toBe(a);
      expect(likeliest[1]!.logProbability).toBeCloseTo(logProbability - 8, 5);
    }
    const { output: without } = await run(() => ({}));
    expect(without.tokens[0]?.likeliest).toEqual([]);
  });

  test('tells where in the text each token wrote, and every token that entered the sequence', async () => {
    const forwarded: number[] = [];
    const { output, engine } = await run(() => ({ onForward: (tokens) => void forwarded.push(...tokens) }));
    expect(output.tokens.map(({ start, end }) => [start, end])).toEqual([
      [0, 1],
      [1, 2],
      [2, 3],
      [3, 4],
    ]);
    expect(forwarded).toEqual(engine.forwards.flatMap(({ tokens }) => tokens));
    expect(forwarded).toHaveLength(3 + 3); // the last token was not forwarded: nothing follows it
  });
});
