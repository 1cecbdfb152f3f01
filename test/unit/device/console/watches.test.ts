import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startConsole, type TestConsole } from '../../../support/console.js';
import { fakeFrame } from '../../../support/device-fakes.js';

const json = (method: string, body: unknown) => ({
  method,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});
const person = { id: 'person', question: 'Is there a person?', answerType: 'yes-no' };

let served: TestConsole;
beforeAll(async () => {
  served = await startConsole();
});
afterAll(() => served[Symbol.asyncDispose]());

const list = async () =>
  (await served.json('display', '/api/watches')).body as { watches: { cameras: Record<string, unknown>[] }[] };

describe('the watches of a device', () => {
  test('one is added, looked at, paused, changed and removed', async () => {
    const [feed] = served.context.feeds;
    expect(await list()).toEqual({ watches: [] });
    const added = await served.json('operator', '/api/watches', json('POST', person));
    expect(added).toMatchObject({
      status: 200,
      body: { watch: { watch: person, origin: 'bus', cameras: [{ camera: 'cam', value: null, isActive: true }] } },
    });
    await feed!.drained();
    feed!.push(fakeFrame(5, 50));
    await served.context.next('watch');
    expect((await list()).watches[0]?.cameras[0]).toMatchObject({
      value: true,
      frame: { id: 'cam-5' },
      sinceMs: expect.any(Number),
      problem: null,
    });
    const paused = await served.json('operator', '/api/watches/person', json('PATCH', { enabled: false }));
    expect(paused.body).toMatchObject({ watch: { watch: { enabled: false }, cameras: [{ isActive: false }] } });
    const changed = await served.json('operator', '/api/watches/person', json('PATCH', { minProbability: 0.8 }));
    expect(changed.body).toMatchObject({ watch: { watch: { minProbability: 0.8 } } });
    expect((await served.fetch('operator', '/api/watches/person', { method: 'DELETE' })).status).toBe(204);
    expect(await list()).toEqual({ watches: [] });
  });

  test('what is wrong with one is said where it stands', async () => {
    await served.json('operator', '/api/watches', json('POST', person));
    const problem = { code: 'ERR_ENGINE_DIED', message: 'The model is away.', retryable: true };
    await served.context.hub.emit('problem', { part: 'watch/person/cam', problem });
    expect((await list()).watches[0]?.cameras[0]).toMatchObject({ problem: 'The model is away.' });
    await served.fetch('operator', '/api/watches/person', { method: 'DELETE' });
  });

  test('an id that is taken, a camera that is not there and one too many are refused in words', async () => {
    await served.json('operator', '/api/watches', json('POST', person));
    const other = await served.json('operator', '/api/watches', json('POST', { ...person, question: 'Other?' }));
    expect(other).toMatchObject({ status: 400, body: { error: { message: expect.stringContaining('not taken') } } });
    const nowhere = json('POST', { ...person, id: 'there', cameras: ['nowhere'] });
    expect(await served.json('operator', '/api/watches', nowhere)).toMatchObject({ status: 400 });
    for (let i = 1; i < 64; i++)
      await served.fetch('operator', '/api/watches', json('POST', { ...person, id: `w${i}` }));
    const last = await served.json('operator', '/api/watches', json('POST', { ...person, id: 'w64' }));
    expect(last).toMatchObject({ status: 409, body: { error: { code: 'ERR_LIMIT_EXCEEDED' } } });
  });

  test('those of the configuration are changed there', async () => {
    await using fixed = await startConsole({ watches: [person] as never });
    const { body } = await fixed.json('display', '/api/watches');
    expect(body).toMatchObject({ watches: [{ origin: 'config', watch: person }] });
    const paused = await fixed.json('admin', '/api/watches/person', json('PATCH', { enabled: false }));
    expect(paused).toMatchObject({
      status: 400,
      body: { error: { message: expect.stringContaining('configuration') } },
    });
  });

  test.each(['constructor', '__proto__', '..%2f..', '%2e%2e', 'toString', '%00', 'a%2fb'])(
    'the id %s is no watch',
    async (id) => {
      for (const init of [json('PATCH', { enabled: false }), { method: 'DELETE' }])
        expect([400, 404]).toContain((await served.fetch('admin', `/api/watches/${id}`, init)).status);
      const made = await served.fetch('admin', '/api/watches', json('POST', { ...person, id: decodeURIComponent(id) }));
      // A plain word is an id like any other; what is not one is refused.
      expect([400, 409]).toContain(made.status);
    },
  );
});
