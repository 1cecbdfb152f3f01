/** What a person is told of a broker and a configuration: by `bus ask`, `bus watch` and `doctor`. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openEmbeddedBroker } from 'scenebus/bus';
import { describe, expect, test } from 'vitest';
import { runCli } from '#device/cli/program.js';
import type { Finding } from '#device/platform/doctor/finding.js';
import { freePort, startEmbedded } from '../../../support/brokers.js';
import { captureTerminal } from '../../../support/captured-terminal.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

const model = fileURLToPath(new URL('../../../../examples/demo-model/checkpoint', import.meta.url));

async function scenebus(...args: string[]) {
  const terminal = captureTerminal();
  const code = await runCli(args, { terminal, environment: {} });
  return { code, out: terminal.output(), err: terminal.errors() };
}

async function doctor(...args: string[]) {
  const { code, out } = await scenebus('doctor', '--json', ...args);
  const { findings } = JSON.parse(out) as { findings: Finding[] };
  const ids = findings.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  return { code, found: new Map(findings.map((finding) => [finding.id, finding])) };
}

async function configFile(broker: string, camera = 'rtsp://cam.local/main'): Promise<string> {
  const file = join(await makeTemporaryFolder('scenebus-doctor-'), 'config.json');
  const cameras = [{ id: 'front', address: camera }];
  const config = { version: 1, device: 'kiosk', model: { directory: model }, cameras, broker: { url: broker } };
  await writeFile(file, JSON.stringify(config));
  return file;
}

describe('bus ask and bus watch', () => {
  test.each([
    ['ask', 'kiosk', 'What?'],
    ['watch', 'kiosk'],
  ])('%s says what a person can do about a broker that is not there', async (...args) => {
    const url = `mqtt://127.0.0.1:${await freePort()}`;
    const { code, err } = await scenebus('bus', ...args, '--broker', url);
    expect(code).toBe(1);
    expect(err).toMatch(/^error ERR_BUS_UNREACHABLE: .*Start the broker or correct the address\. `--broker URL`/);
    expect(err).not.toContain('waitForBroker');
  });
});

describe('doctor --config and --broker', () => {
  test('finds nothing wrong with what is right', async () => {
    await using broker = await startEmbedded();
    const { found } = await doctor('--config', await configFile(broker.url));
    expect(found.get('config')).toMatchObject({ status: 'ok', value: expect.stringContaining('device kiosk') });
    expect(found.get('model')).toMatchObject({ status: 'ok' });
    expect(found.get('broker')).toMatchObject({ status: 'ok', value: expect.stringContaining('lets us in') });
  });

  test('names what is wrong, each as a finding of its own, and ends with 1', async () => {
    const url = `mqtt://127.0.0.1:${await freePort()}`;
    const { code, found } = await doctor('--config', await configFile(url, 'rtzp://cam.local/main'));
    expect(code).toBe(1);
    expect(found.get('config')).toMatchObject({
      status: 'problem',
      value: expect.stringContaining('cameras[0].address'),
    });
    expect(found.get('model')).toMatchObject({ status: 'ok' });
    expect(found.get('broker')).toMatchObject({
      status: 'problem',
      value: expect.stringContaining('ECONNREFUSED'),
      meaning: expect.stringContaining('tries again'),
    });
  });

  test('says of a file that is no configuration why, and tries the broker that is named', async () => {
    await using broker = await openEmbeddedBroker({ port: 0, username: 'robot', password: 'hunter2hunter2' });
    const { code, found } = await doctor('--config', '/nonexistent.yaml', '--broker', broker.url);
    expect(code).toBe(1);
    expect(found.get('config')?.value).toContain('Cannot read /nonexistent.yaml');
    expect(found.get('broker')).toMatchObject({
      status: 'problem',
      meaning: expect.stringContaining('does not start'),
    });
  });

  test('does not pass over what the self-test would', async () => {
    expect((await scenebus('doctor', '--self-test', '--broker', 'mqtt://h')).code).toBe(2);
  });
});
