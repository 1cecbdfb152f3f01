/**
 * A whole device, `scenebus run` with a real Mosquitto: what it costs while nothing changes, process by process; and what
 * a question over the bus takes beside the engine's own time.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectClient } from 'scenebus/client';
import { childOf, type ThreadFigures, threadFigures } from '../support/fault/processes.js';
import { Victim } from '../support/fault/victim.js';
import { median } from './median.js';

/** Loading, the first description and what they leave to tidy up are over. */
const SETTLE_MS = 8_000;
const PARTS = ['service', 'capture', 'model'] as const;
const QUESTION = 'Where is the red cup?';

type Part = (typeof PARTS)[number];

export interface DeviceResult {
  readonly address: string;
  readonly framesPerSecond: number;
  /** Percent of one core. */
  readonly idleShares: Readonly<Record<Part, number>>;
  readonly totalShare: number;
  /** Of each process, a second. */
  readonly wakeups: Readonly<Record<Part, number>>;
  /** Percent of one core, in the same seconds: what this machine takes for a frame's bytes, copied as often, and nothing else. */
  readonly copyShare: number;
  /** Of the threads that took most, percent of one core. */
  readonly threads: readonly string[];
  readonly question: QuestionResult;
}

/** Medians, milliseconds; the least beside them, for machines that have other work. */
export interface QuestionResult {
  readonly count: number;
  readonly roundTripMs: number;
  /** As the answer says of itself. */
  readonly engineMs: number;
  readonly overheadMs: number;
  readonly overheadLeastMs: number;
  readonly overheadP95Ms: number;
}

/** @param address of the camera, at 1280 × 720 and 30 frames a second where it can be chosen */
export async function benchDevice(address: string, seconds: number, questions: number): Promise<DeviceResult> {
  const camera = { id: 'cam', address, size: { width: 1280, height: 720 }, fps: 30, frozenTimeoutMs: 3_600_000 };
  await using victim = await Victim.prepare({
    config: {
      cameras: [camera] as unknown as object,
      describe: { minIntervalSeconds: 1, maxSilenceSeconds: 3_600 },
      watches: [{ id: 'cup', question: 'Is there a red cup?', answerType: 'yes-no' }] as unknown as object,
      healthIntervalSeconds: 30 as unknown as object,
    },
  });
  await victim.start();
  await sleep(SETTLE_MS);
  const { idleShares, framesPerSecond, threads, wakeups, copyShare } = await measureIdle(victim, seconds);
  const totalShare = PARTS.reduce((sum, part) => sum + idleShares[part], 0);
  const cells = PARTS.map(
    (part) => `${part} ${idleShares[part].toFixed(2)} % and ${wakeups[part].toFixed(1)} wake-ups/s`,
  ).join(', ');
  console.log(`idle at ${framesPerSecond.toFixed(1)} frames/s: ${totalShare.toFixed(2)} % of a core (${cells})`);
  for (const line of threads) console.log(`  ${line}`);
  console.log(`a bare process that copies a frame as often: ${copyShare.toFixed(2)} %`);
  const question = await measureQuestions(victim, questions);
  const { roundTripMs, engineMs, overheadMs, overheadLeastMs, overheadP95Ms } = question;
  console.log(
    `question: ${roundTripMs.toFixed(1)} ms, engine ${engineMs.toFixed(1)} ms, overhead ${overheadMs.toFixed(1)} ms (least ${overheadLeastMs.toFixed(1)} ms, 95 %: ${overheadP95Ms.toFixed(1)} ms)`,
  );
  return { address, framesPerSecond, idleShares, totalShare, wakeups, copyShare, threads, question };
}

async function measureIdle(victim: Victim, seconds: number) {
  const pids = new Map<Part, number>();
  for (const part of PARTS) pids.set(part, part === 'service' ? victim.pid : childOf(victim.pid, part)!);
  const framesBefore = await newestSequence(victim);
  const copier = startCopier();
  const figuresOf = () => new Map([...pids].map(([part, pid]) => [part, threadFigures(pid)]));
  const copySeconds = () => sumOf([...threadFigures(copier.pid!).values()].map(({ seconds: spent }) => spent));
  await sleep(1000); // what the question left behind
  const [before, copiedBefore] = [figuresOf(), copySeconds()];
  const startedMs = performance.now();
  await sleep(1000 * seconds);
  const elapsed = (performance.now() - startedMs) / 1000;
  const [after, copiedAfter] = [figuresOf(), copySeconds()];
  copier.kill('SIGKILL');
  const framesPerSecond = ((await newestSequence(victim)) - framesBefore) / (elapsed + 1);
  const rows = [...pids].flatMap(([part, pid]) =>
    [...after.get(part)!].map(([tid, now]) => {
      const then: Omit<ThreadFigures, 'name'> = before.get(part)!.get(tid) ?? { seconds: 0, wakeups: 0 };
      const share = (100 * (now.seconds - then.seconds)) / elapsed;
      return { part, name: tid === pid ? 'main' : now.name, share, wakeups: (now.wakeups - then.wakeups) / elapsed };
    }),
  );
  const ofParts = (value: (row: (typeof rows)[number]) => number) =>
    Object.fromEntries(
      PARTS.map((part) => [part, sumOf(rows.filter((row) => row.part === part).map(value))]),
    ) as Record<Part, number>;
  const largest = rows.filter(({ share }) => share >= 0.1).sort((a, b) => b.share - a.share);
  return {
    idleShares: ofParts(({ share }) => share),
    wakeups: ofParts(({ wakeups }) => wakeups),
    copyShare: (100 * (copiedAfter - copiedBefore)) / elapsed,
    framesPerSecond,
    threads: largest.map(({ part, name, share }) => `${part}, thread ${name}: ${share.toFixed(2)} %`),
  };
}

/** Ticks of 10 ms are coarse, and a machine's idle states are its own: this says what the least possible work costs here. */
function startCopier(): ChildProcess {
  const code = `
    const [from, to] = [Buffer.alloc(1280 * 720 * 3, 1), Buffer.alloc(1280 * 720 * 3)];
    const never = new Int32Array(new SharedArrayBuffer(4));
    let dueMs = performance.now();
    for (;;) {
      from.copy(to);
      dueMs = Math.max(dueMs + 1000 / 30, performance.now());
      Atomics.wait(never, 0, 0, dueMs - performance.now());
    }`;
  return spawn(process.execPath, ['--eval', code], { stdio: 'ignore' });
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Of the newest frame, as its id ends. */
async function newestSequence(victim: Victim): Promise<number> {
  await using client = await connectClient(victim.broker.url);
  const { frameId } = await client.ask(Victim.device, QUESTION);
  return Number(/\d+$/.exec(frameId)?.[0]);
}

async function measureQuestions(victim: Victim, count: number): Promise<QuestionResult> {
  await using client = await connectClient(victim.broker.url);
  const rounds: { readonly all: number; readonly engine: number }[] = [];
  for (let round = -3; round < count; round += 1) {
    const startedMs = performance.now();
    const { timings } = await client.ask(Victim.device, QUESTION);
    const all = performance.now() - startedMs;
    if (round >= 0) rounds.push({ all, engine: timings?.totalMs ?? Number.NaN });
  }
  const overheads = rounds.map(({ all, engine }) => all - engine).sort((a, b) => a - b);
  return {
    count,
    roundTripMs: median(rounds.map(({ all }) => all)),
    engineMs: median(rounds.map(({ engine }) => engine)),
    overheadMs: median(overheads),
    overheadLeastMs: overheads[0]!,
    overheadP95Ms: overheads[Math.floor(0.95 * overheads.length)]!,
  };
}
