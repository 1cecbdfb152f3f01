/**
 * `npm run bench -- scene-stream [--backend cpu|onnx] [--rounds N] [--prompt TEXT] [--seconds N] [--verify FILE]`
 *
 * A camera's feed: the demo model describes one frame of each second of the sample clip, with and without drafting in
 * turn (A/B/A/B), each time in a fresh model. Then the same texts are replayed with the times that the cpu engine takes for
 * 1 … 16 tokens at a published size, as `npm run bench -- decode verify --shape 8b` has measured them.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type Answer, type Frame, loadModel, openCamera } from 'scenebus';
import { Drafting } from '#sdk/model/drafting/index.js';
import { packageRoot } from '#sdk/native/index.js';
import { loadTokenizer, type Tokenizer } from '#sdk/text/tokenizer.js';
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

export async function runSceneStream(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      backend: { type: 'string', default: 'auto' },
      rounds: { type: 'string', default: '3' },
      prompt: { type: 'string' },
      seconds: { type: 'string', default: '60' },
      verify: { type: 'string' },
    },
  });
  console.log('reading the clip at its own pace');
  const frames = await framesOfClip(Number(values.seconds));
  console.log(`${frames.length} frames, one a second`);
  const passes: Pass[] = [];
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const drafting of ['off', 'auto'] as const) {
      const pass = await describeFrames(frames, values.backend as 'auto', drafting, values.prompt);
      passes.push(pass);
      console.log(describePass(pass));
    }
  }
  const texts = new Set(passes.map(({ answers }) => JSON.stringify(answers.map(({ text }) => text))));
  if (texts.size !== 1) throw new Error('Expected the same texts from all passes, but they differ.');
  console.log(
    `identical texts in all passes: ${new Set(passes[0]!.answers.map(({ text }) => text)).size} different ones`,
  );
  const speed = (drafting: DraftingOption) =>
    median(passes.filter((pass) => pass.drafting === drafting).map(tokensPerSecond));
  const frameMs = (drafting: DraftingOption) =>
    median(passes.filter((pass) => pass.drafting === drafting).map(({ totalMs }) => totalMs / frames.length));
  console.log(
    `median: ${speed('off').toFixed(0)} tokens/s plain, ${speed('auto').toFixed(0)} drafted: ${(speed('auto') / speed('off')).toFixed(2)} x`,
  );
  console.log(
    `median for a frame, vision included: ${frameMs('off').toFixed(1)} ms plain, ${frameMs('auto').toFixed(1)} drafted`,
  );
  const tokenizer = await loadTokenizer(checkpoint);
  projectAll(passes[0]!.answers, tokenizer, values.verify);
}

/** The first frame of every second. */
async function framesOfClip(seconds: number): Promise<Frame[]> {
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

function projectAll(answers: readonly Answer[], tokenizer: Tokenizer, file: string | undefined): void {
  const files = file === undefined ? measuredFiles() : [file];
  if (files.length === 0) {
    console.log(
      `no measured times in ${directory}: run \`npm run bench -- decode verify --shape 8b\` first, or name a file`,
    );
  }
  const ids = answers.map(({ text }) => [...tokenizer.encodeText(text)]);
  for (const each of files) {
    const { shape, results } = JSON.parse(readFileSync(each, 'utf8')) as { shape: string; results: Result[] };
    for (const contender of new Set(results.map((result) => result.contender))) {
      const times = rowTimes(results.filter((result) => result.contender === contender));
      if (times === undefined) continue;
      const { plainMs, draftedMs } = replay(ids, times);
      const rows = [...times].map(([count, ms]) => `${count}: ${ms.toFixed(0)}`).join(', ');
      console.log(`replayed with ${shape} on ${contender} (ms by rows ${rows}): ${(plainMs / draftedMs).toFixed(2)} x`);
    }
  }
}

/** The newest file of each shape. */
function measuredFiles(): string[] {
  const newest = new Map<string, string>();
  let names: string[] = [];
  try {
    names = readdirSync(directory).sort();
  } catch {
    // Nothing was measured here.
  }
  for (const name of names) {
    const shape = /^results-(\d+b)-\d+\.json$/.exec(name)?.[1];
    if (shape !== undefined) newest.set(shape, path.join(directory, name));
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
