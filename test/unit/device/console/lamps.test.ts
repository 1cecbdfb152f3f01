import { cameraStatusSchema } from 'scenebus/bus';
import { describe, expect, test } from 'vitest';
import { ADVICE, adviceFor, remedyOf } from '#device/console/health/advice.js';
import { brokerLamp, cameraLamp, modelLamp, privateLamp, worst } from '#device/console/health/lamps.js';
import { ERROR_CODES } from '#sdk/core/errors.js';

const SENTENCE = /^[A-Z].*[.!]$/s;
const CODES = Object.keys(ERROR_CODES);

describe('every reason that the service can give', () => {
  test.each(CODES)('%s has a sentence in plain words and an action', (code) => {
    const advice = adviceFor(code);
    expect(advice).toBe(ADVICE[code as keyof typeof ADVICE]);
    expect(advice.words).toMatch(SENTENCE);
    // For people: no code, no name of a type, no stack.
    expect(advice.words).not.toMatch(/ERR_|[a-z][A-Z]|\bnull\b|undefined/);
    for (const isGivenUp of [false, true]) expect(remedyOf(advice, { isGivenUp })).toMatch(SENTENCE);
    expect(advice.remedy).toMatch(/[a-z.]$/);
  });

  test('a code that is not known is told as a fault', () => {
    for (const code of ['ERR_OF_TOMORROW', 'constructor', '__proto__', ''])
      expect(adviceFor(code)).toBe(ADVICE.ERR_INTERNAL);
  });

  const states = cameraStatusSchema.shape.state.options;
  test.each(states)('a camera that is %s says so, and what to do unless all is well', (state) => {
    for (const code of [undefined, ...CODES]) {
      const reason = code === undefined ? null : { code, message: 'As the camera said it.' };
      const lamp = cameraLamp('front', { state, reason });
      expect(lamp.reason).toContain('front');
      expect(lamp.reason).toMatch(SENTENCE);
      if (lamp.state === 'good') continue;
      expect(lamp.remedy).toMatch(SENTENCE);
      if (lamp.state === 'bad') expect(lamp.detail).toBe(reason?.message ?? null);
      // One that was given up is not promised to come back.
      if (state === 'failed') {
        expect(lamp.remedy).toMatch(/restart the service\.$/);
        expect(lamp.remedy).not.toMatch(/by itself/);
      }
    }
    expect(cameraLamp('front', { state, reason: null }).state).toBe(
      state === 'running' ? 'good' : ['starting', 'ended', 'stopped'].includes(state) ? 'waiting' : 'bad',
    );
  });

  test('the model and the broker say theirs in every state', () => {
    for (const code of CODES)
      expect(modelLamp(undefined, { code, message: 'm' })).toMatchObject({
        state: 'bad',
        reason: expect.stringMatching(SENTENCE),
        remedy: expect.stringMatching(SENTENCE),
        detail: 'm',
      });
    expect(modelLamp(undefined, undefined)).toMatchObject({ state: 'waiting', remedy: expect.any(String) });
    const info = { name: 'demo', engine: { backend: 'cpu', weights: 'int4' } };
    expect(modelLamp(info, undefined)).toMatchObject({ state: 'good', remedy: null });
    const found = (['connecting', 'online', 'offline', 'closed'] as const).map((state) =>
      brokerLamp({ address: 'mqtt://b', state }, undefined),
    );
    expect(found.map(({ state }) => state)).toEqual(['waiting', 'good', 'bad', 'waiting']);
    for (const { state, reason, remedy } of found) {
      expect(reason).toMatch(SENTENCE);
      if (state !== 'good') expect(remedy).toMatch(SENTENCE);
    }
  });
});

test('one lamp for several cameras is that of the worst', () => {
  const good = cameraLamp('a', { state: 'running', reason: null });
  const bad = cameraLamp('b', { state: 'failed', reason: null });
  expect(worst([good, privateLamp('c'), bad])).toBe(bad);
  expect(worst([good, privateLamp('c')]).state).toBe('waiting');
  expect(worst([good, good]).reason).toBe('All 2 cameras deliver pictures.');
  expect(worst([good])).toBe(good);
});
