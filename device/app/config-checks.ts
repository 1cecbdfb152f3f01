/** What `doctor` finds of a configuration and its broker: it opens no camera and no model. */
import { isSdkError } from 'scenebus';
import { readTlsFiles } from 'scenebus/bus';
import { connectClient } from 'scenebus/client';
import { loadConfig } from '../config/load.js';
import type { DeviceConfig } from '../config/schema.js';
import type { Finding } from '../platform/doctor/finding.js';
import { checkModel } from '../platform/doctor/model-check.js';

export interface ConfigCheckOptions {
  /** Configuration file. */
  readonly config?: string | undefined;
  /** Address that is tried instead of the configuration's. */
  readonly broker?: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal | undefined;
}

/** A broker in the next room answers in milliseconds. */
const CONNECT_LIMIT_MS = 5_000;

/** @throws signal.reason when aborted; all else is a finding. */
export async function checkConfigAndBroker(options: ConfigCheckOptions): Promise<Finding[]> {
  const { config: file, broker, environment } = options;
  const findings: Finding[] = [];
  let config: DeviceConfig | undefined;
  if (file !== undefined) {
    findings.push(await checkConfigFile(file, environment));
    // What it names may be looked at all the same when only a camera's address or a folder is wrong.
    config = await loadConfig(file, environment).catch(() => undefined);
    if (config !== undefined) findings.push(await checkModel(config.model.directory));
  }
  if (broker !== undefined || config?.broker !== undefined) findings.push(await checkConnection(config, options));
  return findings;
}

async function checkConfigFile(file: string, environment: ConfigCheckOptions['environment']): Promise<Finding> {
  const base = { id: 'config', title: 'Configuration' };
  try {
    const { device, cameras } = await loadConfig(file, environment, { check: 'all' });
    const names = cameras.map(({ id }) => id).join(', ');
    return { ...base, status: 'ok', value: `${file}: device ${device}, cameras ${names}` };
  } catch (error) {
    return {
      ...base,
      status: 'problem',
      value: error instanceof Error ? error.message : String(error),
      meaning: '`scenebus run` ends with 2',
      remedy: `correct the file; \`scenebus config check ${file}\` prints it with every default`,
    };
  }
}

async function checkConnection(config: DeviceConfig | undefined, options: ConfigCheckOptions): Promise<Finding> {
  const { environment, signal } = options;
  const base = { id: 'broker', title: 'MQTT broker' };
  try {
    const tls = config?.broker?.tls;
    await using client = await connectClient({
      url: options.broker ?? config?.broker?.url ?? '',
      root: config?.root,
      username: config === undefined ? environment.SCENEBUS_MQTT_USERNAME : config.secrets.mqttUsername,
      password: config === undefined ? environment.SCENEBUS_MQTT_PASSWORD : config.secrets.mqttPassword,
      tls: tls && { ...(await readTlsFiles(tls)), servername: tls.servername },
      protocolVersion: config?.broker?.protocolVersion,
      connectTimeoutMs: CONNECT_LIMIT_MS,
      signal,
    });
    return { ...base, status: 'ok', value: `${client.broker} lets us in` };
  } catch (error) {
    signal?.throwIfAborted();
    const value = error instanceof Error ? error.message : String(error);
    const meaning = isSdkError(error, 'ERR_BUS_UNREACHABLE')
      ? 'a device starts without it, tries again in the background and keeps its answers meanwhile'
      : 'a device with these settings does not start';
    return { ...base, status: 'problem', value, meaning };
  }
}
