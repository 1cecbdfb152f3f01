import { describe, expect, test } from 'vitest';
import { createProgressReporter, describeProgress } from '#device/cli/progress.js';

function recorder(isTTY: boolean) {
  let text = '';
  const clock = { nowMs: 0 };
  const stream = { write: (part: string) => (text += part), isTTY, columns: 100 };
  return { reporter: createProgressReporter(stream, () => clock.nowMs), clock, text: () => text };
}

describe('progress', () => {
  test('names amounts in readable units', () => {
    expect(describeProgress({ phase: 'Packing', done: 12e6, total: 48e6, unit: 'bytes' })).toBe(
      'Packing: 12.0 of 48.0 MB (25 %)',
    );
    expect(describeProgress({ phase: 'Reading', done: 3, total: 0, unit: 'tensors' })).toBe('Reading: 3 tensors');
  });

  test('tells rate and time left of what this run does, when they are known', () => {
    const { reporter, clock, text } = recorder(false);
    for (const [seconds, done] of [
      [0, 100e6],
      [10, 150e6],
      [20, 200e6],
    ] as const) {
      clock.nowMs = 1000 * seconds;
      reporter.onProgress({ phase: 'quantize', done, total: 8_000e6, unit: 'bytes' });
    }
    expect(text().split('\n')).toEqual([
      'quantize: 100.0 of 8000.0 MB (1 %)',
      'quantize: 150.0 of 8000.0 MB (1 %), 5.0 MB/s, 27 min left',
      'quantize: 200.0 of 8000.0 MB (2 %), 5.0 MB/s, 26 min left',
      '',
    ]);
  });

  test('rewrites one line on a terminal and ends it', () => {
    const { reporter, clock, text } = recorder(true);
    for (let done = 1; done <= 4; done++) {
      clock.nowMs += 1_000;
      reporter.onProgress({ phase: 'Packing', done, total: 4, unit: 'tensors' });
    }
    reporter[Symbol.dispose]();
    expect(text().split('\n')).toHaveLength(2);
    expect(text().split('\r')).toHaveLength(5);
    expect(text()).toContain('[========================] Packing: 4 of 4 tensors (100 %)');
  });

  test('makes room for lines of others, draws anew after them, and draws an end once', () => {
    const { reporter, clock, text } = recorder(true);
    reporter.onProgress({ phase: 'Packing', done: 1, total: 4, unit: 'tensors' });
    reporter.clear();
    clock.nowMs += 1_000;
    for (let i = 0; i < 2; i++) reporter.onProgress({ phase: 'Packing', done: 4, total: 4, unit: 'tensors' });
    const drawn = [
      '\r\x1b[2K[======                  ] Packing: 1 of 4 tensors (25 %)',
      '\r\x1b[2K',
      '\r\x1b[2K[========================] Packing: 4 of 4 tensors (100 %)\n',
    ];
    expect(text()).toBe(drawn.join(''));
  });

  test('writes a few whole lines into a log: start, end, and some between', () => {
    const { reporter, clock, text } = recorder(false);
    for (let done = 0; done <= 100; done++) {
      clock.nowMs += 100;
      reporter.onProgress({ phase: 'Packing', done, total: 100, unit: 'tensors' });
    }
    const lines = text().trimEnd().split('\n');
    expect(lines[0]).toBe('Packing: 0 of 100 tensors (0 %)');
    expect(lines.at(-1)).toBe('Packing: 100 of 100 tensors (100 %)');
    expect(lines).toHaveLength(3);
  });
});
