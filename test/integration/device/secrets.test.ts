/** A camera's password: searched for in every byte that the service logs, publishes and prints. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCamera, type VisionLanguageModel } from 'scenebus';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DeviceService } from '#device/app/device-service.js';
import { createLogger } from '#device/cli/logger.js';
import { runCli } from '#device/cli/program.js';
import { loadConfig } from '#device/config/load.js';
import { freePort, Listener, startMosquitto } from '../../support/brokers.js';
import { captureTerminal } from '../../support/captured-terminal.js';
import { fakeModel } from '../../support/device-fakes.js';

const secret = 'Ge/he#im?77@x';
/** Written so that no linter takes it for a template. */
const reference = `\${SCENEBUS_CAMERA_PASSWORD}`;
const forms = [secret, encodeURIComponent(secret), 'he#im', 'he%23im', 'Geheim78'];

/** Enough of a model to say what it is. */
function blindModel(): VisionLanguageModel {
  const { model } = fakeModel();
  const engine = { backend: 'cpu', weights: 'int4', numerics: 'meta', contextLength: 64 };
  const info = { ...model.info, engine, writesBoxes: false };
  return Object.assign(model, {
    info,
    stats: () => ({ waiting: { urgent: 0, question: 0 } }),
  }) as unknown as VisionLanguageModel;
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-secrets-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each([
  ['in user-info, from the environment', `viewer:${reference}@HOST/s`],
  ['in the path, from the environment', `HOST/user=admin_password=${reference}_channel=1_stream=0.sdp`],
  ['in the path, written in the file', 'HOST/usr=admin/pwd=Geheim78/ch1'],
  ['in user-info, written in the file as it is', `viewer:${secret}@HOST/s`],
])('%s', async (_name, address) => {
  await using broker = await startMosquitto();
  const config = {
    version: 1,
    device: 'bench',
    model: { directory: folder },
    cameras: [{ id: 'front', address: `rtsp://${address.replace('HOST', `127.0.0.1:${await freePort()}`)}` }],
    broker: { url: broker.url },
    journal: { directory: 'state' },
    healthIntervalSeconds: 1,
    log: 'debug',
  };
  const file = join(folder, 'config.json');
  await writeFile(file, JSON.stringify(config));
  const environment = { SCENEBUS_CAMERA_PASSWORD: secret };
  const terminal = captureTerminal();
  await runCli(['config', 'check', file], { terminal, environment });

  await using listener = await Listener.open(broker, 5);
  const parts = { openCamera, loadModel: async () => blindModel() };
  const logger = createLogger(terminal, 'debug');
  const service = await DeviceService.start(await loadConfig(file, environment), {
    parts,
    logger,
    requireBroker: true,
  });
  const isDown = ({ topic, json }: (typeof listener.messages)[number]) =>
    topic === 'scenebus/bench/camera/front/status' && ['reconnecting', 'failed'].includes(json?.state);
  const status = await listener.next(isDown);
  expect(status.json.reason.message).toContain('***');
  await listener.next(({ topic, json }) => topic === 'scenebus/bench/health' && json.problems.length > 0);
  await service.stop();

  const everything = [
    terminal.output(),
    terminal.errors(),
    ...listener.messages.map(({ topic, text }) => topic + text),
    await readFile(join(folder, 'state', 'bench', 'journal.db'), 'latin1'),
  ];
  for (const form of forms) expect(everything.join('\n')).not.toContain(form);
  expect(everything.join('\n')).toContain('127.0.0.1'); // it was about this camera
});
