import { readTlsFiles } from 'scenebus/bus';
import { connectClient } from 'scenebus/client';
import type { DeviceConfig } from '../config/schema.js';

/** A broker in the next room answers in milliseconds. */
const LIMIT_MS = 5_000;

/**
 * A request of a client of its own, through the broker to this device and back: what any caller on the bus would get.
 * @throws SdkError ERR_BUS_UNREACHABLE, ERR_BUS_TIMEOUT and others of the bus; signal.reason when aborted
 */
export async function brokerRoundTrip(
  config: DeviceConfig,
  address: string,
  signal: AbortSignal,
): Promise<{ readonly roundTripMs: number }> {
  const tls = config.broker?.tls;
  await using client = await connectClient({
    url: config.broker?.url ?? address,
    root: config.root,
    username: config.secrets.mqttUsername,
    password: config.secrets.mqttPassword,
    tls: tls && { ...(await readTlsFiles(tls)), servername: tls.servername },
    protocolVersion: config.broker === undefined ? 4 : config.broker.protocolVersion,
    connectTimeoutMs: LIMIT_MS,
    signal,
  });
  const startedAtMs = performance.now();
  await client.request(config.device, 'health', {}, { timeoutMs: LIMIT_MS, signal });
  return { roundTripMs: performance.now() - startedAtMs };
}
