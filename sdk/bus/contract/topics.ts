/**
 * Topic names, built and parsed in one place.
 *
 * | topic under `<root>/<device>/`  | payload                     | retain | QoS | MQTT 5 properties |
 * |---|---|---|---|---|
 * | `availability`                  | online, stopped, offline    | yes    | 1   | will delay |
 * | `info`                          | versions, model, limits     | yes    | 1   | content type |
 * | `health`                        | state, memory, counters     | yes    | 1   | content type |
 * | `camera/<id>/status`            | state, age of last frame    | yes    | 1   | content type |
 * | `camera/<id>/scene`             | latest description          | yes    | 1   | content type, message expiry |
 * | `request/<verb>`                | a question, from a caller   | never  | 1   | response topic, correlation data, expiry = deadline |
 * | `response/<verb>`               | the answer, when the caller named no topic | never | 1 | correlation data |
 */
import { SdkError } from '../../core/errors.js';

export const DEFAULT_ROOT = 'scenebus';

/** Verbs of `request/<verb>`. */
export type RequestVerb = 'ask';

/** Names directly under a device that belong to the device; nobody may choose one as a response topic. */
const DEVICE_OWNED = new Set(['availability', 'info', 'health', 'camera', 'request']);

const SEGMENT_MAX_CHARACTERS = 64;
// Wildcards and separators change a topic's meaning, `$` opens the broker's own tree, control characters and lone
// surrogates may make a broker close the connection [MQTT-1.5.4-1, MQTT-1.5.4-2].
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const SEGMENT_FORBIDDEN = /[/+#$\u0000-\u001f\u007f-\u009f\p{Surrogate}]/u;

/** Whether `value` can be one level of a topic: 1–64 characters, none of `/ + # $` and no control character. */
export function isTopicSegment(value: string): boolean {
  return value.length > 0 && value.length <= SEGMENT_MAX_CHARACTERS && !SEGMENT_FORBIDDEN.test(value);
}

export const TOPIC_SEGMENT_RULE = `1 to ${SEGMENT_MAX_CHARACTERS} characters without / + # $ and control characters`;

function checkSegment(what: string, value: string): string {
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

export interface BusTopics {
  readonly root: string;
  readonly device: string;
  readonly availability: string;
  readonly info: string;
  readonly health: string;
  /** Subscription filter for every request to this device. */
  readonly requests: string;
  cameraStatus(cameraId: string): string;
  cameraScene(cameraId: string): string;
  request(verb: RequestVerb): string;
  /** Where answers go when the caller named no topic. */
  response(verb: string): string;
}

/** @throws SdkError ERR_ARGUMENT_INVALID when root, device or (later) a camera id cannot be a topic level. */
export function busTopics(root: string, device: string): BusTopics {
  const base = `${checkRoot(root)}/${checkSegment('a device name', device)}`;
  return {
    root,
    device,
    availability: `${base}/availability`,
    info: `${base}/info`,
    health: `${base}/health`,
    requests: `${base}/request/+`,
    cameraStatus: (cameraId) => `${base}/camera/${checkSegment('a camera id', cameraId)}/status`,
    cameraScene: (cameraId) => `${base}/camera/${checkSegment('a camera id', cameraId)}/scene`,
    request: (verb) => `${base}/request/${verb}`,
    response: (verb) => `${base}/response/${checkSegment('a verb', verb)}`,
  };
}

export type ParsedTopic =
  | { readonly device: string; readonly kind: 'availability' | 'info' | 'health' }
  | { readonly device: string; readonly kind: 'camera-status' | 'camera-scene'; readonly camera: string }
  | { readonly device: string; readonly kind: 'request' | 'response'; readonly verb: string };

/** The meaning of a topic under `root`, or undefined when it is not one of ours. */
export function parseTopic(root: string, topic: string): ParsedTopic | undefined {
  if (!topic.startsWith(`${root}/`)) return undefined;
  const levels = topic.slice(root.length + 1).split('/');
  if (!levels.every(isTopicSegment)) return undefined;
  const [device, first, second, third] = levels;
  if (device === undefined || first === undefined) return undefined;
  if (levels.length === 2 && (first === 'availability' || first === 'info' || first === 'health')) {
    return { device, kind: first };
  }
  if (second === undefined) return undefined;
  if (levels.length === 3 && (first === 'request' || first === 'response')) {
    return { device, kind: first, verb: second };
  }
  if (levels.length === 4 && first === 'camera' && (third === 'status' || third === 'scene')) {
    return { device, kind: `camera-${third}`, camera: second };
  }
  return undefined;
}

/** Whether an MQTT topic filter (with `+` and `#`) covers a topic name. `$…` topics match only explicitly [MQTT-4.7.2-1]. */
export function topicMatches(filter: string, topic: string): boolean {
  const want = filter.split('/');
  const have = topic.split('/');
  if (topic.startsWith('$') && want[0] !== have[0]) return false;
  for (const [index, level] of want.entries()) {
    if (level === '#') return true;
    if (index >= have.length) return false;
    if (level !== '+' && level !== have[index]) return false;
  }
  return want.length === have.length;
}

/**
 * Why a response topic that a caller chose is refused, or undefined when it is fine. A device that published anywhere
 * on request could be used to forge another device's state or to make devices ask each other in a circle, so topics
 * that devices own are refused whatever `allowed` says.
 */
export function responseTopicProblem(topic: string, root: string, allowed: readonly string[]): string | undefined {
  if (topic.length === 0) return 'it is empty';
  if (/[+#]/.test(topic)) return 'it has a wildcard';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/[\u0000-\u001f\u007f-\u009f\p{Surrogate}]/u.test(topic)) return 'it has a control character';
  if (topic.startsWith('$')) return 'topics that begin with $ belong to the broker';
  if (topic.startsWith(`${root}/`)) {
    const below = topic.slice(root.length + 1).split('/')[1];
    if (below !== undefined && DEVICE_OWNED.has(below)) return `"${below}" topics belong to devices`;
  }
  if (!allowed.some((filter) => topicMatches(filter, topic))) return `it is outside of ${allowed.join(', ')}`;
  return undefined;
}
