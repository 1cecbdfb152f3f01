/** Exact size of a PUBLISH packet, for brokers that say how much they take. */
import type { ProtocolVersion, PublishProperties } from './types.js';

const encoder = new TextEncoder();

export interface PublishShape {
  readonly topic: string;
  readonly payload: string;
  readonly qos: 0 | 1;
  readonly version: ProtocolVersion;
  readonly properties: PublishProperties | undefined;
}

/** Bytes on the wire, fixed header included [MQTT 5 §3.3]: what a broker's maximum packet size is about. */
export function publishPacketBytes({ topic, payload, qos, version, properties }: PublishShape): number {
  let remaining = stringBytes(topic) + (qos > 0 ? 2 : 0) + byteLength(payload);
  if (version === 5) {
    const bytes = propertyBytes(properties ?? {});
    remaining += variableIntegerBytes(bytes) + bytes;
  }
  return 1 + variableIntegerBytes(remaining) + remaining;
}

/** Each property is one identifier byte and its value [MQTT 5 §2.2.2.2]. */
function propertyBytes(properties: PublishProperties): number {
  const { payloadFormatIndicator, messageExpiryInterval, contentType, responseTopic, correlationData } = properties;
  let bytes = 0;
  if (payloadFormatIndicator !== undefined) bytes += 1 + 1;
  if (messageExpiryInterval !== undefined) bytes += 1 + 4;
  if (contentType !== undefined) bytes += 1 + stringBytes(contentType);
  if (responseTopic !== undefined) bytes += 1 + stringBytes(responseTopic);
  if (correlationData !== undefined) bytes += 1 + 2 + correlationData.length;
  for (const [key, value] of Object.entries(properties.userProperties ?? {})) {
    bytes += 1 + stringBytes(key) + stringBytes(value);
  }
  return bytes;
}

function byteLength(text: string): number {
  return encoder.encode(text).length;
}

/** Two bytes of length, then UTF-8. */
function stringBytes(text: string): number {
  return 2 + byteLength(text);
}

/** Seven bits a byte [MQTT 5 §1.5.5]. */
function variableIntegerBytes(value: number): number {
  if (value < 128) return 1;
  if (value < 16_384) return 2;
  return value < 2_097_152 ? 3 : 4;
}
