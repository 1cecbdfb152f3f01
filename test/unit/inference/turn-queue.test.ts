import { describe, expect, it } from 'vitest';
import { TurnQueue } from '#sdk/inference/turn-queue.js';

const never = new AbortController().signal;

describe('TurnQueue', () => {
  it('gives turns in the order of asking, one at a time', async () => {
    const queue = new TurnQueue(10);
    const events: string[] = [];
    const job = async (name: string) => {
      const end = await queue.take('question', never);
      events.push(`${name} starts`);
      await Promise.resolve();
      events.push(`${name} ends`);
      end();
      end(); // a second call changes nothing
    };
    await Promise.all(['a', 'b', 'c'].map(job));
    expect(events).toEqual(['a starts', 'a ends', 'b starts', 'b ends', 'c starts', 'c ends']);
    await queue.idle();
  });

  it('refuses more than can wait', async () => {
    const queue = new TurnQueue(1);
    const end = await queue.take('question', never);
    const second = queue.take('question', never);
    await expect(queue.take('question', never)).rejects.toMatchObject({ code: 'ERR_BUSY', retryable: true });
    end();
    (await second)();
  });

  it('lets a waiter leave without losing the turn for the others', async () => {
    const queue = new TurnQueue(10);
    const end = await queue.take('question', never);
    const leaving = new AbortController();
    const left = queue.take('question', leaving.signal);
    const stayed = queue.take('question', never);
    leaving.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    await expect(queue.take('question', AbortSignal.abort(new Error('aborted before')))).rejects.toThrow(
      'aborted before',
    );
    end();
    (await stayed)();
    await queue.idle();
  });

  it('closed: refuses waiters and newcomers, and is idle when the running turn has ended', async () => {
    const queue = new TurnQueue(10);
    const end = await queue.take('question', never);
    const waiting = queue.take('question', never);
    queue.close(new Error('closed'));
    await expect(waiting).rejects.toThrow('closed');
    await expect(queue.take('question', never)).rejects.toThrow('closed');
    let idle = false;
    const becameIdle = queue.idle().then(() => {
      idle = true;
    });
    await Promise.resolve();
    expect(idle).toBe(false);
    end();
    await becameIdle;
  });
});
