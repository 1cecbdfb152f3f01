import { describe, expect, it } from 'vitest';
import { Scheduler, type Work } from '#device/app/scheduler.js';

const never = new AbortController().signal;

/** Work that runs until the test ends it, and says when it began. */
function stepwise<T>() {
  const starts: { readonly signal: AbortSignal; readonly finish: (value: T) => void }[] = [];
  const announce: (() => void)[] = [];
  const work: Work<T> = (signal) =>
    new Promise<T>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      starts.push({ signal, finish: resolve });
      for (const wake of announce.splice(0)) wake();
    });
  return {
    work,
    get runs() {
      return starts.length;
    },
    /** The nth start (from 1). */
    async started(n = 1) {
      while (starts.length < n) await new Promise<void>((resolve) => announce.push(resolve));
      const start = starts[n - 1];
      if (start === undefined) throw new Error('unreachable');
      return start;
    },
  };
}

describe('the scheduler', () => {
  it('runs one thing at a time, questions before descriptions', async () => {
    const scheduler = new Scheduler({ queueLength: 4 });
    const order: string[] = [];
    const first = stepwise<void>();
    const done = [scheduler.question(first.work, never)];
    const note = (name: string) => async () => void order.push(name);
    done.push(scheduler.description(note('description'), never));
    done.push(scheduler.question(note('question 1'), never), scheduler.question(note('question 2'), never));
    (await first.started()).finish();
    await Promise.all(done);
    expect(order).toEqual(['question 1', 'question 2', 'description']);
  });

  it('lets a question push a description aside, which then starts again', async () => {
    const scheduler = new Scheduler({ queueLength: 4 });
    const scene = stepwise<string>();
    const described = scheduler.description(scene.work, never);
    await scene.started(1);
    await expect(scheduler.question(async () => 'answer', never)).resolves.toBe('answer');
    (await scene.started(2)).finish('scene');
    await expect(described).resolves.toBe('scene');
  });

  it('lets a description finish that was pushed aside twice', async () => {
    const scheduler = new Scheduler({ queueLength: 4 });
    const scene = stepwise<string>();
    const described = scheduler.description(scene.work, never);
    for (let n = 1; n <= 2; n++) {
      await scene.started(n);
      await scheduler.question(async () => 'answer', never);
    }
    const last = await scene.started(3);
    const third = scheduler.question(async () => 'answer', never);
    expect(last.signal.aborted).toBe(false);
    last.finish('scene');
    await expect(described).resolves.toBe('scene');
    await expect(third).resolves.toBe('answer');
  });

  it('refuses a question when too many wait, and says so', async () => {
    const scheduler = new Scheduler({ queueLength: 1 });
    const running = stepwise<void>();
    const first = scheduler.question(running.work, never);
    await running.started();
    const second = scheduler.question(async () => {}, never);
    await expect(scheduler.question(async () => {}, never)).rejects.toMatchObject({ code: 'ERR_BUSY' });
    (await running.started()).finish();
    await Promise.all([first, second]);
  });

  it('frees the place of a question that is given up while it waits', async () => {
    const scheduler = new Scheduler({ queueLength: 1 });
    const running = stepwise<void>();
    const first = scheduler.question(running.work, never);
    await running.started();
    const caller = new AbortController();
    const second = scheduler.question(async () => {}, caller.signal);
    caller.abort(new Error('too late'));
    await expect(second).rejects.toThrow('too late');
    expect(scheduler.waitingQuestions).toBe(0);
    (await running.started()).finish();
    await first;
  });

  it('passes an abort on to what runs, and goes on with the next', async () => {
    const scheduler = new Scheduler({ queueLength: 2 });
    const running = stepwise<void>();
    const caller = new AbortController();
    const first = scheduler.question(running.work, caller.signal);
    await running.started();
    const second = scheduler.question(async () => 'next', never);
    caller.abort(new Error('deadline'));
    await expect(first).rejects.toThrow('deadline');
    await expect(second).resolves.toBe('next');
  });

  it('goes on after work that throws at once', async () => {
    const scheduler = new Scheduler({ queueLength: 2 });
    const broken = scheduler.question(() => {
      throw new Error('broken');
    }, never);
    await expect(broken).rejects.toThrow('broken');
    await expect(scheduler.question(async () => 'fine', never)).resolves.toBe('fine');
  });

  it('ends everything when it is closed', async () => {
    const scheduler = new Scheduler({ queueLength: 2 });
    const running = stepwise<void>();
    const first = scheduler.description(running.work, never);
    await running.started();
    const second = scheduler.description(async () => {}, never);
    const ends = [first, second].map((job) => expect(job).rejects.toMatchObject({ code: 'ERR_DISPOSED' }));
    await scheduler[Symbol.asyncDispose]();
    await Promise.all(ends);
    await expect(scheduler.question(async () => {}, never)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
  });
});
