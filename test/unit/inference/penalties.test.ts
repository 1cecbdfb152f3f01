import { describe, expect, test } from 'vitest';
import type { DraftSource } from '#sdk/inference/drafting/index.js';
import { hasPenalties, Penalties, type PenaltyOptions, penaltyStretch } from '#sdk/inference/penalties.js';
import type { TokenMask } from '#sdk/inference/token-mask.js';
import { loadTokenizer } from '#sdk/text/tokenizer.js';
import { FakeEngine } from '../../support/engine.js';
import { runGeneration } from '../../support/generation.js';
import { greedy } from '../../support/model.js';
import { writeTokenizerFolder } from '../../support/tiny-tokenizer.js';

const NONE: PenaltyOptions = { repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, noRepeatNgramSize: 0 };

/** A row after `prompt` and `answer`. */
function rowAfter(
  options: Partial<PenaltyOptions>,
  prompt: number[],
  answer: number[],
  row: number[],
  mask?: TokenMask,
) {
  const penalties = new Penalties({ ...NONE, ...options }, prompt, mask);
  for (const id of answer) penalties.accept(id);
  const logits = Float32Array.from(row);
  penalties.apply(logits);
  return Array.from(logits);
}
const OFF = Number.NEGATIVE_INFINITY;

describe('penalties', () => {
  test('of repetition divide what is positive and multiply what is negative, once a token, prompt included', () => {
    expect(rowAfter({ repetitionPenalty: 2 }, [0, 0, 9], [1], [4, -4, 3, -3, 0])).toEqual([2, -8, 3, -3, 0]);
  });

  test('of presence and frequency look at the answer alone', () => {
    expect(rowAfter({ presencePenalty: 0.5 }, [0], [1, 1, 2], [1, 1, 1, 1])).toEqual([1, 0.5, 0.5, 1]);
    expect(rowAfter({ frequencyPenalty: 0.5 }, [0], [1, 1, 2], [1, 1, 1, 1])).toEqual([1, 0, 0.5, 1]);
    expect(rowAfter({ presencePenalty: -1, frequencyPenalty: 1 }, [], [2], [0, 0, 0])).toEqual([0, 0, 0]);
  });

  test('forbid what would complete a sequence of n tokens that was there, across prompt and answer', () => {
    expect(rowAfter({ noRepeatNgramSize: 3 }, [0, 1, 2, 0], [1], [1, 1, 1, 1])).toEqual([1, 1, OFF, 1]);
    expect(rowAfter({ noRepeatNgramSize: 2 }, [0, 1, 0, 2], [0], [1, 1, 1, 1])).toEqual([1, OFF, OFF, 1]);
    expect(rowAfter({ noRepeatNgramSize: 2 }, [], [1, 1], [1, 1])).toEqual([1, OFF]);
    expect(rowAfter({ noRepeatNgramSize: 1 }, [3], [1], [1, 1, 1, 1])).toEqual([1, OFF, 1, OFF]);
    expect(rowAfter({ noRepeatNgramSize: 3 }, [0], [1], [1, 1, 1])).toEqual([1, 1, 1]);
  });

  test('leave a grammar the tokens without which nothing would be allowed', () => {
    const only = (allowed: number[]): TokenMask => ({
      apply: (logits) => {
        for (const id of logits.keys()) if (!allowed.includes(id)) logits[id] = OFF;
      },
      accept: () => {},
    });
    expect(rowAfter({ noRepeatNgramSize: 1 }, [], [0, 1], [5, 4, 3], only([0, 1]))).toEqual([5, 4, OFF]);
    expect(rowAfter({ noRepeatNgramSize: 1 }, [], [0], [5, 4, 3], only([0, 1]))).toEqual([OFF, 4, OFF]);
  });

  test('are known to be off', () => {
    expect(hasPenalties(NONE)).toBe(false);
    for (const [name, value] of Object.entries({ ...NONE, repetitionPenalty: 1.1, presencePenalty: 1 })) {
      if (value !== NONE[name as keyof PenaltyOptions]) expect(hasPenalties({ ...NONE, [name]: value })).toBe(true);
    }
    expect(penaltyStretch({ ...NONE, repetitionPenalty: 0.5 })).toBe(2);
    expect(penaltyStretch({ ...NONE, repetitionPenalty: 1.25 })).toBe(1.25);
  });
});

describe('a generation with penalties', () => {
  /** Random logits of few tokens that depend on the last one, so that plain decoding soon goes round in a circle. */
  const row = (tokens: readonly number[]) => {
    let state = (tokens.at(-1)! * 31) | 0;
    return Float32Array.from({ length: 1024 }, (_, id) => {
      state = Math.imul(state ^ (id + 0x9e37), 0x85ebca6b);
      state ^= state >>> 13;
      return id < 116 && id > 100 ? ((state >>> 0) / 2 ** 32) * 8 - 4 : -50;
    });
  };
  const generate = async (options: PenaltyOptions, draft?: (written: readonly number[]) => readonly number[]) => {
    const tokenizer = await loadTokenizer(await writeTokenizerFolder());
    const engine = new FakeEngine(row);
    const written: number[] = [];
    const source: DraftSource | undefined = draft && {
      accept: (id) => void written.push(id),
      propose: (most) => draft(written).slice(0, most),
      observe: () => {},
    };
    const prompt = Int32Array.of(201, 202, 203);
    const chosen: number[] = [];
    const mask = new Penalties(options, prompt, { apply: () => {}, accept: (id) => void chosen.push(id) });
    const output = await runGeneration({
      sequence: engine.createSequence(),
      tokens: prompt,
      images: [],
      tokenizer,
      sample: greedy,
      mask,
      stopIds: new Set<number>(),
      stopStrings: [],
      maxNewTokens: 40,
      signal: new AbortController().signal,
      onText: () => {},
      onForward: () => {},
      drafts: source && { source, closeCallMargin: 0 },
    });
    return { chosen, output };
  };

  test.each([
    { ...NONE, repetitionPenalty: 1.3 },
    { ...NONE, presencePenalty: 0.7, frequencyPenalty: 0.4 },
    { ...NONE, noRepeatNgramSize: 2 },
    { repetitionPenalty: 1.1, presencePenalty: 0.2, frequencyPenalty: 0.1, noRepeatNgramSize: 3 },
  ])('writes the same with drafts as without, right ones and wrong ones: %o', async (options) => {
    const plain = await generate(options);
    expect(plain.chosen).toHaveLength(40);
    expect(plain.chosen).not.toEqual((await generate(NONE)).chosen);
    const right = (written: readonly number[]) => plain.chosen.slice(written.length, written.length + 7);
    const half = (written: readonly number[]) => right(written).map((id, i) => (i === 2 ? 115 : id));
    const unpenalised = (await generate(NONE)).chosen;
    const other = (written: readonly number[]) => unpenalised.slice(written.length, written.length + 7);
    for (const draft of [right, half, other]) {
      const drafted = await generate(options, draft);
      expect(drafted.chosen).toEqual(plain.chosen);
      expect(drafted.output.text).toBe(plain.output.text);
      expect(drafted.output.draftedTokens).toBeGreaterThan(0);
    }
    expect((await generate(options, right)).output.engineCalls).toBeLessThan(10);
  });
});
