/** How to hear a topic with the tools that everybody has. */
import { parseBrokerUrl } from 'scenebus/bus';
import type { DeviceConfig } from '../../config/schema.js';

export interface SubscribeCommand {
  /** For a shell; null: these tools cannot reach this broker. No name and no password is in it. */
  readonly command: string | null;
  /** What to know of it. */
  readonly note: string | null;
}

/** `mosquitto_sub` (https://mosquitto.org/man/mosquitto_sub-1.html) for a topic or a filter. */
export function subscribeCommand(
  { broker, secrets }: Pick<DeviceConfig, 'broker' | 'secrets'>,
  address: string,
  topic: string,
): SubscribeCommand {
  const { protocol, host, port } = parseBrokerUrl(address);
  if (protocol === 'ws' || protocol === 'wss')
    return {
      command: null,
      note: 'mosquitto_sub speaks no WebSocket: use the port of this broker for plain MQTT, which its owner knows.',
    };
  const words = ['mosquitto_sub', '-h', quote(host), '-p', String(port)];
  const needsPassword = secrets.mqttUsername !== undefined || secrets.mqttPassword !== undefined;
  // Variables of the reader's own shell: what stands on a command line is seen by everybody on that machine.
  if (needsPassword) words.push('-u', '"$MQTT_USERNAME"', '-P', '"$MQTT_PASSWORD"');
  if (protocol === 'mqtts') {
    const { caFile, certFile, keyFile } = broker?.tls ?? {};
    words.push(...(caFile === undefined ? ['--capath', '/etc/ssl/certs'] : ['--cafile', quote(caFile)]));
    if (certFile !== undefined && keyFile !== undefined) words.push('--cert', quote(certFile), '--key', quote(keyFile));
  }
  words.push('-t', quote(topic), '-v');
  const notes = [
    ...(needsPassword ? ['Set MQTT_USERNAME and MQTT_PASSWORD in your shell first.'] : []),
    ...(/^(127\.|localhost$|::1$)/.test(host) ? ['This broker listens on the device itself: run it there.'] : []),
  ];
  return { command: words.join(' '), note: notes.length === 0 ? null : notes.join(' ') };
}

/** As one word of a POSIX shell. */
function quote(text: string): string {
  return /^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
