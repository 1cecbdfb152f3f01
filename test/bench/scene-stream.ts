/**
 * A camera's feed: the demo model describes one frame of each second of the sample clip, with and without drafting in
 * turn (A/B/A/B), each time in a fresh model. Then the same texts are replayed with the times that the cpu engine takes for
 * 1 … 16 tokens at a published size, as `npm run bench -- decode verify --shape 8b` has measured them.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type Answer, type Frame, loadModel, openCamera } from 'scenebus';
import { Drafting } from '#sdk/inference/drafting/index.js';
import { packageRoot } from '#sdk/native/index.js';
import { loadTokenizer, type Tokenizer } from '#sdk/text/tokenizer.js';
import type { BandwidthProbe } from './bandwidth.js';
import type { Result } from './benchmarks.js';
import { median } from './median.js';

type DraftingOption = 'auto' | 'off';

interface Pass {
  readonly drafting: DraftingOption;
  readonly answers: readonly Answer[];
  /** All frames, from pixels to text. */
  readonly totalMs: number;
}

const root = packageRoot();
const checkpoint = path.join(root, 'examples', 'demo-model', 'checkpoint');
const directory = path.join(root, '.scenebus', 'bench');

export interface SceneStreamOptions {
  readonly backend: 'auto' | 'cpu' | 'onnx';
  readonly rounds: number;
  /** Default: a description. */
  readonly prompt?: string | undefined;
  /** At most, of the clip. */
  readonly seconds: number;
  /** Results of decoding and verifying; default: the newest of each shape. */
  readonly verify?: string | undefined;
  readonly probe: BandwidthProbe;
}

export interface SceneStreamResult {
  readonly frames: number;
  readonly differentTexts: number;
  /** Medians over the rounds, with drafting off and on. */
  readonly tokensPerSecond: Readonly<Record<DraftingOption, number>>;
  readonly frameMs: Readonly<Record<DraftingOption, number>>;
  readonly speedup: number;
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  readonly projections: readonly Projection[];
  readonly bandwidthGBs: number;
}

/** @throws Error when texts differ between passes */
export async function benchSceneStream(options: SceneStreamOptions): Promise<SceneStreamResult> {
  const { backend, rounds, prompt, seconds, verify, probe } = options;
  console.log('reading the clip at its own pace');
  const frames = await framesOfClip(seconds);
  console.log(`${frames.length} frames, one a second`);
  const passes: Pass[] = [];
  const bandwidths: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const drafting of ['off', 'auto'] as const) {
      bandwidths.push((await probe.measure()).bestGBs);
      const pass = await describeFrames(frames, backend, drafting, prompt);
      passes.push(pass);
      console.log(describePass(pass));
    }
  }
  const texts = new Set(passes.map(({ answers }) => JSON.stringify(answers.map(({ text }) => text))));
  if (texts.size !== 1) throw new Error('Expected the same texts from all passes, but they differ.');
  const { answers } = passes[0]!;
  const differentTexts = new Set(answers.map(({ text }) => text)).size;
  console.log(`identical texts in all passes: ${differentTexts} different ones`);
  const both = (of: (pass: Pass) => number) => {
    const medianOf = (drafting: DraftingOption) => median(passes.filter((pass) => pass.drafting === drafting).map(of));
    return { off: medianOf('off'), auto: medianOf('auto') };
  };
  const speed = both(tokensPerSecond);
  const frameMs = both(({ totalMs }) => totalMs / frames.length);
  const speedup = speed.auto / speed.off;
  console.log(
    `median: ${speed.off.toFixed(0)} tokens/s plain, ${speed.auto.toFixed(0)} drafted: ${speedup.toFixed(2)} x`,
  );
  console.log(
    `median for a frame, vision included: ${frameMs.off.toFixed(1)} ms plain, ${frameMs.auto.toFixed(1)} drafted`,
  );
  const usage = passes.at(-1)!.answers.map((answer) => answer.usage);
  return {
    frames: frames.length,
    differentTexts,
    tokensPerSecond: speed,
    frameMs,
    speedup,
    draftedTokens: sum(usage.map(({ draftedTokens }) => draftedTokens)),
    acceptedTokens: sum(usage.map(({ acceptedTokens }) => acceptedTokens)),
    projections: projectAll(answers, await loadTokenizer(checkpoint), verify),
    bandwidthGBs: median(bandwidths),
  };
}

/** The first frame of every second. */
/** One a second. */
export async function framesOfClip(seconds: number): Promise<Frame[]> {
  await using camera = await openCamera(path.join(root, 'examples', 'clips', 'tabletop.mp4'));
  const frames: Frame[] = [];
  for await (const frame of camera.frames()) {
    if (frames.length === seconds) break;
    if ((frame.mediaTimeMs ?? 0) >= frames.length * 1000) frames.push(frame);
  }
  return frames;
}

async function describeFrames(
  frames: readonly Frame[],
  backend: 'auto' | 'cpu' | 'onnx',
  drafting: DraftingOption,
  prompt: string | undefined,
): Promise<Pass> {
  await using model = await loadModel(checkpoint, { backend, cacheDirectory: directory });
  const options = { drafting, temperature: 0 };
  await model.ask(frames[0]!, 'How many objects are there?', { ...options, drafting: 'off' }); // warm
  const answers: Answer[] = [];
  const startedMs = performance.now();
  for (const frame of frames) {
    answers.push(prompt === undefined ? await model.describe(frame, options) : await model.ask(frame, prompt, options));
  }
  return { drafting, answers, totalMs: performance.now() - startedMs };
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** Tokens after each answer's first, by the time for them. */
function tokensPerSecond({ answers }: Pass): number {
  const tokens = sum(answers.map(({ usage }) => usage.generatedTokens - 1));
  return (tokens * 1000) / sum(answers.map(({ timings }) => timings.decodeMs));
}

function describePass(pass: Pass): string {
  const count = (of: (answer: Answer) => number) => sum(pass.answers.map(of));
  const generated = count(({ usage }) => usage.generatedTokens);
  const calls = count(({ timings }) => timings.engineCalls);
  const [drafted, accepted] = [count(({ usage }) => usage.draftedTokens), count(({ usage }) => usage.acceptedTokens)];
  const rate = drafted === 0 ? '' : `, ${accepted} of ${drafted} drafted tokens accepted`;
  return `drafting ${pass.drafting.padEnd(4)} ${tokensPerSecond(pass).toFixed(0).padStart(5)} tokens/s   ${generated} tokens in ${calls} calls${rate}`;
}

/** Milliseconds of a call by its number of rows. */
type RowTimes = ReadonlyMap<number, number>;

export interface Projection {
  readonly shape: string;
  readonly contender: string;
  /** Results that the times are of. */
  readonly file: string;
  readonly speedup: number;
}

interface Measured {
  readonly file: string;
  readonly shape: string;
  /** Of each contender that was measured with enough numbers of rows. */
  readonly times: ReadonlyMap<string, RowTimes>;
}

function projectAll(answers: readonly Answer[], tokenizer: Tokenizer, file: string | undefined): Projection[] {
  const measured = file === undefined ? newestMeasured() : [readMeasured(file)];
  if (measured.every(({ times }) => times.size === 0)) {
    const where = file ?? directory;
    console.log(`no times of 1 and of 16 rows in ${where}: run \`npm run bench -- decode verify --shape 8b\` first`);
  }
  const ids = answers.map(({ text }) => [...tokenizer.encodeText(text)]);
  return measured.flatMap(({ file: from, shape, times: ofContenders }) =>
    [...ofContenders].map(([contender, times]) => {
      const { plainMs, draftedMs } = replay(ids, times);
      const rows = [...times].map(([count, ms]) => `${count}: ${ms.toFixed(0)}`).join(', ');
      const speedup = plainMs / draftedMs;
      console.log(
        `replayed with ${shape} on ${contender} (ms by rows ${rows}; ${path.basename(from)}): ${speedup.toFixed(2)} x`,
      );
      return { shape, contender, file: from, speedup };
    }),
  );
}

function readMeasured(file: string): Measured {
  const { shape, results } = JSON.parse(readFileSync(file, 'utf8')) as { shape: string; results: Result[] };
  const times = new Map<string, RowTimes>();
  for (const contender of new Set(results.map((result) => result.contender))) {
    const own = rowTimes(results.filter((result) => result.contender === contender));
    if (own !== undefined) times.set(contender, own);
  }
  return { file, shape, times };
}

/** Of each shape the newest file that tells enough. */
function newestMeasured(): Measured[] {
  if (!existsSync(directory)) return [];
  const newest = new Map<string, Measured>();
  for (const name of readdirSync(directory).sort()) {
    if (!/^results-\d+b-\d+\.json$/.test(name)) continue;
    const measured = readMeasured(path.join(directory, name));
    if (measured.times.size > 0) newest.set(measured.shape, measured);
  }
  return [...newest.values()];
}

function rowTimes(results: readonly Result[]): RowTimes | undefined {
  const times = new Map<number, number>();
  for (const { benchmark, medianMs } of results) {
    if (benchmark === 'decode, context 128') times.set(1, medianMs);
    const rows = /^verify (\d+) tokens$/.exec(benchmark)?.[1];
    if (rows !== undefined) times.set(Number(rows), medianMs);
  }
  return times.has(1) && times.has(16) ? new Map([...times].sort(([a], [b]) => a - b)) : undefined;
}

/** Decoding times of the texts on an engine that takes `times`, in the order of the clip, from what is drafted there. */
function replay(texts: readonly (readonly number[])[], times: RowTimes): { plainMs: number; draftedMs: number } {
  const drafting = new Drafting();
  let [plainMs, draftedMs] = [0, 0];
  for (const ids of texts) {
    const session = drafting.begin(Int32Array.of(0));
    let written = 0;
    const accept = () => session.accept(ids[written++]!);
    accept(); // the prompt's call gives the first
    for (;;) {
      const draft = session.propose(100);
      const ms = interpolate(times, 1 + draft.length);
      session.observe(1 + draft.length, ms);
      draftedMs += ms;
      for (const id of draft) {
        if (written === ids.length || ids[written] !== id) break;
        accept();
      }
      if (written === ids.length) break; // the last row gives the stop token
      accept();
    }
    session.remember();
    plainMs += ids.length * times.get(1)!;
  }
  return { plainMs, draftedMs };
}

function interpolate(times: RowTimes, rows: number): number {
  const known = [...times.keys()];
  const above = known.find((count) => count >= rows) ?? known.at(-1)!;
  if (above === rows) return times.get(rows)!;
  const below = known.filter((count) => count < rows).at(-1)!;
  const share = (rows - below) / (above - below);
  return times.get(below)! * (1 - share) + times.get(above)! * share;
}
