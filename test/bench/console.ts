/// <reference lib="dom" />
/**
 * What the console costs: the size of its page, its first paint, the moving picture in a real browser (pictures a second,
 * and from the camera's clock to the painted pixel), and the processor time of the service with one viewer and with
 * eight. The service is a process of its own, as on a device; its model is loaded and idle.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { WebSocket } from 'ws';
import { packageRoot } from '#sdk/native/index.js';
import { median } from './median.js';

export interface ConsoleCost {
  readonly viewers: string;
  /** Of the one browser or the first of the other viewers. */
  readonly picturesPerSecond: number;
  /** Percent of one core: user and system time of the process that serves. */
  readonly serviceShare: number;
  /** The same of its capture host. */
  readonly captureShare: number;
}

export interface ConsoleResult {
  readonly initialScriptBytes: number;
  readonly firstPaintMs: readonly number[];
  /** From the time code drawn by the camera to the frame after the one in which the page painted it. */
  readonly glassToGlassMs: { readonly median: number; readonly p95: number; readonly max: number };
  readonly costs: readonly ConsoleCost[];
}

const SIZE = { width: 1280, height: 720 };
const LAUNCH = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'];
const WAIT_MS = 120_000;

export async function benchConsole(rounds: number, seconds: number): Promise<ConsoleResult> {
  const folder = await mkdtemp(join(tmpdir(), 'scenebus-bench-console-'));
  let service: ChildProcess | undefined;
  let browser: Browser | undefined;
  try {
    service = await startService(folder);
    const pid = service.pid!;
    const link = (await waitForFile(join(folder, 'console', 'console-link'))).trim();
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: LAUNCH });
    const context = await browser.newContext({ viewport: { width: 1_440, height: 900 } });
    const page = await context.newPage();
    await page.goto(link);
    await page.waitForFunction(() => document.querySelector('canvas')?.dataset.frame !== undefined, undefined, {
      timeout: WAIT_MS,
    });
    const { origin } = new URL(link);
    const initialScriptBytes = await scriptBytes(page);
    const firstPaintMs: number[] = [];
    for (let i = 0; i < rounds; i++) firstPaintMs.push(await firstPaint(context, origin));
    console.log(`initial scripts ${initialScriptBytes} bytes gzip; first paint ${rangeOf(firstPaintMs)} ms`);
    await page.goto('about:blank');

    const headers = { cookie: await cookieOf(context), origin };
    const costs: ConsoleCost[] = [];
    const latencies: number[] = [];
    const note = (cost: ConsoleCost) => {
      costs.push(cost);
      console.log(
        `${cost.viewers.padEnd(12)} ${cost.picturesPerSecond.toFixed(1)} pictures/s   service ${cost.serviceShare.toFixed(1)} %   capture host ${cost.captureShare.toFixed(1)} % of one core`,
      );
    };
    for (let round = 0; round < rounds; round++) {
      // By turns, so that what else the machine does meets all of them.
      for (const count of [0, 1, 8]) {
        const viewers = await Promise.all(Array.from({ length: count }, () => openViewer(origin, headers)));
        note(await measure(pid, `${count} viewers`, seconds, () => viewers[0]?.count ?? 0));
        for (const { close } of viewers) close();
      }
      await page.goto(origin);
      await page.waitForFunction(() => document.querySelector('canvas')?.dataset.frame !== undefined);
      await page.evaluate(startWatching);
      const seen = () => page.evaluate(() => (window as unknown as Watched).seen.length);
      note(await measure(pid, 'one browser', seconds, seen));
      latencies.push(...(await page.evaluate(() => (window as unknown as Watched).seen)));
      await page.goto('about:blank');
    }
    latencies.sort((a, b) => a - b);
    const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(share * latencies.length))]!;
    const glassToGlassMs = { median: median(latencies), p95: at(0.95), max: at(1) };
    console.log(
      `glass to glass: median ${at(0.5)} ms, p95 ${at(0.95)} ms, max ${at(1)} ms of ${latencies.length} pictures`,
    );
    return { initialScriptBytes, firstPaintMs, glassToGlassMs, costs };
  } finally {
    await browser?.close();
    if (service !== undefined && service.exitCode === null) {
      const ended = new Promise((resolve) => service?.once('close', resolve));
      service.kill('SIGTERM');
      await ended;
    }
    await rm(folder, { recursive: true, force: true });
  }
}

async function startService(folder: string): Promise<ChildProcess> {
  const root = packageRoot();
  const file = join(folder, 'config.json');
  const config = {
    version: 1,
    device: 'console',
    model: { directory: join(root, 'examples/demo-model/checkpoint'), cacheDirectory: join(folder, 'cache') },
    cameras: [{ id: 'clock', address: 'test:clock', size: SIZE, fps: 30, describe: false }],
    console: { port: 0 },
  };
  await writeFile(file, JSON.stringify(config));
  return spawn(process.execPath, [join(root, 'dist/device/cli/main.js'), 'run', '--config', file], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, STATE_DIRECTORY: folder },
    detached: true, // without the terminal that this may run on: the link goes into the file
  });
}

async function waitForFile(file: string): Promise<string> {
  for (const deadline = performance.now() + WAIT_MS; performance.now() < deadline; await sleep(100)) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text !== '') return text;
  }
  throw new Error(`The service wrote no link into ${file}.`);
}

/** Of all scripts that the first page asked for. */
async function scriptBytes(page: Page): Promise<number> {
  const bodies = await page.evaluate(async () => {
    const entries = performance.getEntriesByType('resource').map(({ name }) => name);
    return await Promise.all(
      entries.filter((name) => /\.js$/.test(name)).map(async (name) => await (await fetch(name)).text()),
    );
  });
  if (bodies.length === 0) throw new Error('The page asked for no script.');
  return bodies.reduce((sum, body) => sum + gzipSync(body).length, 0);
}

async function firstPaint(context: BrowserContext, address: string): Promise<number> {
  const page = await context.newPage();
  try {
    await page.goto(address);
    const paint = () => performance.getEntriesByName('first-contentful-paint')[0]?.startTime;
    await page.waitForFunction(paint);
    return (await page.evaluate(paint))!;
  } finally {
    await page.close();
  }
}

async function cookieOf(context: BrowserContext): Promise<string> {
  return (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ');
}

/** A viewer that takes every picture, and costs less than a browser. */
async function openViewer(origin: string, headers: Readonly<Record<string, string>>) {
  const socket = new WebSocket(`${origin.replace('http', 'ws')}/api/cameras/clock/live`, { headers });
  const viewer = { count: 0, close: () => socket.terminate() };
  socket.on('message', () => {
    viewer.count += 1;
    // As a page that keeps up.
    if (viewer.count % 2 === 1) socket.send(viewer.count === 1 ? 'next 4' : 'next 2');
  });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  return viewer;
}

interface Watched {
  seen: number[];
}

/** Runs in the page: reads the camera's clock out of every picture that is painted; see drawTimeCode in native/capture. */
function startWatching(): void {
  const BITS = 24;
  const watched = window as unknown as Watched;
  watched.seen = [];
  const canvas = document.querySelector('canvas')!;
  const read = () => {
    const row = canvas.getContext('2d')!.getImageData(0, Math.floor(canvas.height / 32), canvas.width, 1).data;
    let code = 0;
    for (let bit = 0; bit < BITS; bit++)
      code = code * 2 + (row[4 * Math.floor(((bit + 0.5) * canvas.width) / BITS)]! > 127 ? 1 : 0);
    return code;
  };
  new MutationObserver(() => {
    const code = read();
    // The second frame from now begins when this one has been handed to the screen.
    requestAnimationFrame(() =>
      requestAnimationFrame(() => watched.seen.push((Date.now() - code + 2 ** BITS) % 2 ** BITS)),
    );
  }).observe(canvas, { attributes: true, attributeFilter: ['data-frame'] });
}

async function measure(
  pid: number,
  viewers: string,
  seconds: number,
  count: () => number | Promise<number>,
): Promise<ConsoleCost> {
  await sleep(1_000); // until it runs evenly
  const capture = childrenOf(pid).filter((child) => /capture/.test(commandOf(child)));
  const before = { count: await count(), service: cpuSeconds(pid), capture: total(capture), ms: performance.now() };
  await sleep(seconds * 1_000);
  const elapsed = (performance.now() - before.ms) / 1_000;
  return {
    viewers,
    picturesPerSecond: ((await count()) - before.count) / elapsed,
    serviceShare: (100 * (cpuSeconds(pid) - before.service)) / elapsed,
    captureShare: (100 * (total(capture) - before.capture)) / elapsed,
  };
}

const total = (pids: readonly number[]) => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);

/** User and system time of a process, seconds (proc(5), fields 14 and 15 at 100 ticks a second). */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function childrenOf(pid: number): number[] {
  const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
  return list === '' ? [] : list.split(' ').map(Number);
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
}

function rangeOf(values: readonly number[]): string {
  return `${Math.min(...values).toFixed(0)}–${Math.max(...values).toFixed(0)}`;
}
