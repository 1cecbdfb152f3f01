/** What every backend promises at the engine border (sdk/engine/engine.ts). Run it with `describeEngine`. */
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { isSdkError } from '#sdk/core/errors.js';
import type {
  Engine,
  HeadId,
  ImageState,
  PlacedImage,
  Sequence,
  Slice,
  SliceOptions,
  SliceResult,
} from '#sdk/engine/engine.js';
import type { OpenEngineOptions } from '#sdk/engine/options.js';
import { ARRANGEMENTS, maxDifference, syntheticImage } from '../support/tiny-images.js';

/** Opens an engine on a checkpoint of tiny-a's shape (test/fixtures/golden/README.md). */
export type OpenTinyEngine = (options: Pick<OpenEngineOptions, 'contextLength' | 'numerics'>) => Promise<Engine>;

export interface ContractOptions {
  /** Largest difference of logits between two ways to compute the same; default 1e-4. */
  readonly tolerance?: number;
}

const CONTEXT_LENGTH = 400;
const IMAGE = 512;
const BOS = 500;

export function describeEngine(name: string, open: OpenTinyEngine, { tolerance = 1e-4 }: ContractOptions = {}): void {
  describe(`engine contract: ${name}`, () => {
    const shared = new Map<string, Promise<Engine>>();
    afterAll(async () => {
      for (const engine of shared.values()) await (await engine)[Symbol.asyncDispose]();
    });
    /** Most tests share an engine, as callers do. */
    async function openOne(options: Parameters<OpenTinyEngine>[0] = {}): Promise<Engine> {
      const key = JSON.stringify(options);
      const engine = shared.get(key) ?? open({ contextLength: CONTEXT_LENGTH, ...options });
      shared.set(key, engine);
      return engine;
    }
    async function openOwn(): Promise<Engine> {
      const engine = await open({ contextLength: CONTEXT_LENGTH });
      onTestFinished(() => engine[Symbol.asyncDispose]());
      return engine;
    }
    const encode = (engine: Engine, kind: keyof typeof ARRANGEMENTS, seed: number) =>
      engine.encodeImage(syntheticImage(ARRANGEMENTS[kind], seed));
    const fresh = (engine: Engine, tokens: readonly number[], images: readonly PlacedImage[], logits: 'all' | 'last') =>
      engine.createSequence().forward(Int32Array.from(tokens), { images, logits });
    const same = (a: Float32Array, b: Float32Array) => expect(maxDifference(a, b)).toBeLessThan(tolerance);
    const row = (result: SliceResult, index: number) => {
      const columns = result.logits.length / result.logitsRows;
      return result.logits.subarray(index * columns, (index + 1) * columns);
    };
    async function inPieces(
      sequence: Sequence,
      tokens: readonly number[],
      images: readonly PlacedImage[],
      size: number,
    ) {
      const rows: Float32Array[] = [];
      for (let start = 0; start < tokens.length; start += size) {
        const piece = Int32Array.from(tokens.slice(start, start + size));
        const result = await sequence.forward(piece, { images, logits: 'all' });
        for (let r = 0; r < result.logitsRows; r++) rows.push(row(result, r));
      }
      return rows;
    }
    /** Two images with text between them, and text before the first. */
    const interleaved = [BOS, 81, 235, IMAGE, 470, 44, 7, IMAGE, 46, 190, 456, 78];
    async function interleavedImages(engine: Engine): Promise<PlacedImage[]> {
      return [
        { image: await encode(engine, 'single', 1), tokenIndex: 3 },
        { image: await encode(engine, 'tall', 2), tokenIndex: 7 },
      ];
    }

    test('says what it is', async () => {
      const { info } = await openOne();
      expect(info).toMatchObject({ numerics: 'meta', contextLength: CONTEXT_LENGTH, vocabularySize: 512 });
      expect(info.device).not.toBe('');
    });

    test('says what callers may build on', async () => {
      const { capabilities } = (await openOne()).info;
      expect(capabilities.batchedSlices).toBeGreaterThanOrEqual(1);
      expect(capabilities.sliceTokens).toBeGreaterThanOrEqual(1);
      expect(capabilities.keyValueBytesPerToken).toBeGreaterThan(0);
      // Guesses may be verified only where a prefix may be reused: a verified draft is one.
      if (capabilities.closeCallMargin !== null) {
        expect(capabilities.prefixReuse).toBe(true);
        // `tolerance` is the most that one token and many may differ in these tests.
        if (capabilities.closeCallMargin > 0) expect(capabilities.closeCallMargin).toBeGreaterThan(2 * tolerance);
      }
    });

    test.each(['meta', 'hf-4.45', 'hf-5'] as const)('prefill equals token by token (%s)', async (numerics) => {
      const engine = await openOne({ numerics });
      expect(engine.info.numerics).toBe(numerics);
      const images = await interleavedImages(engine);
      const whole = await fresh(engine, interleaved, images, 'all');
      expect(whole.logitsRows).toBe(interleaved.length);
      const single = await inPieces(engine.createSequence(), interleaved, images, 1);
      single.forEach((logits, index) => {
        same(logits, row(whole, index));
      });
    });

    test('images that are named only once they appear give the same', async () => {
      const engine = await openOne();
      const images = await interleavedImages(engine);
      const whole = await fresh(engine, interleaved, images, 'all');
      const sequence = engine.createSequence();
      for (const [index, token] of interleaved.entries()) {
        const soFar = images.filter(({ tokenIndex }) => tokenIndex <= index);
        const { logits } = await sequence.forward(Int32Array.of(token), { images: soFar, logits: 'last' });
        same(logits, row(whole, index));
      }
    });

    test('long prompts equal the same in pieces of any size', async () => {
      const engine = await openOne();
      const tokens = [BOS, IMAGE, ...Array.from({ length: 318 }, (_, i) => (i * 37 + 11) % 499)];
      const images = [{ image: await encode(engine, 'wide', 3), tokenIndex: 1 }];
      const whole = await fresh(engine, tokens, images, 'all');
      for (const size of [13, 100, 257]) {
        const pieces = await inPieces(engine.createSequence(), tokens, images, size);
        pieces.forEach((logits, index) => {
          same(logits, row(whole, index));
        });
      }
    });

    test("'last' is the last row of 'all'", async () => {
      const engine = await openOne();
      const images = await interleavedImages(engine);
      const all = await fresh(engine, interleaved, images, 'all');
      const last = await fresh(engine, interleaved, images, 'last');
      expect(last.logitsRows).toBe(1);
      expect(last.logits).toHaveLength(engine.info.vocabularySize);
      same(last.logits, row(all, all.logitsRows - 1));
    });

    test('a truncated sequence goes on like a fresh one', async () => {
      const engine = await openOne();
      const images = await interleavedImages(engine);
      const sequence = engine.createSequence();
      await sequence.forward(Int32Array.from([...interleaved, 1, 2, 3]), { images, logits: 'last' });
      sequence.truncate(9);
      expect(sequence.length).toBe(9);
      const rest = interleaved.slice(9);
      const { logits } = await sequence.forward(Int32Array.from(rest), { images, logits: 'last' });
      expect(sequence.length).toBe(interleaved.length);
      same(logits, (await fresh(engine, interleaved, images, 'last')).logits);

      sequence.truncate(0);
      const again = await sequence.forward(Int32Array.of(BOS, 5), { images: [], logits: 'last' });
      same(again.logits, (await fresh(engine, [BOS, 5], [], 'last')).logits);
    });

    test('truncating to what is not there is refused', async () => {
      const engine = await openOne();
      const sequence = engine.createSequence();
      await sequence.forward(Int32Array.of(BOS, 5), { images: [], logits: 'last' });
      for (const length of [3, -1, 0.5, Number.NaN]) {
        expect(() => sequence.truncate(length)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }));
      }
      expect(sequence.length).toBe(2);
    });

    test('text alone needs no image, and an image changes what follows it', async () => {
      const engine = await openOne();
      const text = await fresh(engine, [BOS, 81, 235, 9], [], 'all');
      const image = await encode(engine, 'square', 4);
      const seen = await fresh(engine, [BOS, 81, 235, IMAGE], [{ image, tokenIndex: 3 }], 'all');
      // Under `meta` rows before the image are those of text alone.
      for (const r of [0, 1, 2]) same(row(seen, r), row(text, r));
      const other = await encode(engine, 'square', 5);
      const seenOther = await fresh(engine, [BOS, 81, 235, IMAGE], [{ image: other, tokenIndex: 3 }], 'all');
      expect(maxDifference(row(seen, 3), row(seenOther, 3))).toBeGreaterThan(0.01);
    });

    test('images side by side are both seen by what follows', async () => {
      const engine = await openOne();
      const [a, b, c] = [
        await encode(engine, 'single', 6),
        await encode(engine, 'wide', 7),
        await encode(engine, 'wide', 8),
      ];
      const tokens = [BOS, IMAGE, IMAGE, 44, 7];
      const placed = (first: ImageState, second: ImageState) => [
        { image: first, tokenIndex: 1 },
        { image: second, tokenIndex: 2 },
      ];
      const ab = await fresh(engine, tokens, placed(a, b), 'last');
      const ac = await fresh(engine, tokens, placed(a, c), 'last');
      const cb = await fresh(engine, tokens, placed(c, b), 'last');
      expect(maxDifference(ab.logits, ac.logits)).toBeGreaterThan(0.01);
      expect(maxDifference(ab.logits, cb.logits)).toBeGreaterThan(0.01);
      // The same picture twice is one picture twice as heavy: no more than the picture alone.
      const twice = await fresh(engine, tokens, placed(b, b), 'all');
      const pieces = await inPieces(engine.createSequence(), tokens, placed(b, b), 2);
      pieces.forEach((logits, index) => {
        same(logits, row(twice, index));
      });
    });

    test('sequences share images and do not disturb each other', async () => {
      const engine = await openOne();
      const image = await encode(engine, 'wide', 9);
      const images = [{ image, tokenIndex: 1 }];
      const prompts = [
        [BOS, IMAGE, 10, 11],
        [BOS, IMAGE, 20, 21],
        [BOS, IMAGE, 30, 31],
      ];
      const alone: Float32Array[] = [];
      for (const prompt of prompts) alone.push((await fresh(engine, prompt, images, 'last')).logits);
      const sequences = prompts.map(() => engine.createSequence());
      const step = (part: (prompt: number[]) => number[]) =>
        Promise.all(
          sequences.map((sequence, i) =>
            sequence.forward(Int32Array.from(part(prompts[i]!)), { images, logits: 'last' }),
          ),
        );
      await step((prompt) => prompt.slice(0, 3));
      const ends = await step((prompt) => prompt.slice(3));
      ends.forEach(({ logits }, i) => {
        same(logits, alone[i]!);
      });
    });

    test('gives the same bits for the same calls', async () => {
      const engine = await openOne();
      const images = await interleavedImages(engine);
      const first = await fresh(engine, interleaved, images, 'all');
      const second = await fresh(engine, interleaved, images, 'all');
      expect(maxDifference(first.logits, second.logits)).toBe(0);
    });

    describe('a step', () => {
      /** Different lengths, pictures, logits; the first one long enough to be aborted. */
      async function fourSlices(engine: Engine, signal?: AbortSignal): Promise<Slice[]> {
        const tall = { image: await encode(engine, 'tall', 31), tokenIndex: 1 };
        const wide = { image: await encode(engine, 'wide', 32), tokenIndex: 0 };
        const many = Int32Array.from({ length: 380 }, (_, i) => i % 499);
        return [
          { tokens: many, images: [], logits: 'all', signal },
          { tokens: Int32Array.of(BOS, IMAGE, 9, 8, 7), images: [tall], logits: 'all' },
          { tokens: Int32Array.of(IMAGE, 40), images: [wide], logits: 'last' },
          { tokens: Int32Array.of(BOS), images: [], logits: 'last' },
        ].map((slice) => ({ sequence: engine.createSequence(), ...slice }) as Slice);
      }
      const fulfilled = (result: PromiseSettledResult<SliceResult> | undefined): SliceResult => {
        if (result?.status !== 'fulfilled') throw result?.reason ?? new Error('no result');
        return result.value;
      };
      /** Where slices are computed together, other kernels may take part. */
      const sameBits = (engine: Engine, a: Float32Array, b: Float32Array) => {
        const { batchedSlices, closeCallMargin } = engine.info.capabilities;
        const within = batchedSlices === 1 || closeCallMargin === 0 ? 0 : tolerance;
        expect(maxDifference(a, b)).toBeLessThanOrEqual(within);
      };

      test('of several slices gives what each gives alone', async () => {
        const engine = await openOne();
        const together = await engine.step(await fourSlices(engine));
        const alone = await fourSlices(engine);
        for (const [index, slice] of alone.entries()) {
          const found = fulfilled(together[index]);
          const expected = fulfilled((await engine.step([slice]))[0]);
          expect(found.logitsRows).toBe(expected.logitsRows);
          expect(found.logitsRows).toBe(slice.logits === 'all' ? slice.tokens.length : 1);
          sameBits(engine, found.logits, expected.logits);
          expect(slice.sequence.length).toBe(slice.tokens.length);
        }
        expect(await engine.step([])).toEqual([]);
      });

      test.each(['before', 'during'] as const)('goes on without a slice that is aborted %s it', async (when) => {
        const engine = await openOne();
        const abort = new AbortController();
        const reason = new Error('not this one');
        if (when === 'before') abort.abort(reason);
        const slices = await fourSlices(engine, abort.signal);
        const stepping = engine.step(slices);
        // By then the first slice computes, and nothing of it can have come back: the event loop has not turned.
        for (let turn = 0; turn < 50; turn++) await null;
        abort.abort(reason);
        const results = await stepping;
        expect(results[0]).toMatchObject({ status: 'rejected', reason });
        expect(slices.map(({ sequence }) => sequence.length)).toEqual([0, 5, 2, 1]);
        const expected = await engine.step((await fourSlices(engine)).filter((_, index) => index !== 0));
        const others = results.filter((_, index) => index !== 0);
        others.forEach((result, index) => {
          sameBits(engine, fulfilled(result).logits, fulfilled(expected[index]).logits);
        });
        // Its sequence is as it was.
        const { sequence } = slices[0]!;
        const again = await sequence.forward(Int32Array.of(BOS), { images: [], logits: 'last' });
        same(again.logits, fulfilled(results[3]).logits);
      });

      test('refuses one slice, not the others, and none for another engine', async () => {
        const [engine, other] = [await openOne(), await openOwn()];
        const [good, bad, twice, foreign] = await fourSlices(engine);
        const results = await engine.step([
          good!,
          { ...bad!, tokens: Int32Array.of(-1) },
          { ...twice!, sequence: good!.sequence, images: [] },
          { ...foreign!, sequence: other.createSequence() },
          { ...foreign!, attention: { heads: [{ layer: 1, head: 0 }], tokens: [0] } },
        ]);
        const codes = results.map((result) => (result.status === 'rejected' ? result.reason.code : 'fine'));
        const invalid = 'ERR_ARGUMENT_INVALID'; // the last one has no image to attend to
        expect(codes).toEqual(['fine', invalid, 'ERR_BUSY', invalid, invalid]);
        expect(good!.sequence.length).toBe(good!.tokens.length);
      });

      test('gives no logits where none are wanted, and appends all the same', async () => {
        const engine = await openOne();
        const images = await interleavedImages(engine);
        const [sequence, tokens] = [engine.createSequence(), Int32Array.from(interleaved)];
        const head = { sequence, tokens: tokens.subarray(0, 8), images, logits: 'none' } as const;
        expect(fulfilled((await engine.step([head]))[0])).toMatchObject({ logitsRows: 0, logits: { length: 0 } });
        expect(sequence.length).toBe(8);
        const rest = { sequence, tokens: tokens.subarray(8), images, logits: 'last' } as const;
        const { logits } = fulfilled((await engine.step([rest]))[0]);
        same(logits, (await fresh(engine, interleaved, images, 'last')).logits);
        const other = engine.createSequence();
        await other.forward(head.tokens, { images, logits: 'last' });
        sameBits(engine, logits, (await other.forward(rest.tokens, { images, logits: 'last' })).logits);
      });
    });

    describe('alternatives', () => {
      const LENGTHS = [1, 17, 3];
      const many = Int32Array.from({ length: 21 }, (_, i) => (i * 53 + 7) % 499);

      test('give what each gives alone and leave nothing, or are refused', async () => {
        const engine = await openOne();
        const images = await interleavedImages(engine);
        const [sequence, other] = [engine.createSequence(), engine.createSequence()];
        for (const each of [sequence, other])
          await each.forward(Int32Array.from(interleaved), { images, logits: 'none' });
        const asked = sequence.forward(many, { images, logits: 'all', branches: LENGTHS });
        if (engine.info.capabilities.branchTokens === 0) {
          await expect(asked).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
        } else {
          const found = await asked;
          expect(found.logitsRows).toBe(21);
          let begin = 0;
          for (const length of LENGTHS) {
            const alone = await other.forward(many.subarray(begin, begin + length), { images, logits: 'all' });
            for (let i = 0; i < length; i++) same(row(found, begin + i), row(alone, i));
            other.truncate(interleaved.length);
            begin += length;
          }
        }
        expect(sequence.length).toBe(interleaved.length);
        const next = await sequence.forward(Int32Array.of(9), { images, logits: 'last' });
        same(next.logits, (await other.forward(Int32Array.of(9), { images, logits: 'last' })).logits);
      });

      test('that cannot be are refused', async () => {
        const engine = await openOne();
        const images = await interleavedImages(engine);
        const { branchTokens } = engine.info.capabilities;
        const empty = engine.createSequence();
        const sequence = engine.createSequence();
        await sequence.forward(Int32Array.from(interleaved), { images, logits: 'none' });
        const all = { images, logits: 'all' } as const;
        const ask = (given: Sequence, tokens: number, options: SliceOptions) =>
          expect(given.forward(new Int32Array(tokens).fill(5), options)).rejects;
        const invalid = { code: 'ERR_ARGUMENT_INVALID' };
        await ask(empty, 2, { images: [], logits: 'all', branches: [1, 1] }).toMatchObject(invalid);
        for (const branches of [[], [1], [1, 2], [2, 0], [0.5, 1.5], [3, -1]])
          await ask(sequence, 2, { ...all, branches }).toMatchObject(invalid);
        await ask(sequence, 2, { images, logits: 'last', branches: [1, 1] }).toMatchObject(invalid);
        const later = [...images, { image: images[0]!.image, tokenIndex: interleaved.length }];
        await ask(sequence, 2, { images: later, logits: 'all', branches: [1, 1] }).toMatchObject(invalid);
        if (branchTokens === 0) return;
        await ask(sequence, branchTokens + 1, { ...all, branches: [branchTokens, 1] }).toMatchObject(invalid);
        const wide = Array.from({ length: CONTEXT_LENGTH / 16 }, () => 1);
        await ask(sequence, wide.length, { ...all, branches: wide }).toMatchObject({ code: 'ERR_CONTEXT_OVERFLOW' });
        expect(sequence.length).toBe(interleaved.length);
      });
    });

    describe('attention taps', () => {
      const HEADS: readonly HeadId[] = [1, 3].flatMap((layer) => [0, 1, 2, 3].map((head) => ({ layer, head })));
      const everyToken = (tokens: readonly number[]) => tokens.map((_, index) => index);
      /** `[visionTokens]` of a head and a token by their places in the request. */
      const mapOf = ({ attention }: SliceResult, tokens: number, head: number, token: number) => {
        const { weights, visionTokens } = attention!;
        const start = (head * tokens + token) * visionTokens;
        return weights.subarray(start, start + visionTokens);
      };
      const sum = (weights: Float32Array) => weights.reduce((total, weight) => total + weight, 0);

      test('give weights over what a token sees, and leave the logits as they are', async (context) => {
        const engine = await openOne();
        if (!engine.info.capabilities.attentionTaps) return context.skip();
        const images = await interleavedImages(engine);
        const tokens = Int32Array.from(interleaved);
        const attention = { heads: HEADS, tokens: everyToken(interleaved) };
        const tapped = await engine.createSequence().forward(tokens, { images, logits: 'all', attention });
        const plain = await fresh(engine, interleaved, images, 'all');
        expect(maxDifference(tapped.logits, plain.logits)).toBe(0);
        expect(plain.attention).toBeUndefined();
        // Tiles of 56 pixels with patches of 14: 17 vision tokens; one tile, then three.
        expect(tapped.attention!.visionTokens).toBe(17 + 3 * 17);
        for (const [h] of HEADS.entries()) {
          for (const token of attention.tokens) {
            const map = mapOf(tapped, interleaved.length, h, token);
            const [first, second] = [sum(map.subarray(0, 17)), sum(map.subarray(17))];
            expect(first).toBeCloseTo(token >= 3 && token < 7 ? 1 : 0, 4);
            expect(second).toBeCloseTo(token >= 7 ? 1 : 0, 4);
            expect(map.every((weight) => weight >= 0)).toBe(true);
          }
        }
      });

      test('are the same in pieces, in any order of heads, without logits, and behind a truncation', async (context) => {
        const engine = await openOne();
        if (!engine.info.capabilities.attentionTaps) return context.skip();
        const images = await interleavedImages(engine);
        const tokens = Int32Array.from(interleaved);
        const attention = { heads: HEADS, tokens: everyToken(interleaved) };
        const whole = await engine.createSequence().forward(tokens, { images, logits: 'last', attention });
        const sequence = engine.createSequence();
        await sequence.forward(Int32Array.of(BOS, 1, 2, 3, 4, 5, 6, 7), { images: [], logits: 'last' });
        sequence.truncate(0);
        await sequence.forward(tokens.subarray(0, 5), { images, logits: 'none' });
        const heads = HEADS.toReversed().slice(2);
        const rest = { heads, tokens: [0, 3, 6] };
        const piece = await sequence.forward(tokens.subarray(5), { images, logits: 'none', attention: rest });
        expect(piece.logitsRows).toBe(0);
        heads.forEach(({ layer, head }, h) => {
          const index = HEADS.findIndex((each) => each.layer === layer && each.head === head);
          rest.tokens.forEach((token, t) => {
            const expected = mapOf(whole, interleaved.length, index, token + 5);
            expect(maxDifference(mapOf(piece, 3, h, t), expected)).toBeLessThan(tolerance);
          });
        });
      });

      test('reach every token of a long slice, and run beside an aborted one', async (context) => {
        const engine = await openOne();
        if (!engine.info.capabilities.attentionTaps) return context.skip();
        const images = [{ image: await encode(engine, 'wide', 3), tokenIndex: 1 }];
        const tokens = Int32Array.from([BOS, IMAGE, ...Array.from({ length: 318 }, (_, i) => (i * 37 + 11) % 499)]);
        const attention = { heads: HEADS.slice(0, 2), tokens: [2, 200, 319] };
        const wanted = { images, logits: 'last', attention } as const;
        const abort = new AbortController();
        const stepping = engine.step([
          { sequence: engine.createSequence(), tokens, ...wanted, signal: abort.signal },
          { sequence: engine.createSequence(), tokens, ...wanted },
        ]);
        abort.abort(new Error('not this one'));
        const [gone, kept] = await stepping;
        expect(gone).toMatchObject({ status: 'rejected', reason: { message: 'not this one' } });
        const found = (kept as PromiseFulfilledResult<SliceResult>).value;
        const sequence = engine.createSequence();
        await sequence.forward(tokens.subarray(0, 319), { images, logits: 'none' });
        const one = { heads: attention.heads, tokens: [0] };
        const last = await sequence.forward(tokens.subarray(319), { images, logits: 'last', attention: one });
        for (const h of [0, 1]) {
          expect(sum(mapOf(found, 3, h, 1))).toBeCloseTo(1, 4);
          expect(maxDifference(mapOf(found, 3, h, 2), mapOf(last, 1, h, 0))).toBeLessThan(tolerance);
        }
      });

      test.each([
        ['heads that are not', { heads: [{ layer: 1, head: 4 }], tokens: [0] }],
        ['self-attention layers', { heads: [{ layer: 2, head: 0 }], tokens: [0] }],
        ['a head twice', { heads: [HEADS[0]!, HEADS[0]!], tokens: [0] }],
        ['no head', { heads: [], tokens: [0] }],
        ['no token', { heads: HEADS, tokens: [] }],
        ['tokens that are not', { heads: HEADS, tokens: [12] }],
        ['tokens out of order', { heads: HEADS, tokens: [2, 1] }],
      ])('are refused for %s', async (_, attention) => {
        const engine = await openOne();
        const images = await interleavedImages(engine);
        const sequence = engine.createSequence();
        const call = sequence.forward(Int32Array.from(interleaved), { images, logits: 'last', attention });
        await expect(call).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
        expect(sequence.length).toBe(0);
      });
    });

    test('leaves the arrays it is given as they are', async () => {
      const engine = await openOne();
      const picture = syntheticImage(ARRANGEMENTS.wide, 10);
      const pixels = picture.pixelValues.slice();
      const image = await engine.encodeImage(picture);
      const tokens = Int32Array.of(BOS, IMAGE, 3);
      await engine.createSequence().forward(tokens, { images: [{ image, tokenIndex: 1 }], logits: 'last' });
      expect(tokens).toEqual(Int32Array.of(BOS, IMAGE, 3));
      expect(maxDifference(picture.pixelValues, pixels)).toBe(0);
      expect(image.numTiles).toBe(2);
      expect(image.sizeBytes).toBeGreaterThan(0);
    });

    test('too many tokens are refused whole', async () => {
      const engine = await openOne({ contextLength: 8 });
      const sequence = engine.createSequence();
      await sequence.forward(Int32Array.of(BOS, 1, 2, 3, 4), { images: [], logits: 'last' });
      const tooMany = sequence.forward(Int32Array.of(5, 6, 7, 8), { images: [], logits: 'last' });
      await expect(tooMany).rejects.toMatchObject({ code: 'ERR_CONTEXT_OVERFLOW' });
      expect(sequence.length).toBe(5);
      const fits = await sequence.forward(Int32Array.of(5, 6, 7), { images: [], logits: 'last' });
      expect(sequence.length).toBe(8);
      same(fits.logits, (await fresh(engine, [BOS, 1, 2, 3, 4, 5, 6, 7], [], 'last')).logits);
    });

    test('wrong tokens, images and pixels are refused and change nothing', async () => {
      const engine = await openOne();
      const image = await encode(engine, 'single', 11);
      const sequence = engine.createSequence();
      await sequence.forward(Int32Array.of(BOS), { images: [], logits: 'last' });
      const at = (...indices: number[]) => indices.map((tokenIndex) => ({ image, tokenIndex }));
      for (const [tokens, images] of [
        [[], []],
        [[520], []],
        [[-1], []],
        [[IMAGE, IMAGE], at(2, 1)],
        [[IMAGE], at(1, 1)],
        [[IMAGE], at(-1)],
      ] as const) {
        const refused = sequence.forward(Int32Array.from(tokens), { images, logits: 'last' });
        await expect(refused).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
      }
      expect(sequence.length).toBe(1);
      const picture = syntheticImage(ARRANGEMENTS.single, 1);
      for (const wrong of [
        { ...picture, pixelValues: new Float32Array(5) },
        { ...picture, aspectRatioId: 9 },
        { ...picture, numTiles: 0 },
        { ...picture, numTiles: 5 },
      ]) {
        await expect(engine.encodeImage(wrong)).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
      }
    });

    test('images of another engine are refused', async () => {
      const [engine, other] = [await openOne(), await openOwn()];
      const images = [{ image: await encode(other, 'single', 12), tokenIndex: 0 }];
      await expect(fresh(engine, [IMAGE], images, 'last')).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
    });

    test('an aborted call rejects with the reason and leaves the length', async () => {
      const engine = await openOne();
      const images = await interleavedImages(engine);
      const sequence = engine.createSequence();
      await sequence.forward(Int32Array.from(interleaved), { images, logits: 'last' });

      const reason = new Error('no longer wanted');
      const early = sequence.forward(Int32Array.of(1), { images, logits: 'last', signal: AbortSignal.abort(reason) });
      await expect(early).rejects.toBe(reason);
      expect(sequence.length).toBe(interleaved.length);

      const controller = new AbortController();
      const many = Int32Array.from({ length: 380 }, (_, i) => i % 499);
      const running = sequence.forward(many, { images, logits: 'all', signal: controller.signal });
      // Not later: where the system holds this thread up for some milliseconds, the call is done.
      queueMicrotask(() => controller.abort(reason));
      await expect(running).rejects.toBe(reason);
      expect(sequence.length).toBe(interleaved.length);

      const next = await sequence.forward(Int32Array.of(42), { images, logits: 'last' });
      same(next.logits, (await fresh(engine, [...interleaved, 42], images, 'last')).logits);

      const encoding = engine.encodeImage(syntheticImage(ARRANGEMENTS.square, 13), {
        signal: AbortSignal.abort(reason),
      });
      await expect(encoding).rejects.toBe(reason);
    });

    test('an image disposed during a call serves that call, and no later one', async () => {
      const engine = await openOne();
      const image = await encode(engine, 'wide', 14);
      const images = [{ image, tokenIndex: 1 }];
      const tokens = [BOS, IMAGE, 17, 18];
      const expected = await fresh(engine, tokens, images, 'last');
      const sequence = engine.createSequence();
      const running = sequence.forward(Int32Array.from(tokens), { images, logits: 'last' });
      image[Symbol.dispose]();
      image[Symbol.dispose]();
      same((await running).logits, expected.logits);
      const later = sequence.forward(Int32Array.of(19), { images, logits: 'last' });
      await expect(later).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
      expect(sequence.length).toBe(tokens.length);
    });

    test('disposed sequences and engines say so', async () => {
      const engine = await openOwn();
      const sequence = engine.createSequence();
      const other = engine.createSequence();
      await sequence.forward(Int32Array.of(BOS), { images: [], logits: 'last' });
      sequence[Symbol.dispose]();
      sequence[Symbol.dispose]();
      const disposed = { code: 'ERR_DISPOSED' };
      await expect(sequence.forward(Int32Array.of(1), { images: [], logits: 'last' })).rejects.toMatchObject(disposed);

      await Promise.all([engine[Symbol.asyncDispose](), engine[Symbol.asyncDispose]()]);
      await engine[Symbol.asyncDispose]();
      await expect(other.forward(Int32Array.of(1), { images: [], logits: 'last' })).rejects.toMatchObject(disposed);
      await expect(engine.encodeImage(syntheticImage(ARRANGEMENTS.single, 1))).rejects.toMatchObject(disposed);
      expect(() => engine.createSequence()).toThrow(expect.objectContaining(disposed));
    });

    test('closing during a call settles the call', async () => {
      const engine = await openOwn();
      const tokens = Int32Array.from({ length: 380 }, (_, i) => i % 499);
      const running = engine.createSequence().forward(tokens, { images: [], logits: 'last' });
      const outcome = running.then(
        ({ logitsRows }) => logitsRows === 1,
        (error) => isSdkError(error, 'ERR_DISPOSED'),
      );
      await engine[Symbol.asyncDispose]();
      expect(await outcome).toBe(true);
    });
  });
}
