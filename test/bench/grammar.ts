/**
 * What an answer's schema costs at a vocabulary of 128 256 tokens (made up, of the published one's make): compiling,
 * and for each token the mask and the step to the next. Answers are written from random logits.
 */
import { z } from 'zod';
import { createRandom } from '#sdk/core/random.js';
import { answerSchema } from '#sdk/grammar/answer-schema.js';
import { compileApart } from '#sdk/grammar/compile-apart.js';
import { AnswerMatcher } from '#sdk/grammar/matcher/answer-matcher.js';
import { Partitions } from '#sdk/grammar/matcher/partition.js';
import { TokenGrammar } from '#sdk/grammar/matcher/token-grammar.js';
import { TokenTrie } from '#sdk/grammar/matcher/token-trie.js';
import { compileGrammar } from '#sdk/grammar/rules.js';
import { syntheticVocabulary } from '../support/vocabularies.js';
import { median } from './median.js';

const VOCABULARY = 128_256;
/** Decode step of the 8b shape: the best seen of the cpu engine, see NOTES.md. */
const STEP_MS = 70;

const objects = z.object({
  objects: z
    .array(
      z.object({
        label: z.string().max(40),
        box: z.array(z.int().min(0).max(99)).length(4),
        score: z.number().min(0).max(1),
      }),
    )
    .max(8),
});

const tree = z.object({
  name: z.string().max(20),
  get children() {
    return z.array(tree).max(3).optional();
  },
});

const SCHEMAS: Readonly<Record<string, z.ZodType>> = {
  'yes or no': z.boolean(),
  'one of five words': z.enum(['left', 'right', 'ahead', 'behind', 'nowhere']),
  'a number from 0 to 1': z.number().min(0).max(1),
  'objects with boxes': objects,
  'a free text': z.object({ text: z.string() }),
  'ten optional properties': z.object(
    Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`key_${i}`, z.int().optional()])),
  ),
  'a union of four commands': z.discriminatedUnion('do', [
    z.object({ do: z.literal('go'), x: z.number(), y: z.number() }),
    z.object({ do: z.literal('say'), text: z.string().max(200) }),
    z.object({ do: z.literal('grasp'), label: z.string().max(40), force: z.number().min(0).max(10) }),
    z.object({ do: z.literal('stop') }),
  ]),
  'a pattern and a date': z.object({
    plate: z.string().regex(/^[A-Z]{1,3}-[A-Z]{1,2} \d{1,4}$/),
    seen: z.iso.datetime(),
  }),
  'a record of numbers': z.record(z.string().max(12), z.number()),
  recursion: tree,
};

export interface GrammarResult {
  readonly schema: string;
  readonly compileMs: number;
  readonly compileApartMs: number;
  /** Compiled and the mask of the first token there. */
  readonly readyMs: number;
  readonly tokens: number;
  /**
   * Mask and step of one token, milliseconds of processor time (other work on the machine does not count): of the first
   * answer, when nothing is kept yet, and of later ones.
   */
  readonly firstMeanMs: number;
  readonly firstWorstMs: number;
  readonly medianMs: number;
  readonly meanMs: number;
  readonly worstMs: number;
  /** Mean of all, of a decode step. */
  readonly share: number;
}

export interface GrammarBench {
  readonly vocabulary: number;
  readonly trieMs: number;
  readonly stepMs: number;
  readonly results: readonly GrammarResult[];
}

/** @param rounds answers under each schema after the first */
export async function benchGrammar(rounds: number): Promise<GrammarBench> {
  const vocabulary = syntheticVocabulary(VOCABULARY);
  const [trie, trieMs] = timed(() => new TokenTrie(vocabulary));
  console.log(`tree of ${VOCABULARY} tokens: ${trieMs.toFixed(0)} ms`);
  console.log(
    'schema | compile ms | apart ms | with first mask ms | first answer: mean, worst ms | later: median, mean, worst ms | of a step',
  );
  const results: GrammarResult[] = [];
  for (const [name, zod] of Object.entries(SCHEMAS)) {
    const { jsonSchema: schema, lengthUnit } = answerSchema(zod);
    // Each with nothing kept from the others.
    const partitions = new Partitions(trie);
    const [compiled, compileMs] = timed(() => compileGrammar(schema, lengthUnit));
    const [grammar, startMs] = timed(() => {
      const made = new TokenGrammar(compiled, trie, partitions);
      made.maskOf(made.start);
      return made;
    });
    const apartStart = performance.now();
    await compileApart({ schema, lengthUnit });
    const compileApartMs = performance.now() - apartStart;
    const first = writeAnswer(grammar, vocabulary.endIds, 0);
    const later = Array.from({ length: rounds }, (_, i) => writeAnswer(grammar, vocabulary.endIds, i + 1)).flat();
    const result: GrammarResult = {
      schema: name,
      compileMs,
      compileApartMs,
      readyMs: compileMs + startMs,
      tokens: first.length + later.length,
      firstMeanMs: mean(first),
      firstWorstMs: Math.max(...first),
      medianMs: median(later),
      meanMs: mean(later),
      worstMs: Math.max(...later),
      share: mean([...first, ...later]) / STEP_MS,
    };
    results.push(result);
    console.log(row(result));
  }
  return { vocabulary: VOCABULARY, trieMs, stepMs: STEP_MS, results };
}

/** @returns milliseconds of each token, without its choice */
function writeAnswer(grammar: TokenGrammar, endIds: readonly number[], seed: number): number[] {
  const random = createRandom(seed);
  const matcher = new AnswerMatcher(grammar, endIds);
  const logits = new Float32Array(VOCABULARY);
  const closing = [...endIds, ...Buffer.from('"}],:Z0123456789')];
  const times: number[] = [];
  for (let tokens = 0; tokens < 400; tokens++) {
    logits.fill(0);
    const start = process.cpuUsage();
    matcher.apply(logits);
    const maskMs = processorMs(start);
    const favourites = random() < 0.4 + tokens / 200 ? closing.filter((id) => logits[id] === 0) : [];
    let id =
      favourites.length > 0 ? favourites[Math.floor(random() * favourites.length)]! : Math.floor(random() * VOCABULARY);
    while (logits[id] !== 0) id = (id + 1) % VOCABULARY;
    const acceptStart = process.cpuUsage();
    matcher.accept(id);
    times.push(maskMs + processorMs(acceptStart));
    if (endIds.includes(id)) break;
  }
  return times;
}

function processorMs(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

function timed<T>(run: () => T): [T, number] {
  const start = performance.now();
  const result = run();
  return [result, performance.now() - start];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function row(result: GrammarResult): string {
  const ms = (value: number) => value.toFixed(2);
  return [
    result.schema,
    result.compileMs.toFixed(0),
    result.compileApartMs.toFixed(0),
    result.readyMs.toFixed(0),
    `${ms(result.firstMeanMs)}, ${ms(result.firstWorstMs)}`,
    `${ms(result.medianMs)}, ${ms(result.meanMs)}, ${ms(result.worstMs)}`,
    `${(result.share * 100).toFixed(2)} %`,
  ].join(' | ');
}
