/**
 * What the journal takes: events a second, one after another and 64 at once, each on the disk before it counts; and how
 * long a search takes.
 *
 *     node dist/test/bench/journal.js [folder]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AnyDeviceEvent } from '#device/events/events.js';
import { Journal } from '#device/journal/journal.js';
import { observation } from '../support/observations.js';

const ONE_BY_ONE = 500;
const AT_ONCE = 64;
const MANY = 20_000;
const SEARCHES = 50;
const WORDS = ['red', 'blue', 'cup', 'book', 'table', 'left', 'right', 'dog', 'door', 'open'];

function event(number: number): AnyDeviceEvent {
  const said = observation(`A ${WORDS[number % 10]} ${WORDS[(number >> 3) % 10]} number${number} on the table.`);
  const body = { verb: 'ask', question: 'What is there?', answer: said.answer, model: said.model, error: null };
  return { id: `bench-${number}`, kind: 'answer', atMs: Date.now(), camera: 'cam0', frame: said.frame, body };
}

const folder = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'scenebus-bench-journal-'));
try {
  await using journal = await Journal.open({
    file: join(folder, 'journal.db'),
    limits: { maxAgeMs: 1e12, maxBytes: 1e12 },
  });
  let number = 0;
  const times: number[] = [];
  for (let n = 0; n < ONE_BY_ONE; n++) {
    const startedMs = performance.now();
    await journal.record(event(number++));
    times.push(performance.now() - startedMs);
  }
  times.sort((a, b) => a - b);
  const at = (share: number) => (times[Math.floor(times.length * share)] ?? 0).toFixed(2);
  console.log(`one by one: ${(ONE_BY_ONE / (times.reduce((sum, ms) => sum + ms, 0) / 1000)).toFixed(0)} events/s`);
  console.log(`            median ${at(0.5)} ms, 99 % ${at(0.99)} ms, least ${at(0)} ms`);

  const startedMs = performance.now();
  const worker = async (): Promise<void> => {
    while (number < MANY) await journal.record(event(number++));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const seconds = (performance.now() - startedMs) / 1000;
  console.log(`${AT_ONCE} at once: ${((MANY - ONE_BY_ONE) / seconds).toFixed(0)} events/s`);

  const searchStartedMs = performance.now();
  for (let n = 0; n < SEARCHES; n++) await journal.query({ text: `cup number${n * 300}`, limit: 20 });
  const rareMs = (performance.now() - searchStartedMs) / SEARCHES;
  const commonStartedMs = performance.now();
  for (let n = 0; n < SEARCHES; n++) await journal.query({ text: 'table', limit: 20 });
  const commonMs = (performance.now() - commonStartedMs) / SEARCHES;
  console.log(`search among ${MANY}: rare words ${rareMs.toFixed(2)} ms, a word of all ${commonMs.toFixed(2)} ms`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
