import { describe, expect, test } from 'vitest';
import type { HostSession, SessionEnd } from '#sdk/capture/host-session.js';
import { type NextAttempt, OpenSequence } from '#sdk/capture/open-sequence.js';
import { type ErrorCode, SdkError } from '#sdk/core/errors.js';

/** Sessions that end as told; `streamed` ones had a ring. */
function script(...ends: { code?: ErrorCode; tryNext?: string; streamed?: boolean }[]) {
  const seen: NextAttempt[] = [];
  const run = (next: NextAttempt) => {
    seen.push(next);
    const { code, tryNext, streamed } = ends.shift()!;
    const end: SessionEnd = code
      ? { type: 'failed', error: new SdkError(code, code), tryNext }
      : { type: 'ended', clipHash: '' };
    return { session: { ring: streamed ? {} : undefined } as HostSession, end: Promise.resolve(end) };
  };
  return { seen, run };
}

describe('the ways to open a source', () => {
  test('are tried in order, each told what came of those before', async () => {
    const { seen, run } = script(
      { code: 'ERR_CAPTURE_HOST_DIED', tryNext: 'crashed' },
      { code: 'ERR_CAPTURE_UNSUPPORTED', tryNext: 'GSTREAMER: could not open it' },
      { streamed: true },
    );
    expect(await new OpenSequence(1000).run(run)).toEqual({ type: 'ended', clipHash: '' });
    expect(seen.map(({ attempt }) => attempt)).toEqual([0, 1, 2]);
    expect(seen[2]?.earlierFailures).toEqual(['crashed', 'GSTREAMER: could not open it']);
  });

  test('begin with the one that worked the last time, until it fails', async () => {
    const { seen, run } = script(
      { code: 'ERR_CAPTURE_UNSUPPORTED', tryNext: 'no' },
      { code: 'ERR_CAPTURE_LOST', streamed: true },
      { code: 'ERR_CAPTURE_REFUSED' },
      { streamed: true },
    );
    const sequence = new OpenSequence(1000);
    expect(await sequence.run(run)).toMatchObject({ error: { code: 'ERR_CAPTURE_LOST' } });
    await sequence.run(run);
    await sequence.run(run);
    expect(seen.map(({ attempt }) => attempt)).toEqual([0, 1, 1, 0]);
  });

  test('report what one of them found out rather than that the last one crashed', async () => {
    const { run } = script(
      { code: 'ERR_CAPTURE_REFUSED', tryNext: 'FFMPEG: could not open it' },
      { code: 'ERR_CAPTURE_HOST_DIED' },
    );
    expect(await new OpenSequence(1000).run(run)).toMatchObject({ error: { code: 'ERR_CAPTURE_REFUSED' } });
  });
});
