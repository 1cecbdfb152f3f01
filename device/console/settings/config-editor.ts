/** The configuration as the console's admin sees and changes it. */
import { isDeepStrictEqual } from 'node:util';
import { isSdkError, type Logger } from 'scenebus';
import { redact } from 'scenebus/service';
import { parse } from 'yaml';
import { revisionOf } from '../../config/editing/config-store.js';
import { applyChanges, type ConfigChange, type PropertyPath } from '../../config/editing/edit.js';
import { type AddressDecision, brokerAddress, cameraAddress } from '../../config/editing/web-addresses.js';
import { isWhollyOpen, leavesOf, whyClosed } from '../../config/editing/web-policy.js';
import { type ConfigProblem, parseConfigText } from '../../config/load.js';
import type { DeviceConfig } from '../../config/schema.js';
import { HttpError } from '../../http/http-error.js';
import type {
  ConfigChangesInput,
  ConfigOverview,
  ConfigPreview,
  ConfigProblems,
  ConfigSaved,
} from '../api/settings-schemas.js';
import type { ConfigAccess } from '../context.js';
import { Secrets } from './secrets.js';
import { shownDiff, shownValues, webSchema } from './shown-config.js';

export interface ConfigEditorOptions {
  readonly access: ConfigAccess;
  /** What holds now. */
  readonly running: () => DeviceConfig;
  readonly logger: Logger;
}

interface Prepared {
  readonly before: string;
  readonly text: string;
  readonly problems: ConfigProblems;
  /** Without problems. */
  readonly config: DeviceConfig | undefined;
}

type Json = Readonly<Record<string, unknown>>;

export class ConfigEditor {
  readonly #access: ConfigAccess;
  readonly #running: () => DeviceConfig;
  readonly #logger: Logger;
  readonly #secrets: Secrets;
  #saving: Promise<unknown> = Promise.resolve();

  constructor({ access, running, logger }: ConfigEditorOptions) {
    this.#access = access;
    this.#running = running;
    this.#logger = logger;
    this.#secrets = new Secrets({ access, running });
  }

  async overview(): Promise<ConfigOverview> {
    const { store } = this.#access;
    const text = await store.read();
    const previous = await store.readPrevious();
    const { config, problems } = await this.#check(text);
    const values = inputOf(text);
    return {
      name: store.name,
      isTemporary: store.isTemporary,
      readOnly: (await store.whyReadOnly()) ?? null,
      revision: revisionOf(text),
      schema: webSchema(),
      values: shownValues(values) as Record<string, unknown>,
      needsRestart: config === undefined ? [] : [...this.#access.changesTo(config).needsRestart],
      problems,
      secrets: this.#secrets.list(values),
      undo: previous === undefined || closedDifference(text, previous) ? null : shownDiff(text, previous),
    };
  }

  /** Changes nothing. */
  async preview(request: ConfigChangesInput): Promise<ConfigPreview> {
    const { before, text, problems, config } = await this.#prepare(request);
    const diff = problems.length > 0 ? [] : shownDiff(before, text);
    if (config === undefined) return { problems, diff, applied: [], needsRestart: [] };
    const { applied, needsRestart } = this.#access.changesTo(config);
    return { problems, diff, applied: [...applied], needsRestart: [...needsRestart] };
  }

  /** @throws HttpError 409 for a file that is another one meanwhile, 400 for values that are not right */
  async save(request: ConfigChangesInput): Promise<ConfigSaved> {
    return await this.#inTurn(async () => {
      const { text, problems, config } = await this.#prepare(request);
      const paths = request.changes.map(({ path }) => path.join('.'));
      return await this.#write({ text, problems, config, what: `changed on the console: ${paths.join(', ')}` });
    });
  }

  /** Back to what the last change replaced; once more: forth again. */
  async undo(revision: string): Promise<ConfigSaved> {
    return await this.#inTurn(async () => {
      const before = await this.#readKnown(revision);
      const previous = await this.#access.store.readPrevious();
      if (previous === undefined) throw new HttpError(409, 'NOTHING_TO_UNDO', 'There is no earlier version.');
      if (closedDifference(before, previous))
        throw new HttpError(
          409,
          'NOTHING_TO_UNDO',
          'The earlier version differs in what only the file may change: undo it there.',
        );
      const { problems, config } = await this.#check(previous);
      return await this.#write({ text: previous, problems, config, what: 'changed back on the console' });
    });
  }

  /** @throws HttpError 409 where it is set elsewhere */
  async replaceSecret(id: string, { revision, value }: { revision: string; value: string }): Promise<ConfigSaved> {
    return await this.#inTurn(async () => {
      const before = await this.#readKnown(revision);
      const change = await this.#secrets.replace(id, value);
      const text = change === undefined ? before : this.#edited(before, [change]);
      const { problems, config } = await this.#check(text);
      return await this.#write({ text, problems, config, what: `given another secret on the console: ${id}` });
    });
  }

  async #prepare({ revision, changes }: ConfigChangesInput): Promise<Prepared> {
    const before = await this.#readKnown(revision);
    const input = inputOf(before);
    const problems: ConfigProblems = [];
    const allowed: ConfigChange[] = [];
    for (const change of changes) {
      const found = this.#judge(change, input);
      problems.push(...found.problems);
      allowed.push(...found.changes);
    }
    if (problems.length > 0) return { before, text: before, problems, config: undefined };
    const text = this.#edited(before, allowed);
    return { before, text, ...(await this.#check(text)) };
  }

  /** What of a change is let through, and what speaks against it. */
  #judge(change: ConfigChange, input: Json): { readonly problems: ConfigProblems; readonly changes: ConfigChange[] } {
    const { path, value } = change;
    const problem = (message: string) => ({ problems: [{ path: [...path], message }], changes: [] });
    const current = valueAt(input, path);
    if (value === undefined) {
      // A camera goes as a whole: what is closed in it decides about that camera only.
      const isCamera = path.length === 2 && path[0] === 'cameras';
      if (isCamera || isWhollyOpen(path) || (whyClosed(path) === undefined && !isObject(current)))
        return { problems: [], changes: [change] };
      return problem(whyClosed(path) ?? whyClosed([...path, '?']) ?? 'It cannot be taken away.');
    }
    if (isObject(current) && !isWhollyOpen(path))
      return problem('It has parts that may not be changed here: change its parts one by one.');
    const problems: ConfigProblems = [];
    let decided: unknown = structuredClone(value);
    for (const leaf of leavesOf(value)) {
      const at = [...path, ...leaf.path];
      const tell = (message: string): void => void problems.push({ path: at, message });
      const closed = whyClosed(at);
      if (closed !== undefined) tell(closed);
      const decision = this.#decideAddress(at, leaf.value, input);
      if (decision?.refusal !== undefined) tell(decision.refusal);
      else if (decision !== undefined) decided = withValue(decided, leaf.path, decision.value);
      else if (typeof leaf.value === 'string' && leaf.value.includes('${'))
        tell('Variables of the environment are written in the file only.');
    }
    return { problems, changes: [{ path, value: decided }] };
  }

  /** undefined: this is no address. */
  #decideAddress(path: PropertyPath, value: unknown, input: Json): AddressDecision | undefined {
    const isCamera = path[0] === 'cameras' && path.at(-1) === 'address' && path.length === 3;
    if (!isCamera && path.join('.') !== 'broker.url') return undefined;
    if (typeof value !== 'string') return undefined;
    const current = valueAt(input, path);
    const request = {
      wanted: value,
      current: typeof current === 'string' ? current : undefined,
      networkHosts: this.#running().console.networkHosts,
    };
    return isCamera ? cameraAddress(request) : brokerAddress(request);
  }

  async #readKnown(revision: string): Promise<string> {
    const text = await this.#access.store.read();
    if (revisionOf(text) === revision) return text;
    throw new HttpError(
      409,
      'CONFIG_CHANGED',
      'The configuration was changed meanwhile, on another page or in the file. Nothing was written: look at it again.',
    );
  }

  #edited(text: string, changes: readonly ConfigChange[]): string {
    try {
      return applyChanges(text, changes, { isJson: this.#access.store.isJson });
    } catch (error) {
      if (isSdkError(error)) throw new HttpError(400, 'REQUEST_INVALID', error.message);
      throw error;
    }
  }

  async #check(
    text: string,
  ): Promise<{ readonly config: DeviceConfig | undefined; readonly problems: ConfigProblems }> {
    const { store, environment } = this.#access;
    try {
      const { file, folder } = store;
      return { config: await parseConfigText(text, { file, folder, environment, check: 'all' }), problems: [] };
    } catch (error) {
      if (!isSdkError(error)) throw error;
      const issues = (error.details.issues ?? []) as readonly ConfigProblem[];
      const told = issues.map(({ path, message }) => ({ path: path.map(stepOf), message: redact(message) }));
      return { config: undefined, problems: told.length > 0 ? told : [{ path: [], message: redact(error.message) }] };
    }
  }

  async #write({
    text,
    problems,
    config,
    what,
  }: Omit<Prepared, 'before'> & { readonly what: string }): Promise<ConfigSaved> {
    if (config === undefined)
      throw new HttpError(
        400,
        'CONFIG_INVALID',
        problems.map(({ path, message }) => `${path.join('.')}: ${message}`).join('\n'),
      );
    const { store } = this.#access;
    await store.write(text);
    this.#logger.log('info', `the configuration was ${what}`);
    const revision = revisionOf(text);
    try {
      const { applied, needsRestart } = await this.#access.reload(config);
      return { revision, applied: [...applied], needsRestart: [...needsRestart], failure: null };
    } catch (error) {
      const failure = redact(error instanceof Error ? error.message : String(error));
      this.#logger.log('error', `the changed configuration does not hold yet: ${failure}`);
      return { revision, applied: [], needsRestart: [], failure };
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#saving.then(work);
    this.#saving = done.catch(() => {});
    return done;
  }
}

/** What the file says, references to the environment as they stand. */
function inputOf(text: string): Json {
  const input: unknown = parse(text, { merge: true, maxAliasCount: 100 });
  return isObject(input) && !Array.isArray(input) ? (input as Json) : {};
}

/** Whether two versions differ in something that a browser may not change. */
function closedDifference(one: string, other: string): boolean {
  try {
    return differs(inputOf(one), inputOf(other), []);
  } catch {
    return true;
  }
}

function differs(one: unknown, other: unknown, path: PropertyPath): boolean {
  if (isDeepStrictEqual(one, other)) return false;
  // A list whose length differs has lost or gained whole items: those of cameras may come and go.
  if (isObject(one) && isObject(other) && Array.isArray(one) === Array.isArray(other)) {
    const keys = [...new Set([...Object.keys(one), ...Object.keys(other)])];
    const step = (key: string) => (Array.isArray(one) ? Number(key) : key);
    return keys.some((key) => differs((one as Json)[key], (other as Json)[key], [...path, step(key)]));
  }
  const leaves = [...leavesOf(one ?? null, path), ...leavesOf(other ?? null, path)];
  return leaves.some((leaf) => leaf.value !== null && whyClosed(leaf.path) !== undefined);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function valueAt(value: unknown, path: PropertyPath): unknown {
  let found = value;
  for (const step of path) {
    if (!isObject(found) || !Object.hasOwn(found, step)) return undefined;
    found = (found as Record<string | number, unknown>)[step];
  }
  return found;
}

function withValue(value: unknown, path: PropertyPath, leaf: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return leaf;
  (value as Record<string | number, unknown>)[step] = withValue(
    (value as Record<string | number, unknown>)[step],
    rest,
    leaf,
  );
  return value;
}

const stepOf = (step: PropertyKey): string | number => (typeof step === 'symbol' ? String(step) : step);
