import { expect, test } from 'vitest';
import { ReloadSignal } from '#device/cli/reload-signal.js';

test('SIGHUP asks for a reload, where somebody reloads, unless the terminal is gone that was there', () => {
  let hasTerminal = true;
  let reloads = 0;
  const signal = new ReloadSignal(() => hasTerminal);
  expect(signal.receive()).toBe(false);
  const end = signal.handle(() => void reloads++);
  expect(signal.receive()).toBe(true);
  hasTerminal = false;
  expect(signal.receive()).toBe(false);
  expect(reloads).toBe(1);

  const underSystemd = new ReloadSignal(() => false);
  underSystemd.handle(() => void reloads++);
  expect(underSystemd.receive()).toBe(true);
  expect(reloads).toBe(2);

  hasTerminal = true;
  end();
  expect(signal.receive()).toBe(false);
});
