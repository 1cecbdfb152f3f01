/**
 * What of a configuration a browser may change. Closed by default: a setting that is not named here is changed in the
 * file only. A page can be reached by more people than the file, and by whoever takes over a browser of one of them; so
 * no setting is open that names a file or folder to read or write, that runs anything, that opens a port, that weakens
 * how others are recognised, or that could shut out the console's own users. Addresses are open within limits: see
 * `web-addresses.ts`.
 */
import type { PropertyPath } from './edit.js';

/** `*` is one step, `**` any number of steps, none included. */
const OPEN: readonly string[] = [
  'model.backend',
  'model.numerics',
  'model.quantize',
  'model.isolation',
  'model.contextLength',
  'model.keyValueType',
  'model.threads',
  'cameras.*.id',
  'cameras.*.address',
  'cameras.*.size.**',
  'cameras.*.fps',
  'cameras.*.rotation',
  'cameras.*.loop',
  'cameras.*.backend',
  'cameras.*.rtspTransport',
  'cameras.*.rtspLatencyMs',
  'cameras.*.timeoutMs',
  'cameras.*.readTimeoutMs',
  'cameras.*.frozenTimeoutMs',
  'cameras.*.snapshotIntervalMs',
  'cameras.*.openTimeoutMs',
  'cameras.*.reopen.**',
  'cameras.*.ringSlots',
  'cameras.*.describe',
  'cameras.*.prompt',
  'cameras.*.minIntervalSeconds',
  'cameras.*.maxSilenceSeconds',
  'cameras.*.change.**',
  'cameras.*.schedule.**',
  'cameras.*.masks.**',
  'cameras.*.mounting.**',
  'broker.url',
  'broker.username',
  'broker.protocolVersion',
  'broker.keepaliveSeconds',
  'responseTopics.**',
  'groups.**',
  'describe.**',
  'ask.**',
  'snapshots',
  'journal.frames',
  'journal.maxAgeDays',
  'journal.maxMegabytes',
  'journal.waiting.**',
  'console.liveFps',
  'healthIntervalSeconds',
  'log',
];

/** Why, where more can be said than that it is so. The first that fits. */
const REASONS: readonly (readonly [pattern: string, reason: string])[] = [
  ['device', 'The device keeps its journal and passwords under its name.'],
  ['root', 'The device keeps its journal and passwords under its name.'],
  ['model.directory', 'It names a folder of this machine.'],
  ['model.remote.**', 'It decides where the pictures of the cameras are sent.'],
  ['model.cacheDirectory', 'It names a folder of this machine.'],
  ['model.acceptLlamaLicense', 'Its owner accepts a licence where everybody can read it afterwards.'],
  ['cameras.*.intrinsics', 'It names a file of this machine.'],
  ['journal.directory', 'It names a folder of this machine.'],
  ['journal.enabled', "Without a journal the console's passwords are lost with a restart."],
  ['broker.passwordFile', 'It names a file of this machine.'],
  ['watches.**', 'Watches are changed on their own page.'],
  ['embeddedBroker.**', 'It opens ports of this machine.'],
  ['metrics.**', 'It opens ports of this machine.'],
  ['openai.**', 'It opens ports of this machine.'],
  ['console.**', 'It decides who reaches this page.'],
  ['cameras.*.tls.**', 'It decides whom a camera is believed to be.'],
  ['broker.tls.**', 'It decides whom the broker is believed to be.'],
];
const ANY_REASON = 'It is changed in the configuration file only.';

const matchers = OPEN.map(matcherOf);
const closedMatchers = REASONS.map(([pattern, reason]) => ({ matches: matcherOf(pattern), reason }));

/** Why a browser may not change this setting; undefined: it may. */
export function whyClosed(path: PropertyPath): string | undefined {
  if (matchers.some((matches) => matches(path))) return undefined;
  return closedMatchers.find(({ matches }) => matches(path))?.reason ?? ANY_REASON;
}

/** Whether everything below is open too, so that it may be replaced or taken away as a whole. */
export function isWhollyOpen(path: PropertyPath): boolean {
  return whyClosed(path) === undefined && whyClosed([...path, '?']) === undefined;
}

/** For the form: whether anything below may be changed. */
export function isOpenSomewhere(path: PropertyPath): boolean {
  const given = path.map(step);
  return OPEN.some((pattern) => {
    const steps = pattern.split('.');
    return given.every((each, index) => steps[index] === '**' || matchesStep(steps[index], each));
  });
}

function matcherOf(pattern: string): (path: PropertyPath) => boolean {
  const steps = pattern.split('.');
  const isDeep = steps.at(-1) === '**';
  const fixed = isDeep ? steps.slice(0, -1) : steps;
  return (path) =>
    (isDeep ? path.length >= fixed.length : path.length === fixed.length) &&
    fixed.every((wanted, index) => matchesStep(wanted, step(path[index]!)));
}

function matchesStep(wanted: string | undefined, given: string): boolean {
  return wanted === given || (wanted === '*' && /^(\d+|\*)$/.test(given));
}

const step = (part: string | number): string => String(part);

/** Paths of all single values of `value`; an empty list or section is one too. */
export function leavesOf(
  value: unknown,
  path: PropertyPath = [],
): { readonly path: PropertyPath; readonly value: unknown }[] {
  if (typeof value !== 'object' || value === null) return [{ path, value }];
  const entries = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  if (entries.length === 0) return [{ path, value }];
  return entries.flatMap(([key, item]) => leavesOf(item, [...path, key]));
}
