/** Topic names, built and parsed in one place. `channels.ts` says what each of them carries. */
import { SdkError } from '../../core/errors.js';
import { CAMERA_SETTINGS, type CameraSetting } from './settings.js';
import { checkRoot, checkSegment, GROUP_LEVEL, isTopicSegment } from './topic-levels.js';

export { checkRoot, DEFAULT_ROOT, isPortableSegment, isTopicSegment, TOPIC_SEGMENT_RULE } from './topic-levels.js';

const ROLL_CALL_LEVEL = 'call';

/** Where all devices are asked to say that they are there. */
export function rollCallTopic(root: string): string {
  return `${checkRoot(root)}/${ROLL_CALL_LEVEL}`;
}

/** Names directly under a device that belong to the device; nobody may choose one as a response topic. */
const DEVICE_OWNED = new Set(['availability', 'info', 'health', 'camera', 'request']);

export interface BusTopics {
  readonly root: string;
  readonly device: string;
  readonly availability: string;
  readonly info: string;
  readonly health: string;
  /** Subscription filter for every request to this device but those about watches. */
  readonly requests: string;
  /** Subscription filter for `request/watch/add` and its sisters. */
  readonly watchRequests: string;
  /** Subscription filter for the commands to every camera's settings. */
  readonly settingCommands: string;
  cameraStatus(cameraId: string): string;
  cameraScene(cameraId: string): string;
  cameraEvent(cameraId: string): string;
  /** How a setting stands. */
  cameraSetting(cameraId: string, setting: CameraSetting): string;
  /** Where callers change it. */
  settingCommand(cameraId: string, setting: CameraSetting): string;
  /** How a watch stands at a camera. */
  watchState(cameraId: string, watchId: string): string;
  request(verb: string): string;
  /** Where answers go when the caller named no topic. */
  response(verb: string): string;
}

/** @throws SdkError ERR_ARGUMENT_INVALID when root, device or (later) a camera id cannot be a topic level. */
export function busTopics(root: string, device: string): BusTopics {
  if (device === GROUP_LEVEL) {
    throw new SdkError(
      'ERR_ARGUMENT_INVALID',
      `Expected another device name than "${GROUP_LEVEL}": its topics would be those of groups of devices.`,
      { details: { what: 'a device name', value: device } },
    );
  }
  const base = `${checkRoot(root)}/${checkSegment('a device name', device)}`;
  const camera = (cameraId: string): string => `${base}/camera/${checkSegment('a camera id', cameraId)}`;
  const verbLevels = (verb: string): string => {
    for (const level of verb.split('/')) checkSegment('a verb', level);
    return verb;
  };
  return {
    root,
    device,
    availability: `${base}/availability`,
    info: `${base}/info`,
    health: `${base}/health`,
    requests: `${base}/request/+`,
    watchRequests: `${base}/request/watch/+`,
    settingCommands: `${base}/camera/+/+/set`,
    cameraStatus: (cameraId) => `${camera(cameraId)}/status`,
    cameraScene: (cameraId) => `${camera(cameraId)}/scene`,
    cameraEvent: (cameraId) => `${camera(cameraId)}/event`,
    cameraSetting: (cameraId, setting) => `${camera(cameraId)}/${setting}/state`,
    settingCommand: (cameraId, setting) => `${camera(cameraId)}/${setting}/set`,
    watchState: (cameraId, watchId) => `${camera(cameraId)}/watch/${checkSegment('a watch id', watchId)}/state`,
    request: (verb) => `${base}/request/${verbLevels(verb)}`,
    response: (verb) => `${base}/response/${verbLevels(verb)}`,
  };
}

export type ParsedTopic =
  | { readonly device: string; readonly kind: 'availability' | 'info' | 'health' }
  | {
      readonly device: string;
      readonly kind: 'camera-status' | 'camera-scene' | 'camera-event';
      readonly camera: string;
    }
  | {
      readonly device: string;
      readonly kind: 'camera-setting' | 'setting-command';
      readonly camera: string;
      readonly setting: CameraSetting;
    }
  | { readonly device: string; readonly kind: 'watch-state'; readonly camera: string; readonly watch: string }
  | { readonly device: string; readonly kind: 'request' | 'response'; readonly verb: string };

/** Verbs of two levels begin with one of these. */
const VERB_GROUPS = new Set(['watch']);

/** The meaning of a topic under `root`, or undefined when it is not one of ours. */
export function parseTopic(root: string, topic: string): ParsedTopic | undefined {
  if (!topic.startsWith(`${root}/`)) return undefined;
  const levels = topic.slice(root.length + 1).split('/');
  if (!levels.every(isTopicSegment)) return undefined;
  const [device, kind, ...rest] = levels;
  if (device === undefined || device === GROUP_LEVEL) return undefined;
  switch (kind) {
    case 'availability':
    case 'info':
    case 'health':
      return rest.length === 0 ? { device, kind } : undefined;
    case 'request':
    case 'response': {
      const isVerb = rest.length === 1 || (rest.length === 2 && VERB_GROUPS.has(rest[0] ?? ''));
      return isVerb ? { device, kind, verb: rest.join('/') } : undefined;
    }
    case 'camera':
      return parseCameraTopic(device, rest);
    default:
      return undefined;
  }
}

function parseCameraTopic(device: string, levels: readonly string[]): ParsedTopic | undefined {
  const [camera, second, third, fourth] = levels;
  if (camera === undefined || second === undefined) return undefined;
  if (levels.length === 2 && (second === 'status' || second === 'scene' || second === 'event')) {
    return { device, kind: `camera-${second}`, camera };
  }
  if (levels.length === 4 && second === 'watch' && third !== undefined && fourth === 'state') {
    return { device, kind: 'watch-state', camera, watch: third };
  }
  const setting = CAMERA_SETTINGS.find((name) => name === second);
  if (levels.length !== 3 || setting === undefined) return undefined;
  if (third === 'state') return { device, kind: 'camera-setting', camera, setting };
  if (third === 'set') return { device, kind: 'setting-command', camera, setting };
  return undefined;
}

/** Whether `value` is a topic filter: `+` alone in a level, `#` alone in the last one [MQTT-4.7.1-1, MQTT-4.7.1-2]. */
export function isTopicFilter(value: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (value === '' || /[\u0000-\u001f\u007f-\u009f\p{Surrogate}]/u.test(value)) return false;
  const levels = value.split('/');
  return levels.every((level, index) =>
    /[+#]/.test(level) ? level === '+' || (level === '#' && index === levels.length - 1) : true,
  );
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
    const [first, below] = topic.slice(root.length + 1).split('/');
    if (first === GROUP_LEVEL) return 'topics of groups belong to devices';
    if (first === ROLL_CALL_LEVEL && below === undefined) return 'the roll call goes to devices';
    if (below !== undefined && DEVICE_OWNED.has(below)) return `"${below}" topics belong to devices`;
  }
  if (!allowed.some((filter) => topicMatches(filter, topic))) return `it is outside of ${allowed.join(', ')}`;
  return undefined;
}
