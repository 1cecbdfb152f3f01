import { describe, expect, test } from 'vitest';
import type { DraftSource } from '#sdk/inference/drafting/index.js';
import type { GenerationOutput } from '#sdk/inference/generation.js';
import type { TokenMask } from '#sdk/inference/token-mask.js';
import { loadTokenizer, type Tokenizer } from '#sdk/text/tokenizer.js';
import { FakeEngine, type FakeEngineInfo, type NextToken } from '../../support/engine.js';
import { type RunInput, runGeneration } from '../../support/generation.js';
import { createFakeModel, greedy, plainImage } from '../../support/model.js';
import { writeTokenizerFolder } from '../../support/tiny-tokenizer.js';

const PROMPT = [1, 2, 3];

interface Run {
  readonly output: GenerationOutput;
  readonly engine: FakeEngine;
  /** Text as it was shown. */
  readonly shown: readonly string[];
  /** Tokens that are in the sequence, as told. */
  readonly entered: readonly number[];
  readonly sequenceLength: number;
  readonly observed: readonly number[];
}

interface Setting {
  readonly writes: readonly number[] | NextToken;
  /** What is drafted when `written` tokens have been chosen; undefined: plain decoding. */
  readonly draft?: (written: readonly number[], most: number) => readonly number[];
  readonly closeCallMargin?: number;
  readonly input?: Partial<RunInput>;
  readonly engine?: (engine: FakeEngine) => void;
}

let shared: Tokenizer | undefined;
async function tiny() {
  shared ??= await loadTokenizer(await writeTokenizerFolder());
  const stop = shared.specialTokenId('<|eot_id|>')!;
  return { tokenizer: shared, stop, ids: (text: string) => Array.from(shared!.encodeText(text)) };
}

async function run({ writes, draft, closeCallMargin = 0, input, engine: change }: Setting): Promise<Run> {
  const { tokenizer, stop } = await tiny();
  const next: NextToken =
    typeof writes === 'function' ? writes : (tokens) => writes[tokens.length - PROMPT.length] ?? stop;
  const engine = new FakeEngine(next);
  change?.(engine);
  const sequence = engine.createSequence();
  const written: number[] = [];
  const shown: string[] = [];
  const entered: number[] = [];
  const observed: number[] = [];
  const source: DraftSource | undefined = draft && {
    accept: (id) => void written.push(id),
    propose: (most) => draft(written, most).slice(0, most),
    observe: (rows) => void observed.push(rows),
  };
  const output = await runGeneration({
    sequence,
    tokens: Int32Array.from(PROMPT),
    images: [],
    tokenizer,
    sample: greedy,
    stopIds: new Set([stop]),
    stopStrings: [],
    maxNewTokens: 100,
    signal: new AbortController().signal,
    onText: (text) => void shown.push(text),
    onForward: (tokens) => void entered.push(...tokens),
    drafts: source && { source, closeCallMargin },
    ...input,
  });
  return { output, engine, shown, entered, sequenceLength: sequence.length, observed };
}

/** Everything that must not depend on drafts. */
const essence = ({ output, shown, entered, sequenceLength }: Run) => {
  const { text, finishReason, tokens, generatedTokens } = output;
  return { text, finishReason, tokens, generatedTokens, shown, entered, sequenceLength };
};

/** The rest of `ids` as it will be written. */
const oracle = (ids: readonly number[]) => (written: readonly number[]) => ids.slice(written.length);

describe('drafted generation', () => {
  test('takes a right draft with one call, and one more token from its last row', async () => {
    const { ids } = await tiny();
    const writes = ids('abcdefgh');
    const plain = await run({ writes });
    const drafted = await run({ writes, draft: (written) => oracle(writes)(written).slice(0, 3) });
    expect(essence(drafted)).toEqual(essence(plain));
    const calls = drafted.engine.forwards.map(({ tokens, pastLength }) => [pastLength, tokens.length]);
    expect(calls).toEqual([
      [0, 3], // the prompt gives a
      [3, 4], // a with bcd drafted gives bcd and e
      [7, 4], // e with fgh gives fgh and the stop token
    ]);
    expect(drafted.output).toMatchObject({ engineCalls: 3, draftedTokens: 6, acceptedTokens: 6 });
    expect(drafted.observed).toEqual([4, 4]);
    expect(plain.output).toMatchObject({ engineCalls: 9, draftedTokens: 0, acceptedTokens: 0 });
  });

  test('takes the right beginning of a wrong draft, and forgets the rest', async () => {
    const { ids } = await tiny();
    const writes = ids('abcdefgh');
    const plain = await run({ writes });
    const drafted = await run({ writes, draft: (written) => (written.length === 1 ? ids('bcXX') : []) });
    expect(essence(drafted)).toEqual(essence(plain));
    expect(drafted.engine.forwards.slice(1, 4)).toMatchObject([
      { pastLength: 3, tokens: ids('abcXX') },
      { pastLength: 6, tokens: ids('d') }, // after abc; d came from the row of c
      { pastLength: 7, tokens: ids('e') },
    ]);
    expect(drafted.output).toMatchObject({ draftedTokens: 4, acceptedTokens: 2 });
    expect(drafted.output.engineCalls).toBe(plain.output.engineCalls - 2);
  });

  test('is what plain generation is, whatever is drafted', async () => {
    const { ids, stop } = await tiny();
    const writes = ids('the cup is red, the cup is the cup 😀 {"label":"cup","box":[10,11]} é end');
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed % below;
    };
    const limits: Partial<RunInput>[] = [
      {},
      ...[1, 2, 3, 5, 9, 20].map((maxNewTokens) => ({ maxNewTokens })),
      { stopStrings: ['label'] },
      { stopStrings: ['d, the', 'zzz'] },
      { stopStrings: ['é end!'] },
    ];
    for (const input of limits) {
      const plain = await run({ writes, input });
      for (let round = 0; round < 30; round++) {
        const draft = (written: readonly number[]) =>
          Array.from({ length: random(9) }, (_, i) => {
            const right = writes[written.length + i] ?? stop;
            return random(5) === 0 ? random(1024) : right;
          });
        const drafted = await run({ writes, draft, input });
        expect(essence(drafted)).toEqual(essence(plain));
        expect(drafted.output.acceptedTokens).toBeLessThanOrEqual(drafted.output.draftedTokens);
        const saved = plain.output.engineCalls - drafted.output.engineCalls;
        const atTheEnd = input.stopStrings === undefined ? 0 : 1; // an accepted token may end the text
        expect(saved).toBeLessThanOrEqual(drafted.output.acceptedTokens);
        expect(saved).toBeGreaterThanOrEqual(drafted.output.acceptedTokens - atTheEnd);
      }
    }
  });

  test('asks for no more than may still be written', async () => {
    const { ids } = await tiny();
    const asked: number[] = [];
    const writes = ids('abcdefgh');
    const drafted = await run({
      writes,
      draft: (written, most) => {
        asked.push(most);
        return oracle(writes)(written);
      },
      input: { maxNewTokens: 4 },
    });
    expect(asked).toEqual([2]); // a is written; bc drafted, d comes from the last row
    expect(drafted.output).toMatchObject({ text: 'abcd', finishReason: 'length', engineCalls: 2 });
  });

  test('applies a mask row by row: what it forbids is not taken, though it was drafted and likeliest', async () => {
    const { ids } = await tiny();
    const [a, b] = ids('ab') as [number, number];
    const makeMask = () => {
      const accepted: number[] = [];
      const mask: TokenMask = {
        // Never three in a row.
        apply: (logits) => {
          const last = accepted.at(-1);
          if (last !== undefined && last === accepted.at(-2)) logits[last] = Number.NEGATIVE_INFINITY;
        },
        accept: (id) => void accepted.push(id),
      };
      return { mask, accepted };
    };
    const always = Float32Array.from({ length: 1024 }, (_, id) => (id === a ? 5 : id === b ? 3 : -4));
    const plainMask = makeMask();
    const plain = await run({ writes: () => always, input: { mask: plainMask.mask, maxNewTokens: 9 } });
    expect(plain.output.text).toBe('aabaabaab');
    for (const draft of [ids('aaaaaaa'), ids('abaabaaba'), ids('baabaaba'), ids('zz')]) {
      const { mask, accepted } = makeMask();
      const drafted = await run({ writes: () => always, draft: () => draft, input: { mask, maxNewTokens: 9 } });
      expect(essence(drafted)).toEqual(essence(plain));
      expect(accepted).toEqual(plainMask.accepted);
    }
  });

  test('can be aborted between two tokens of one draft', async () => {
    const { ids } = await tiny();
    const writes = ids('abcdefgh');
    const abort = new AbortController();
    const reason = new Error('enough');
    const shown: string[] = [];
    let engine: FakeEngine | undefined;
    const running = run({
      writes,
      draft: oracle(writes),
      engine: (made) => {
        engine = made;
      },
      input: {
        signal: abort.signal,
        onText: (text) => {
          shown.push(text);
          if (text === 'c') setImmediate(() => abort.abort(reason));
        },
      },
    });
    await expect(running).rejects.toBe(reason);
    expect(shown.join('')).toMatch(/^abcd?$/);
    expect(engine!.forwards).toHaveLength(2);
  });

  test('leaves a sequence without drafted tokens when the engine fails later', async () => {
    const { ids } = await tiny();
    const writes = ids('abcdefgh');
    const entered: number[] = [];
    let length = 0;
    const failing = run({
      writes,
      draft: (written) => (written.length === 1 ? ids('bXX') : []),
      engine: (engine) => {
        const create = engine.createSequence.bind(engine);
        engine.createSequence = () => {
          const sequence = create();
          const truncate = sequence.truncate.bind(sequence);
          sequence.truncate = (to) => {
            truncate(to);
            length = sequence.length;
          };
          return sequence;
        };
        engine.onForward = (call) => {
          if (call === 3) throw new Error('broken');
        };
      },
      input: { onForward: (tokens) => void entered.push(...tokens) },
    });
    await expect(failing).rejects.toThrow('broken');
    expect(entered).toEqual([...PROMPT, ...ids('ab')]);
    expect(length).toBe(entered.length);
  });

  describe('where the rows of several tokens differ from a row alone', () => {
    /** `a` and `b` are equal but for a last bit, which falls the other way among several rows. */
    const setting = async (draft: string): Promise<Setting> => {
      const { ids } = await tiny();
      const [a, b, c] = ids('abc') as [number, number, number];
      let engine: FakeEngine;
      return {
        engine: (made) => {
          engine = made;
        },
        writes: (tokens) => {
          const written = tokens.length - PROMPT.length;
          const among = engine.forwards.at(-1)!.tokens.length > 1 && written > 0;
          const logits = new Float32Array(1024).fill(-4);
          if (written % 3 === 2) logits.set([5 + (among ? -1e-4 : 1e-4), 5], a);
          else logits[c] = 5;
          expect(b).toBe(a + 1);
          return logits;
        },
        draft: (written) => ids(draft).slice(written.length),
        input: { maxNewTokens: 8 },
      };
    };

    test('decides close calls by a row alone', async () => {
      const { draft: _, ...plain } = await setting('');
      const expected = await run(plain);
      expect(expected.output.text).toBe('ccaccacc');
      for (const draft of ['ccaccacc', 'ccbccbcc', 'cccccccc']) {
        const drafted = await run({ ...(await setting(draft)), closeCallMargin: 1e-3 });
        expect(essence(drafted)).toEqual(essence(expected));
      }
    });

    test('trusts every row where the engine says they agree', async () => {
      const drafted = await run({ ...(await setting('ccbccbcc')), closeCallMargin: 0 });
      expect(drafted.output).toMatchObject({ text: 'ccbccbcc', engineCalls: 2 });
    });
  });
});

describe('a model that drafts', () => {
  const ask = async (options: object, engineInfo: FakeEngineInfo = {}) => {
    const { model, engine } = await createFakeModel({ writes: 'abcdefghijklmnopqrst', engineInfo });
    await using _ = model;
    await model.describe(plainImage(1), options);
    const calls = engine.forwards.length;
    const again = await model.describe(plainImage(2), options);
    return { answer: again, calls: engine.forwards.length - calls };
  };

  test('describes the next picture with fewer calls', async () => {
    const plain = await ask({ drafting: 'off' });
    const drafted = await ask({});
    expect(drafted.answer.text).toBe(plain.answer.text);
    expect(drafted.answer.usage.generatedTokens).toBe(plain.answer.usage.generatedTokens);
    expect(plain.answer.usage).toMatchObject({ draftedTokens: 0, acceptedTokens: 0 });
    expect(plain.calls).toBe(plain.answer.usage.generatedTokens);
    expect(drafted.calls).toBe(drafted.answer.timings.engineCalls);
    expect(drafted.calls).toBe(plain.calls - drafted.answer.usage.acceptedTokens);
    expect(drafted.answer.usage.acceptedTokens).toBeGreaterThan(0);
  });

  test('drafts nothing when sampling, even if the sampler happens to be greedy', async () => {
    const sampled = await ask({ temperature: 0.1 });
    expect(sampled.answer.usage.draftedTokens).toBe(0);
  });

  test('drafts nothing where rows of several tokens differ by more than last bits', async () => {
    const drafted = async (closeCallMargin: number | null) =>
      (await ask({}, { capabilities: { closeCallMargin } })).answer.usage.draftedTokens;
    expect(await drafted(null)).toBe(0);
    expect(await drafted(0)).toBeGreaterThan(0);
  });

  test('refuses another word for drafting', async () => {
    await expect(ask({ drafting: 'on' })).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
  });

  test('stays within the context, and keeps the prefix for the next turn', async () => {
    const letters = 'abcdefghijklmnopqrst';
    const { model, engine } = await createFakeModel({ writes: letters, engineInfo: { contextLength: 40 } });
    await using _ = model;
    const hello = { role: 'user', content: 'Hi' } as const;
    const first = await model.generate({ messages: [hello] }).collect();
    for (let i = 0; i < 3; i++) {
      const again = await model.generate({ messages: [hello] }).collect();
      expect(again.text).toBe(first.text);
      expect(again.finishReason).toBe(first.finishReason);
    }
    const short = await model.generate({ messages: [hello] }, { maxNewTokens: 5 }).collect();
    expect(short.text).toBe('abcde');
    const calls = engine.forwards.length;
    const turns = [hello, { role: 'assistant', content: 'abc' } as const, { role: 'user', content: 'x' } as const];
    const next = await model.generate({ messages: turns }).collect();
    expect(next.usage.reusedTokens).toBe(short.usage.promptTokens + 3);
    expect(engine.forwards[calls]!.pastLength).toBe(next.usage.reusedTokens);
  });
});
