import { describe, expect, test } from 'vitest';
import { readPayload } from '#sdk/bus/contract/decoding.js';
import { busSchemas } from '#sdk/bus/index.js';

const error = {
  schema: 'scenebus.response/1',
  device: 'dev',
  run: 'r',
  seq: 1,
  ts: '2026-01-02T03:04:05.678Z',
  verb: 'ask',
  status: 'error',
  error: { code: 'ERR_BUSY', message: 'Later.', retryable: true },
};

describe('readPayload', () => {
  test('leaves out what a newer device adds, at any depth, and touches nothing else', () => {
    const newer = { ...error, mood: 'good', error: { ...error.error, retryAfterMs: 5, since: { year: 2027 } } };
    const before = structuredClone(newer);
    const read = readPayload(busSchemas.response, newer);
    expect(read).toEqual({ success: true, data: { ...error, error: { ...error.error, retryAfterMs: 5 } } });
    expect(newer).toEqual(before);
  });

  test('refuses what is wrong besides, with the first judgement', () => {
    const wrong = { ...error, mood: 'good', error: { ...error.error, retryable: 'yes' } };
    expect(readPayload(busSchemas.response, wrong)).toMatchObject({ success: false });
    expect(readPayload(busSchemas.response, JSON.parse('{"__proto__":{"status":"ok"}}'))).toMatchObject({
      success: false,
    });
    for (const value of [undefined, null, 7, 'text', []])
      expect(readPayload(busSchemas.scene, value).success).toBe(false);
  });
});
