import { expect, test } from 'vitest';
import { closeOnExit, NativeGate } from '#sdk/engine/shared/native-gate.js';

test('closing waits for what is inside, and lets nothing more in', async () => {
  const gate = new NativeGate();
  let finish = () => {};
  const running = gate.pass(() => new Promise<string>((resolve) => (finish = () => resolve('done'))));
  let closed = false;
  const closing = gate.close().then(() => {
    closed = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(closed).toBe(false);
  finish();
  expect(await running).toBe('done');
  await closing;
  await expect(gate.pass(async () => 'late')).rejects.toMatchObject({ code: 'ERR_ENGINE_DIED' });
  await gate.close();
  gate.closeNow();
});

test('work that fails leaves the gate', async () => {
  const gate = new NativeGate();
  await expect(gate.pass(() => Promise.reject(new Error('inside')))).rejects.toThrow('inside');
  expect(await gate.pass(async () => 'next')).toBe('next');
  await gate.close();
});

test('listens to the exit of the process only while a gate is open', () => {
  const before = process.listenerCount('exit');
  const gates = [new NativeGate(), new NativeGate(), new NativeGate()];
  const forget = gates.map(closeOnExit);
  expect(process.listenerCount('exit')).toBe(before + 1);
  for (const release of forget) release();
  expect(process.listenerCount('exit')).toBe(before);
});
