/** The levels that topic names are made of: what people may choose as one, and what brokers carry. */
import { SdkError } from '../../core/errors.js';

export const DEFAULT_ROOT = 'scenebus';
/** The level under the root that belongs to groups of devices; no device has that name. */
export const GROUP_LEVEL = 'group';

const SEGMENT_MAX_CHARACTERS = 64;
// Wildcards and separators change a topic's meaning, `$` opens the broker's own tree, control characters and lone
// surrogates may make a broker close the connection [MQTT-1.5.4-1, MQTT-1.5.4-2].
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const SEGMENT_FORBIDDEN = /[/+#$\u0000-\u001f\u007f-\u009f\p{Surrogate}]/u;

/**
 * Whether `value` can be one level of a topic: 1–64 characters, none of `/ + # $` and no control character. `.` and
 * `..` are refused as well: they are nothing special in a topic, but whoever maps topics to files or URLs climbs.
 */
export function isTopicSegment(value: string): boolean {
  if (value === '.' || value === '..') return false;
  return value.length > 0 && value.length <= SEGMENT_MAX_CHARACTERS && !SEGMENT_FORBIDDEN.test(value);
}

export const TOPIC_SEGMENT_RULE = `1 to ${SEGMENT_MAX_CHARACTERS} characters without / + # $ and control characters, not . or ..`;

/**
 * Whether every broker carries the level as it is. RabbitMQ turns dots into slashes and `*` into `+`; NATS throws out
 * who publishes a dot, a space, `*` or `>`.
 */
export function isPortableSegment(value: string): boolean {
  return isTopicSegment(value) && !/[.\s*>]/.test(value);
}

export function checkSegment(what: string, value: string): string {
  if (isTopicSegment(value)) return value;
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected ${what} of ${TOPIC_SEGMENT_RULE}, because it becomes part of an MQTT topic, but received ${JSON.stringify(value)}.`,
    { details: { what, value } },
  );
}

/** A root may have several levels: `site/hall-2/scenebus`. */
export function checkRoot(root: string): string {
  for (const segment of root.split('/')) checkSegment('a topic root with levels', segment);
  return root;
}
