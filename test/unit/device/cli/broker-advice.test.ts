/** What a person is told of a broker and a configuration: by `bus ask`, `bus watch` and `doctor`. */
import { writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SdkError } from 'scenebus';
import { type Bus, connectBus, openEmbeddedBroker } from 'scenebus/bus';
import { connect } from 'scenebus/client';
import { describe, expect, test } from 'vitest';
import { runCli } from '#device/cli/program.js';
import type { Finding } from '#device/platform/doctor/finding.js';
import { Admission } from '#sdk/inference/admission.js';
import { freePort, startEmbedded } from '../../../support/brokers.js';
import { captureTerminal } from '../../../support/captured-terminal.js';
import { fakeAnswer } from '../../../support/device-fakes.js';
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

describe('bus ask says what it expected, what came and what to do', () => {
  const PASSWORD = 'hunter2hunter2';
  const frame = { id: 'f1', capturedAtMs: 0, width: 64, height: 48 };
  const answers = async () => ({ frame, answer: fakeAnswer('yes'), model: { id: 'demo' } });
  const throws = (error: SdkError) => async () => {
    throw error;
  };

  test.each<[string, string, RegExp, (bus: Bus) => unknown]>([
    ['nobody who answers', 'ERR_BUS_UNREACHABLE', /but it is stopped\. Check that it runs/, (bus) => bus.close()],
    ['a model that loads', 'ERR_BUSY', /is still starting.*\. Try again in 5000 ms; its health/, () => {}],
    [
      'a model that others wait for',
      'ERR_BUSY',
      /32 requests to wait .* but one more came\. Try again in \d+\.\d s/,
      (bus) => bus.onAsk(throws(new Admission(32).busy(32))),
    ],
  ])('about %s', async (_, code, words, prepare) => {
    await using broker = await startEmbedded();
    const bus = await connectBus({ url: broker.url, device: 'kiosk' });
    await prepare(bus);
    const { code: exitCode, err } = await scenebus('bus', 'ask', 'kiosk', 'Who?', '--broker', broker.url);
    await bus.close();
    expect(exitCode).toBe(1);
    const said = err.split('\n').find((line) => line.startsWith('error '));
    expect(said).toMatch(new RegExp(`^error ${code}: Expected .+ but .+\\. \\S`));
    expect(said).toMatch(words);
  });

  test('about a broker that does not let it in, without the password', async () => {
    await using broker = await openEmbeddedBroker({ port: 0, username: 'robot', password: PASSWORD });
    const environment = { SCENEBUS_MQTT_USERNAME: 'robot', SCENEBUS_MQTT_PASSWORD: 'wrong-password' };
    const terminal = captureTerminal();
    const args = ['bus', 'ask', 'kiosk', 'Who?', '--broker', broker.url];
    expect(await runCli(args, { terminal, environment })).toBe(1);
    expect(terminal.errors()).toMatch(
      /^error ERR_BUS_REJECTED: Expected to be let in at .+, but the broker refused .+ Check user name, password .+ SCENEBUS_MQTT_PASSWORD/,
    );
    expect(terminal.errors()).not.toContain('wrong-password');
  });

  test('about a host that nobody knows, and one that is no broker', async () => {
    const unknown = await scenebus('bus', 'ask', 'kiosk', 'Who?', '--broker', 'mqtt://nowhere.invalid:1883');
    expect(unknown.err).toMatch(/Expected a broker at .+, but it cannot be reached: (ENOTFOUND|EAI_AGAIN)\. Start/);
    const web = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
    const url = `mqtt://127.0.0.1:${(web.address() as AddressInfo).port}`;
    const wrong = await scenebus('bus', 'ask', 'kiosk', 'Who?', '--broker', url);
    web.close();
    expect(wrong.err).toMatch(/^error ERR_BUS_\w+: Expected .+, but it .+\. (Expected a broker that speaks|Start the)/);
  });

  test('of a caller that asks too fast, and again when it may', async () => {
    await using broker = await startEmbedded();
    const clientLimits = { requestsPerSecond: 2, burst: 1 };
    const bus = await connectBus({ url: broker.url, device: 'kiosk', clientLimits });
    bus.onAsk(answers);
    await using client = await connect(broker.url);
    await client.ask('kiosk', 'Who?');
    await expect(client.ask('kiosk', 'Who?')).rejects.toMatchObject({
      code: 'ERR_BUSY',
      details: { retryAfterMs: expect.any(Number) },
      message: expect.stringMatching(
        /Expected at most 2 requests a second of one caller \(1 at once\), but one more came\. Try again in \d+ ms/,
      ),
    });
    await bus.close();
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
