/** Who uses the engine when, with jobs that only count. */
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Slice, StepResult } from '#sdk/engine/engine.js';
import { type Job, Scheduler, type Work } from '#sdk/inference/scheduler.js';
import { FakeEngine } from '../../support/engine.js';

interface CountingJob extends Job {
  readonly name: string;
}

/** An engine whose slices are names, and that tells what it computed. */
function setting(options: { maxWaiting?: number; batchedSlices?: number; room?: number; stepMs?: number } = {}) {
  const { maxWaiting = 100, batchedSlices = 1, room = Number.POSITIVE_INFINITY, stepMs = 1 } = options;
  const steps: string[] = [];
  let nowMs = 0;
  let holding = 0;
  let onStep: (step: string) => void | Promise<void> = () => {};
  const engine = {
    info: new FakeEngine(() => 0, { capabilities: { batchedSlices } }).info,
    step: async (slices: readonly Slice[]): Promise<StepResult> => {
      const step = slices.map((slice) => (slice as unknown as { name: string }).name).join('+');
      steps.push(step);
      nowMs += stepMs;
      await onStep(step);
      await turn();
      return slices.map(() => ({ status: 'fulfilled', value: { logits: new Float32Array(0), logitsRows: 0 } }));
    },
  };
  const scheduler = new Scheduler(engine, { maxWaiting, nowMs: () => nowMs });
  const released: string[] = [];
  const suspended: string[] = [];
  function job(name: string, pieces: number, rest: Partial<Job> = {}): CountingJob {
    let done = 0;
    let isHolding = false;
    const letGo = () => {
      if (isHolding) holding--;
      isHolding = false;
    };
    return {
      name,
      priority: 'question',
      caller: name.charAt(0),
      signal: new AbortController().signal,
      get isDone() {
        return done >= pieces;
      },
      next: (): Work | undefined => {
        if (!isHolding && holding >= room) return undefined;
        if (!isHolding) holding++;
        isHolding = true;
        return { kind: 'slice', slice: { name } as unknown as Slice, accept: () => void done++ };
      },
      suspend: () => {
        suspended.push(name);
        letGo();
      },
      release: ({ error }) => {
        letGo();
        released.push(error === undefined ? name : `${name}!`);
      },
      ...rest,
    };
  }
  return {
    scheduler,
    steps,
    job,
    released,
    suspended,
    onStep: (listener: typeof onStep) => {
      onStep = listener;
    },
  };
}

describe('Scheduler', () => {
  test('lets two callers take turns, token by token', async () => {
    const { scheduler, steps, job } = setting();
    await Promise.all([scheduler.run(job('a', 3)), scheduler.run(job('b', 4))]);
    expect(steps).toEqual(['a', 'b', 'a', 'b', 'a', 'b', 'b']);
  });

  test('runs the requests of one caller one after another', async () => {
    const { scheduler, steps, job } = setting();
    await Promise.all(['a1', 'a2', 'a3'].map((name) => scheduler.run(job(name, 2))));
    expect(steps).toEqual(['a1', 'a1', 'a2', 'a2', 'a3', 'a3']);
  });

  test('serves a caller of one request long before another of 200 is done', async () => {
    const { scheduler, steps, job } = setting({ maxWaiting: 300 });
    const many = Array.from({ length: 200 }, (_, i) => scheduler.run(job(`a${i}`, 2)));
    await scheduler.run(job('b', 4));
    expect(steps.length).toBeLessThanOrEqual(9);
    await Promise.all(many);
  });

  test('preempts what matters less, once for each time it is put behind, and goes on with it', async () => {
    const { scheduler, steps, job, onStep } = setting();
    const questions: Promise<unknown>[] = [];
    onStep((step) => {
      if (step === 'd' && steps.length === 2) questions.push(scheduler.run(job('q', 3)));
      if (step === 'd' && steps.length === 6) questions.push(scheduler.run(job('r', 1)));
    });
    const report = await scheduler.run(job('d', 5, { priority: 'description' }));
    expect(steps).toEqual(['d', 'd', 'q', 'q', 'q', 'd', 'r', 'd', 'd']);
    expect(report).toEqual({ queueMs: 0, preemptions: 2 });
    expect(scheduler.stats).toMatchObject({ running: 0, preemptions: 2 });
    await Promise.all(questions);
  });

  test('lets an urgent question in at the next step of another, which goes on afterwards', async () => {
    const { scheduler, steps, job, onStep } = setting();
    const urgent: Promise<unknown>[] = [];
    onStep((step) => {
      if (step === 'q' && steps.length === 2)
        urgent.push(scheduler.run(job('r', 1)), scheduler.run(job('u', 2, { priority: 'urgent' })));
    });
    const report = await scheduler.run(job('q', 3));
    await Promise.all(urgent);
    expect(steps.slice(0, 4)).toEqual(['q', 'q', 'u', 'u']);
    expect(steps.slice(4).sort()).toEqual(['q', 'r']);
    expect(report.preemptions).toBe(1);
  });

  test('tells how long a request waited, and how many do', async () => {
    const { scheduler, job } = setting({ stepMs: 10 });
    const all = [scheduler.run(job('a1', 3)), scheduler.run(job('a2', 1)), scheduler.run(job('a3', 1))];
    expect(scheduler.stats).toMatchObject({
      waiting: { urgent: 0, question: 2, watch: 0, description: 0 },
      running: 1,
    });
    // The first step began, and with it 10 ms passed, before the others came.
    expect((await Promise.all(all)).map(({ queueMs }) => queueMs)).toEqual([0, 20, 30]);
  });

  test('takes the nearest deadline of one caller first', async () => {
    const { scheduler, steps, job } = setting();
    const later = [undefined, 500, 100].map((deadlineMs, i) => scheduler.run(job(`a${i}`, 1, { deadlineMs })));
    await Promise.all(later);
    expect(steps).toEqual(['a0', 'a2', 'a1']); // a0 ran already when the others came
  });

  test('cancels while queued: at once, without a step, and its place is free', async () => {
    const { scheduler, steps, job, released } = setting({ maxWaiting: 1 });
    const abort = new AbortController();
    const running = scheduler.run(job('a', 2));
    const waiting = scheduler.run(job('b', 2, { signal: abort.signal }));
    await expect(scheduler.run(job('c', 1))).rejects.toMatchObject({ code: 'ERR_BUSY' });
    const reason = new Error('no longer');
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    expect(scheduler.stats.waiting.question).toBe(0);
    await Promise.all([running, scheduler.run(job('c', 1))]);
    expect(steps).not.toContain('b');
    expect(released.sort()).toEqual(['a', 'b!', 'c']);
  });

  test('cancels what computes after the step that runs, and what is preempted at once', async () => {
    const { scheduler, steps, job, onStep } = setting();
    const [first, second] = [new AbortController(), new AbortController()];
    const reason = new Error('enough');
    let preempted: Promise<unknown> | undefined;
    onStep(() => {
      if (steps.length === 1) preempted = scheduler.run(job('q', 9, { signal: second.signal }));
      if (steps.length === 2) first.abort(reason);
      if (steps.length === 4) second.abort(reason);
    });
    const description = scheduler.run(job('d', 9, { priority: 'description', signal: first.signal }));
    await expect(description).rejects.toBe(reason);
    expect(steps).toEqual(['d', 'q']);
    await expect(preempted).rejects.toBe(reason);
    expect(steps).toEqual(['d', 'q', 'q', 'q']);
  });

  test('computes slices of several jobs together where the engine can', async () => {
    const { scheduler, steps, job } = setting({ batchedSlices: 2 });
    await Promise.all([
      scheduler.run(job('a', 2)),
      scheduler.run(job('b', 2)),
      scheduler.run(job('c', 2)),
      scheduler.run(job('d', 2, { priority: 'description' })),
    ]);
    // The first began before the others came; a description fills what questions leave free.
    expect(steps).toEqual(['a', 'b+c', 'a+b', 'c+d', 'd']);
  });

  test('makes room for what matters more, never the other way round', async () => {
    const { scheduler, steps, job, onStep, suspended } = setting({ room: 1 });
    let question: Promise<unknown> | undefined;
    let other: Promise<unknown> | undefined;
    onStep(() => {
      if (steps.length !== 2) return;
      question = scheduler.run(job('q', 2));
      other = scheduler.run(job('e', 1, { priority: 'description' }));
    });
    await scheduler.run(job('d', 4, { priority: 'description' }));
    await Promise.all([question, other]);
    expect(suspended).toEqual(['d']);
    expect(steps.slice(0, 4)).toEqual(['d', 'd', 'q', 'q']);
    expect(steps.slice(4).sort()).toEqual(['d', 'd', 'e']);
  });

  test('a job that fails, or whose next piece cannot be made, leaves the others alone', async () => {
    const { scheduler, job } = setting();
    const broken = job('b', 2, {
      next: () => {
        throw new Error('broken');
      },
    });
    const bad: Work = { kind: 'call', run: () => Promise.reject(new Error('bad picture')) };
    const results = await Promise.allSettled([
      scheduler.run(job('a', 2)),
      scheduler.run(broken),
      scheduler.run(job('c', 2, { next: () => bad })),
      scheduler.run(job('d', 2)),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
  });

  test('closed: refuses newcomers and waits for what runs', async () => {
    const { scheduler, steps, job } = setting();
    const running = scheduler.run(job('a', 3));
    const reason = new Error('closing');
    const closing = scheduler.close(reason);
    await expect(scheduler.run(job('b', 1))).rejects.toBe(reason);
    await closing;
    expect(steps).toHaveLength(3);
    await running;
    await scheduler.close(reason);
  });
});
