/** What somebody who helps needs to see of a device, in one zip, without its secrets. */
import { strToU8, zipSync } from 'fflate';
import { version } from 'scenebus';
import { redact, redactDeep } from 'scenebus/service';
import { stringify } from 'yaml';
import { diagnose } from '../../platform/doctor/diagnose.js';
import type { ConsoleServices } from '../routes/services.js';
import { secretPaths, shownValues } from '../settings/shown-config.js';

const README = `What this is: how a SceneBus device is, for whoever helps with it.

config.yaml   every setting, defaults included; passwords, user names and the paths of keys are left out
versions.json of SceneBus, Node, the model and the machine
doctor.json   what the machine has and lacks, and what the check of the configuration found
state.json    cameras, model and broker as the console shows them, with what is wrong
health.json   figures of the device now and over the last day: memory, rates, queues, temperature where the machine tells it
log.txt       the last lines of the log
licences.json under which terms the model is used

It holds no picture, no answer, no password and no token. Look through it all the same before you send it.
`;
const DAY_MS = 86_400_000;

/** @returns the bytes of a zip */
export async function diagnosticsBundle({ device, state, log, signal }: ConsoleServices): Promise<Uint8Array> {
  const { config } = device;
  const { secrets, ...visible } = config;
  const findings = await diagnose({ modelDirectory: config.model.directory, signal });
  const checks = await device.checkConfig(signal);
  const nowMs = Date.now();
  // A bundle is made when something is wrong, the journal included.
  const history = await device.journal
    .healthSeries({ from: nowMs - DAY_MS, to: nowMs, points: 288 })
    .catch((error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }));
  const { model: terms } = await device.licences();
  const known = Object.entries(secrets).filter(([, value]) => value !== undefined);
  const files: Record<string, string> = {
    'README.txt': README,
    'config.yaml': `${stringify(shownValues(JSON.parse(JSON.stringify(visible))))}${known.map(([name]) => `# ${name}: set\n`).join('')}`,
    'versions.json': json({
      scenebus: version,
      ...state.info?.versions,
      platform: platform(),
      model: state.info?.model ?? null,
    }),
    'doctor.json': json([...findings, ...checks]),
    'state.json': json(state.now(device)),
    'health.json': json({ now: state.health ?? null, lastDay: history }),
    'log.txt': log.lines
      .map(({ atMs, level, message }) => `${new Date(atMs).toISOString()} ${level} ${message}\n`)
      .join(''),
    'licences.json': json({ llama: terms.llama, duties: terms.duties, files: terms.texts.map(({ name }) => name) }),
  };
  const hidden = secretPaths(config);
  const clean = (text: string): string =>
    redact(hidden.reduce((shown, path) => shown.replaceAll(path, '(a file of secrets)'), text));
  return zipSync(Object.fromEntries(Object.entries(files).map(([name, text]) => [name, strToU8(clean(text))])));
}

function json(value: unknown): string {
  return `${JSON.stringify(redactDeep(value), undefined, 2)}\n`;
}

function platform(): object {
  return { system: process.platform, architecture: process.arch, node: process.version };
}
