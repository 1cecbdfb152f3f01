/**
 * What the API costs beside the SDK: `scenebus serve` in a process of its own and the same model in this one answer the same
 * request in turn, each with its features and keys still there, so that what is left is the shortest way to an answer.
 * The request comes with its picture as a JPEG in base64, as every client sends it: the SDK's turn decodes the same file,
 * and is also measured with pixels that are there already.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import path from 'node:path';
import { decodeImage, encodeJpeg, loadModel, type ModelImage, type VisionLanguageModel } from 'scenebus';
import { packageRoot } from '#sdk/native/index.js';
import { median } from './median.js';

const WAYS = ['sdk', 'sdk-jpeg', 'sdk-process-jpeg', 'serve'] as const;
type Way = (typeof WAYS)[number];

export interface ServeResult {
  readonly picture: string;
  readonly way: Way;
  readonly jpegBytes: number;
  /** Medians, milliseconds, taken by the caller. */
  readonly firstTextMs: number;
  readonly totalMs: number;
  /** Medians of the difference to `sdk-jpeg` in the same round. */
  readonly moreFirstTextMs: number;
  readonly moreTotalMs: number;
  /** The least of all rounds: what it is when nothing else runs on the machine. */
  readonly leastFirstTextMs: number;
}

interface Timed {
  readonly firstTextMs: number;
  readonly totalMs: number;
  readonly text: string;
}

const QUESTION = 'Describe this picture.';
const SIZES = [
  { width: 640, height: 480 },
  { width: 1_280, height: 720 },
  { width: 1_920, height: 1_080 },
];

/** @param rounds requests about each picture each way, in turn @throws Error where the ways answer differently */
export async function benchServe(rounds: number): Promise<readonly ServeResult[]> {
  const folder = path.join(packageRoot(), 'examples', 'demo-model');
  const checkpoint = path.join(folder, 'checkpoint');
  const photo = await decodeImage(await readFile(path.join(folder, 'evaluation', '00000.jpg')));
  const server = await startServer(checkpoint);
  const agent = new Agent({ keepAlive: true });
  const here = await loadModel(checkpoint, { backend: 'cpu' });
  const apart = await loadModel(checkpoint, { backend: 'cpu', isolation: 'process' });
  const results: ServeResult[] = [];
  try {
    for (const size of SIZES) {
      const jpeg = await encodeJpeg(enlarged(photo, size), { quality: 85 });
      const pixels = await decodeImage(jpeg);
      const url = `data:image/jpeg;base64,${Buffer.from(jpeg).toString('base64')}`;
      const ways: Record<Way, () => Promise<Timed>> = {
        sdk: () => timeModel(here, async () => pixels),
        'sdk-jpeg': () => timeModel(here, () => decodeImage(jpeg)),
        'sdk-process-jpeg': () => timeModel(apart, () => decodeImage(jpeg)),
        serve: () => timeServer(server.origin, agent, url),
      };
      const calls: Record<Way, Timed[]> = { sdk: [], 'sdk-jpeg': [], 'sdk-process-jpeg': [], serve: [] };
      for (let round = -3; round < rounds; round++) {
        // Who comes first differs: what is warm then is not always the same way's.
        const order = WAYS.map((_, index) => WAYS[(index + round + 4) % WAYS.length]!);
        for (const way of order) {
          const timed = await ways[way]();
          if (round >= 0) calls[way].push(timed);
        }
      }
      const texts = new Set(WAYS.flatMap((way) => calls[way].map(({ text }) => text)));
      if (texts.size !== 1)
        throw new Error(`Expected one answer whoever gives it, but there were ${[...texts].join(' | ')}`);
      for (const way of WAYS) {
        const more = (value: (call: Timed) => number) =>
          median(calls[way].map((call, index) => value(call) - value(calls['sdk-jpeg'][index]!)));
        const result: ServeResult = {
          picture: `${size.width} × ${size.height}`,
          way,
          jpegBytes: jpeg.length,
          firstTextMs: median(calls[way].map((call) => call.firstTextMs)),
          totalMs: median(calls[way].map((call) => call.totalMs)),
          moreFirstTextMs: more((call) => call.firstTextMs),
          moreTotalMs: more((call) => call.totalMs),
          leastFirstTextMs: Math.min(...calls[way].map((call) => call.firstTextMs)),
        };
        results.push(result);
        const { firstTextMs, totalMs, moreFirstTextMs, moreTotalMs, leastFirstTextMs } = result;
        const shown = [firstTextMs, totalMs, moreFirstTextMs, moreTotalMs, leastFirstTextMs];
        console.log(
          `${result.picture.padEnd(12)} ${way.padEnd(17)} first text, whole, more than sdk-jpeg: first text, whole; least first text: ${shown.map((ms) => ms.toFixed(2)).join(', ')} ms`,
        );
      }
    }
  } finally {
    agent.destroy();
    await server.stop();
    await here[Symbol.asyncDispose]();
    await apart[Symbol.asyncDispose]();
  }
  return results;
}

async function startServer(checkpoint: string) {
  const command = path.join(packageRoot(), 'dist', 'device', 'cli', 'main.js');
  const child = spawn(process.execPath, [command, 'serve', checkpoint, '--backend', 'cpu', '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  for await (const text of child.stdout.setEncoding('utf8') as AsyncIterable<string>) {
    said += text;
    const origin = /http:\/\/127\.0\.0\.1:\d+(?=\/v1)/.exec(said)?.[0];
    if (origin === undefined) continue;
    const stop = async () => {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    };
    return { origin, stop };
  }
  throw new Error('Expected scenebus serve to start but it ended.');
}

/** Each pixel the nearest one of the photo: what is in it costs the same at every size. */
function enlarged(photo: ModelImage, { width, height }: { width: number; height: number }): ModelImage {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const from = 3 * (Math.floor((y * photo.height) / height) * photo.width + Math.floor((x * photo.width) / width));
      data.set(photo.data.subarray(from, from + 3), 3 * (y * width + x));
    }
  return { width, height, format: photo.format, data };
}

async function timeModel(model: VisionLanguageModel, open: () => Promise<ModelImage>): Promise<Timed> {
  const startedMs = performance.now();
  const image = await open();
  const content = [{ type: 'image', image } as const, { type: 'text', text: QUESTION } as const];
  let firstTextMs = 0;
  const stream = model.generate({ messages: [{ role: 'user', content }] }, { temperature: 0 });
  for await (const _ of stream) firstTextMs ||= performance.now() - startedMs;
  const { text } = await stream.collect();
  return { firstTextMs, totalMs: performance.now() - startedMs, text };
}

async function timeServer(origin: string, agent: Agent, url: string): Promise<Timed> {
  const content = [
    { type: 'image_url', image_url: { url } },
    { type: 'text', text: QUESTION },
  ];
  const startedMs = performance.now();
  const asked = { model: 'scenebus-demo', stream: true, temperature: 0, messages: [{ role: 'user', content }] };
  const headers = { 'content-type': 'application/json' };
  const sent = request(`${origin}/v1/chat/completions`, { method: 'POST', agent, headers });
  sent.end(JSON.stringify(asked));
  const [response] = await once(sent, 'response');
  let firstTextMs = 0;
  let rest = '';
  let text = '';
  for await (const piece of response.setEncoding('utf8') as AsyncIterable<string>) {
    rest += piece;
    const events = rest.split('\n\n');
    rest = events.pop()!;
    for (const event of events) {
      if (event === 'data: [DONE]') continue;
      const { choices } = JSON.parse(event.slice('data: '.length));
      const { content: written } = choices[0].delta;
      if (!written) continue;
      firstTextMs ||= performance.now() - startedMs;
      text += written;
    }
  }
  return { firstTextMs, totalMs: performance.now() - startedMs, text };
}
