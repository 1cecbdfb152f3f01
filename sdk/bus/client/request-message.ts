/** A request as it goes out. */
import { SdkError } from '../../core/errors.js';
import { describeIssues } from '../contract/decoding.js';
import { REQUEST_TIMEOUT_MS } from '../contract/schemas/index.js';
import { VERBS, type VerbName } from '../contract/verbs.js';
import type { Link } from '../transport/link.js';

export const DEFAULT_TIMEOUT_MS = 120_000;

/** @throws SdkError ERR_ARGUMENT_INVALID naming the fields that do not fit the verb */
export function checkedRequest(verb: VerbName, fields: object): object {
  const request = VERBS[verb].request.safeParse(fields);
  if (request.success) return request.data as object;
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected a request that fits ${verb} and a timeoutMs of ${REQUEST_TIMEOUT_MS.min} to ${REQUEST_TIMEOUT_MS.max}, but ${describeIssues(request.error)}.`,
  );
}

export interface Outgoing {
  readonly topic: string;
  readonly request: object;
  readonly transaction: string;
  readonly answerTopic: string;
  readonly timeoutMs: number;
}

/** @returns whether the broker says that nobody subscribes (MQTT 5). @throws as `Link.publish` */
export async function sendRequest(
  link: Link,
  { topic, request, transaction, answerTopic, timeoutMs }: Outgoing,
): Promise<boolean> {
  const { unheard } = await link.publish(topic, JSON.stringify({ ...request, transaction }), {
    retain: false,
    properties: {
      responseTopic: answerTopic,
      correlationData: new TextEncoder().encode(transaction),
      messageExpiryInterval: Math.max(1, Math.ceil(timeoutMs / 1000)),
      payloadFormatIndicator: true,
      contentType: 'application/json',
    },
  });
  return unheard;
}
