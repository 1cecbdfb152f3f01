/** The configurations that people copy are correct, and say what they are for. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { runCli } from '#device/cli/program.js';
import { captureTerminal } from '../support/captured-terminal.js';

const folder = fileURLToPath(new URL('../../examples/config', import.meta.url));
const environment = { SCENEBUS_CAMERA_PASSWORD: 'hidden', SCENEBUS_MQTT_PASSWORD: 'hidden' };

describe.each(readdirSync(folder))('examples/config/%s', (name) => {
  test('passes `scenebus config check`, without showing a secret', async () => {
    const terminal = captureTerminal();
    const code = await runCli(['config', 'check', join(folder, name)], { terminal, environment });
    expect(terminal.errors()).toContain('correct');
    expect(code).toBe(0);
    expect(terminal.output()).not.toContain('hidden');
  });

  test('explains itself', () => {
    const lines = readFileSync(join(folder, name), 'utf8').trim().split('\n');
    expect(lines[0]).toMatch(/^# A (kiosk|robot): /);
    expect(lines.filter((line) => line.includes('#')).length).toBeGreaterThan(8);
  });
});
