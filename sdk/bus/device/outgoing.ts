/** What goes with a message on the wire, and the name of the connection it goes by. */
import { type BusTopics, DEFAULT_ROOT } from '../contract/topics.js';
import type { Link } from '../transport/link.js';
import type { OutboxMessage } from '../transport/outbox.js';
import type { PublishProperties } from '../transport/types.js';

/** Sends a message of the outbox. @throws as `Link.publish`. */
export function sendMessage(link: Link, message: OutboxMessage): Promise<unknown> {
  const { schema } = message.value as { readonly schema?: string | undefined };
  return link.publish(message.topic, message.payload, {
    retain: message.kind === 'state',
    properties: {
      ...jsonProperties(schema, message.isRepeated),
      ...(message.correlationData === undefined ? {} : { correlationData: message.correlationData }),
      ...expiryOf(message),
    },
  });
}

/** MQTT client id. Different for different devices: of two roots `a` and `a/b` and devices `b-c` and `c` too. */
export function clientIdOf({ root, device }: BusTopics): string {
  // `$` is in no name. The default root keeps the form that access rules of the field may name.
  return root === DEFAULT_ROOT ? `${root}-${device}` : `${root.replaceAll('/', '$')}$${device}`;
}

function expiryOf({ expiresAtMs, brokerSeconds }: OutboxMessage): PublishProperties {
  if (expiresAtMs !== undefined) {
    return { messageExpiryInterval: Math.max(1, Math.ceil((expiresAtMs - performance.now()) / 1000)) };
  }
  return brokerSeconds === undefined ? {} : { messageExpiryInterval: brokerSeconds };
}

/** MQTT 5 properties of a JSON payload of the schema `schema`, as `scenebus.scene/1`; undefined: not of the contract. */
export function jsonProperties(schema: string | undefined, isRepeated = false): PublishProperties {
  const userProperties = {
    ...(schema === undefined ? {} : { schema }),
    // MQTT's own mark of a duplicate ends at the broker [MQTT-3.3.1-3].
    ...(isRepeated ? { repeated: 'true' } : {}),
  };
  const properties = { payloadFormatIndicator: true, contentType: 'application/json' };
  // A packet with an empty list of them is never sent by mqtt.js 5.16.
  return Object.keys(userProperties).length === 0 ? properties : { ...properties, userProperties };
}
