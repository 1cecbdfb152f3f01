/**
 * A device at work for a long time: questions, watches and descriptions going on, now and then a fault. Memory and
 * handles of all its processes, every minute; ends with an error when they grew or something accepted did not arrive.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProcessFigures } from '../support/fault/processes.js';
import { Victim } from '../support/fault/victim.js';

/** A process that has worked for so long has its caches full. */
const WARM_MINUTES = 2;
/** What collectors of garbage leave lying about. */
const ALLOWED = { bytes: 48 * 2 ** 20, descriptors: 8, threads: 4 };
const SETTLE_MS = 60_000;
const MEBIBYTE = 2 ** 20;

export interface SoakRow {
  readonly minute: number;
  readonly processes: Readonly<Record<string, ProcessFigures & { readonly pid: number }>>;
  readonly accepted: number;
  readonly arrived: number;
  readonly answered: number;
  readonly fault: string;
}

export interface SoakResult {
  readonly minutes: number;
  readonly rows: readonly SoakRow[];
  readonly lost: readonly string[];
  readonly unmarked: readonly string[];
  readonly outOfOrder: readonly string[];
  readonly grown: readonly string[];
  readonly errorCodes: Readonly<Record<string, number>>;
  readonly unanswered: number;
}

type Fault = readonly [name: string, act: (victim: Victim) => Promise<void>];

/** In turn. A process that is killed has new memory, so those come seldom enough to leave each a long life. */
const FAULTS: readonly Fault[] = [
  ['model killed', async (victim) => void process.kill(await victim.untilPidOf('model'), 'SIGKILL')],
  ['capture killed', async (victim) => void process.kill(await victim.untilPidOf('capture'), 'SIGKILL')],
  ['broker unreachable 20 s', (victim) => outage(victim, () => victim.proxy.close(), 20_000)],
  ['camera silent 15 s', (victim) => trouble(victim, 'silent', 15_000)],
  ['packets lost 10 s', (victim) => outage(victim, () => victim.proxy.swallow(), 10_000)],
  ['camera changes its size 20 s', (victim) => trouble(victim, 'small', 20_000)],
  ['packets late by 4 s', (victim) => outage(victim, () => victim.proxy.hold(), 4_000)],
  ['camera sends garbage 10 s', (victim) => trouble(victim, 'garbage', 10_000)],
];

async function outage(victim: Victim, begin: () => void, ms: number): Promise<void> {
  begin();
  await sleep(ms);
  victim.proxy.open();
}

async function trouble(victim: Victim, mode: Victim['camera']['mode'], ms: number): Promise<void> {
  victim.camera.mode = mode;
  await sleep(ms);
  victim.camera.mode = 'pictures';
}

/** @param minutes from 1 on */
export async function benchSoak(minutes: number): Promise<SoakResult> {
  await using victim = await Victim.prepare({
    config: {
      describe: { minIntervalSeconds: 2 },
      watches: [
        { id: 'lamp', question: 'Is there a yellow lamp?', answerType: 'yes-no', intervalSeconds: 0.5 },
        { id: 'cups', question: 'How many cups are there?', answerType: 'number', intervalSeconds: 2 },
        { id: 'book', question: 'Is there a blue book?', answerType: 'yes-no' },
      ] as unknown as object,
    },
    questionPauseMs: 1_000,
    cameraOptions: { timeoutMs: 5_000, frozenTimeoutMs: 10_000 },
  });
  victim.camera.sceneMs = 2_000;
  await victim.start();
  victim.ask();
  const startedAtMs = performance.now();
  const rows: SoakRow[] = [];
  printHead();
  for (let minute = 0; minute <= minutes; minute++) {
    const dueAtMs = startedAtMs + minute * 60_000;
    // A fault every third minute, in good time before the next row, and none in the last fifth.
    const fault =
      minute % 3 === 2 && minute < 0.8 * minutes ? FAULTS[Math.floor(minute / 3) % FAULTS.length] : undefined;
    await sleep(Math.max(0, dueAtMs - performance.now()));
    const row = rowOf(victim, minute, fault?.[0] ?? '');
    rows.push(row);
    print(row);
    await fault?.[1](victim);
  }
  await victim.quiet();
  const lost = await victim.ledger.settle(SETTLE_MS);
  const { ledger } = victim;
  return {
    minutes,
    rows,
    lost,
    unmarked: ledger.unmarked,
    outOfOrder: ledger.outOfOrder,
    grown: growth(rows),
    errorCodes: Object.fromEntries(ledger.errorCodes),
    unanswered: victim.unanswered,
  };
}

function rowOf(victim: Victim, minute: number, fault: string): SoakRow {
  const { ledger } = victim;
  ledger.collect();
  const processes = Object.fromEntries(
    Object.entries(victim.figures()).map(([name, figures]) => {
      const part = name === 'model' || name === 'capture' ? name : 'service';
      return [name, { ...figures, pid: victim.pidOf(part) ?? 0 }];
    }),
  );
  const arrived = [...ledger.accepted.keys()].filter((key) => ledger.seen.has(key)).length;
  return { minute, processes, accepted: ledger.accepted.size, arrived, answered: ledger.answers.size, fault };
}

/** What the last row has more than the first one in which the same process was warm. */
export function growth(rows: readonly SoakRow[]): string[] {
  const last = rows.at(-1);
  if (last === undefined) return [];
  const grown: string[] = [];
  for (const [name, after] of Object.entries(last.processes)) {
    const life = rows.filter(({ processes }) => processes[name]?.pid === after.pid);
    const before = life[Math.min(WARM_MINUTES, life.length - 1)]?.processes[name];
    if (before === undefined) continue;
    const more = {
      bytes: after.pssBytes - before.pssBytes,
      descriptors: after.descriptors - before.descriptors,
      threads: after.threads - before.threads,
    };
    for (const [what, amount] of Object.entries(more) as [keyof typeof ALLOWED, number][])
      if (amount > ALLOWED[what]) grown.push(`${name}: ${amount} ${what} more after ${life.length - 1} minutes`);
  }
  const names = Object.keys(last.processes).length;
  const first = Object.keys(rows[0]?.processes ?? {}).length;
  if (names !== first) grown.push(`${names} processes instead of ${first}`);
  return grown;
}

function printHead(): void {
  console.log(
    '| minute | service RSS / PSS MiB, fds, threads | model | capture | accepted | arrived | answers | then |',
  );
  console.log('|---|---|---|---|---|---|---|---|');
}

function print({ minute, processes, accepted, arrived, answered, fault }: SoakRow): void {
  const cell = (name: string): string => {
    const figures = processes[name];
    if (figures === undefined) return 'away';
    const { rssBytes, pssBytes, descriptors, threads } = figures;
    return `${(rssBytes / MEBIBYTE).toFixed(0)} / ${(pssBytes / MEBIBYTE).toFixed(0)}, ${descriptors}, ${threads}`;
  };
  const cells = [minute, cell('service'), cell('model'), cell('capture'), accepted, arrived, answered, fault];
  console.log(`| ${cells.join(' | ')} |`);
}
