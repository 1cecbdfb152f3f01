import { access, constants, readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { isSdkError, LIMITS, SdkError } from 'scenebus';
import { registerSecret, requireCameraAddress } from 'scenebus/service';
import { type Document, isNode, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { type Environment, expandEnvironment } from './environment.js';
import { encodingProblem } from './file-text.js';
import { unknownKeyMessage } from './known-keys.js';
import { readLens } from './lens-file.js';
import { type DeviceConfig, type DeviceConfigInput, deviceConfigSchema } from './schema.js';

/** Of the console. */
export const MIN_PASSWORD_LENGTH = 10;
export interface LoadConfigOptions {
  /**
   * `model`: the model folder must be there, since a device cannot do without. `all`: camera addresses must be such that
   * a camera can be behind them, too; a running device goes on with its other cameras.
   */
  readonly check?: 'model' | 'all' | undefined;
}

/**
 * Reads and checks a configuration file (YAML with merge keys; JSON is a subset of it), joins secrets from the
 * environment and files, resolves paths against the file's folder, and freezes the result. Keys at the top that begin
 * with `x-` are yours: a place for anchors.
 * @throws SdkError ERR_CONFIG_INVALID with every problem at once, each with its line.
 */
export async function loadConfig(
  file: string,
  environment: Environment = process.env,
  { check }: LoadConfigOptions = {},
): Promise<DeviceConfig> {
  return parseConfigText(await readConfigText(file), { file, folder: dirname(resolve(file)), environment, check });
}

/**
 * The same for the text of a file.
 * @throws SdkError ERR_CONFIG_INVALID with every problem at once, each with its line.
 */
export async function parseConfigText(text: string, options: Omit<ParseConfigOptions, 'where'>): Promise<DeviceConfig> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: true, merge: true });
  const syntaxError = document.errors[0];
  if (syntaxError !== undefined) throw invalid(options.file, [syntaxError.message.split('\n')[0] ?? 'not YAML']);

  const where = (path: readonly PropertyKey[]) => lineOf(document, lines, path);
  // maxAliasCount bounds what a small file can grow into by repeated aliases.
  const input = withoutOwnKeys(document.toJS({ maxAliasCount: 100 }));
  return parseConfig(input, { ...options, where });
}

function withoutOwnKeys(input: unknown): unknown {
  if (input === null || typeof input !== 'object' || Array.isArray(input)) return input;
  return Object.fromEntries(Object.entries(input).filter(([key]) => !key.startsWith('x-')));
}

export interface ParseConfigOptions extends LoadConfigOptions {
  /** Named in errors. */
  readonly file: string;
  /** What relative paths are relative to. */
  readonly folder: string;
  readonly environment: Environment;
  /** Line of a value, for errors. */
  readonly where?: ((path: readonly PropertyKey[]) => number | undefined) | undefined;
}

/** The same for a configuration that a program made. */
export async function parseConfig(
  input: unknown | DeviceConfigInput,
  options: ParseConfigOptions,
): Promise<DeviceConfig> {
  const problems: ConfigProblem[] = [];
  const onProblem = (path: readonly PropertyKey[], message: string) => void problems.push({ path, message });
  const parsed = deviceConfigSchema.safeParse(expandEnvironment(input, options.environment, onProblem));
  const told = new Set(problems.map(({ path }) => z.core.toDotPath(path)));
  // What is wrong with the text of a reference that is not replaced is no second problem.
  for (const issue of parsed.error?.issues ?? [])
    if (!told.has(z.core.toDotPath(issue.path))) problems.push(...issueProblems(issue));
  if (parsed.success) problems.push(...(await checkParts(parsed.data, options)));
  if (!parsed.success || problems.length > 0)
    throw invalid(
      options.file,
      problems.map(({ path, message }) => describeProblem(path, message, options)),
      problems,
    );
  const {
    model,
    broker,
    journal,
    openai,
    console: { tls },
  } = parsed.data;
  const at = (path: string | undefined) => (path === undefined ? undefined : resolve(options.folder, path));
  const cameras = parsed.data.cameras.map((camera) => ({
    ...camera,
    address: addressFrom(options.folder, camera.address),
    ...(camera.intrinsics === undefined ? {} : { intrinsics: at(camera.intrinsics) }),
    ...(camera.tls === undefined ? {} : { tls: { ...camera.tls, caFile: at(camera.tls.caFile) } }),
  }));
  const resolved = {
    ...parsed.data,
    cameras,
    model: {
      ...model,
      directory: resolve(options.folder, model.directory),
      cacheDirectory: at(model.cacheDirectory),
      remote: model.remote && { ...model.remote, keyFile: at(model.remote.keyFile), caFile: at(model.remote.caFile) },
    },
    journal: { ...journal, directory: at(journal.directory) },
    console: {
      ...parsed.data.console,
      tls: tls && { certFile: at(tls.certFile), keyFile: at(tls.keyFile) },
    },
    broker: broker && {
      ...broker,
      passwordFile: at(broker.passwordFile),
      tls: broker.tls && {
        ...broker.tls,
        caFile: at(broker.tls.caFile),
        certFile: at(broker.tls.certFile),
        keyFile: at(broker.tls.keyFile),
      },
    },
    openai: openai && { ...openai, keyFile: at(openai.keyFile) },
    secrets: await readSecrets(
      { mqttPassword: at(broker?.passwordFile), serveKey: at(openai?.keyFile) },
      broker?.username,
      options.environment,
    ),
  };
  return deepFreeze(resolved) as DeviceConfig;
}

async function readSecrets(
  files: { readonly mqttPassword: string | undefined; readonly serveKey: string | undefined },
  username: string | undefined,
  environment: Environment,
) {
  const fromFile = async (file: string | undefined) =>
    file === undefined ? undefined : (await readConfigText(file)).replace(/\r?\n$/, '');
  const mqttPassword = environment.SCENEBUS_MQTT_PASSWORD ?? (await fromFile(files.mqttPassword));
  registerSecret(mqttPassword ?? '');
  const serveKey = environment.SCENEBUS_SERVE_KEY ?? (await fromFile(files.serveKey));
  registerSecret(serveKey ?? '');
  const consolePassword = environment.SCENEBUS_CONSOLE_PASSWORD;
  if (consolePassword !== undefined && consolePassword.length < MIN_PASSWORD_LENGTH)
    throw new SdkError(
      'ERR_CONFIG_INVALID',
      `Expected SCENEBUS_CONSOLE_PASSWORD to have at least ${MIN_PASSWORD_LENGTH} characters, but it has ${consolePassword.length}.`,
    );
  registerSecret(consolePassword ?? '');
  return {
    mqttUsername: environment.SCENEBUS_MQTT_USERNAME ?? username,
    mqttPassword,
    consolePassword,
    serveKey,
  };
}

/** @throws SdkError ERR_CONFIG_INVALID for what cannot be read, is too long, or is no UTF-8 */
export async function readConfigText(file: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > LIMITS.configFileBytes)
      throw invalid(file, [`Expected at most ${LIMITS.configFileBytes} bytes, but it has ${size}`]);
    const bytes = await readFile(file);
    const problem = encodingProblem(bytes);
    if (problem !== undefined) throw invalid(file, [`line ${problem.line}: ${problem.message}`]);
    return bytes.toString('utf8').replace(/^\uFEFF/, '');
  } catch (error) {
    if (error instanceof SdkError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new SdkError('ERR_CONFIG_INVALID', `Cannot read ${file}: ${reason}`, { cause: error });
  }
}

/** One of those in `details.issues` of ERR_CONFIG_INVALID. */
export interface ConfigProblem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** One for each key that is not known, so that each has its line. */
function issueProblems(issue: z.core.$ZodIssue): readonly ConfigProblem[] {
  if (issue.code === 'invalid_type') return [{ path: issue.path, message: typeMessage(issue.message) }];
  if (issue.code !== 'unrecognized_keys') return [issue];
  return issue.keys.map((key) => ({ path: [...issue.path, key], message: unknownKeyMessage(issue.path, key) }));
}

function describeProblem(path: readonly PropertyKey[], message: string, { where }: ParseConfigOptions): string {
  const line = where?.(path);
  const shown = z.core.toDotPath(path);
  return `${line === undefined ? '' : `line ${line}: `}${shown === '' ? '' : `${shown}: `}${message}`;
}

/** What a schema cannot see. */
async function checkParts(
  { model, cameras }: Pick<DeviceConfig, 'model' | 'cameras'>,
  { folder, check }: ParseConfigOptions,
): Promise<ConfigProblem[]> {
  const problems: ConfigProblem[] = [];
  if (check === undefined) return problems;
  const directory = resolve(folder, model.directory);
  const path = ['model', 'directory'];
  const isFolder = await stat(directory).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
  if (!isFolder) problems.push({ path, message: `Expected a model folder, but ${directory} is none` });
  else if (
    !(await stat(join(directory, 'config.json')).then(
      (entry) => entry.isFile(),
      () => false,
    ))
  )
    problems.push({ path, message: `Expected a model folder, but ${directory} has no config.json` });
  for (const name of ['keyFile', 'caFile'] as const) {
    const file = model.remote?.[name];
    if (file === undefined || (await isReadable(resolve(folder, file)))) continue;
    const message = `Expected a file that can be read, but ${resolve(folder, file)} is none`;
    problems.push({ path: ['model', 'remote', name], message });
  }
  for (const [index, { intrinsics }] of cameras.entries()) {
    if (intrinsics === undefined) continue;
    try {
      await readLens(resolve(folder, intrinsics));
    } catch (error) {
      if (!isSdkError(error)) throw error;
      problems.push({ path: ['cameras', index, 'intrinsics'], message: error.message });
    }
  }
  for (const [index, { address }] of check === 'all' ? cameras.entries() : []) {
    try {
      requireCameraAddress(addressFrom(folder, address));
    } catch (error) {
      if (!isSdkError(error)) throw error;
      problems.push({ path: ['cameras', index, 'address'], message: error.message });
    }
  }
  return problems;
}

async function isReadable(file: string): Promise<boolean> {
  return await access(file, constants.R_OK).then(
    async () => (await stat(file)).isFile(),
    () => false,
  );
}

/** Paths of clips and folders of pictures are relative to the file, like all others; addresses stay as they are. */
function addressFrom(folder: string, address: string): string {
  if (/^\d{1,3}$/.test(address)) return address;
  const [, scheme, rest = ''] = /^([A-Za-z][A-Za-z0-9+.-]*):(.*)$/s.exec(address) ?? [];
  if (scheme === undefined) return resolve(folder, address);
  const isRelativeFile = scheme.toLowerCase() === 'file' && /^[^/?]/.test(rest);
  return isRelativeFile ? `file:${join(folder, rest)}` : address;
}

/** Line of the value at `path`, or of the nearest thing around it: a missing key has no line of its own. */
function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number | undefined {
  for (let depth = path.length; depth >= 0; depth--) {
    const node = depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true);
    const offset = isNode(node) ? node.range?.[0] : undefined;
    if (offset !== undefined) return lines.linePos(offset).line;
  }
  return undefined;
}

function invalid(file: string, problems: readonly string[], issues: readonly ConfigProblem[] = []): SdkError {
  const lines = problems.map((problem) => `\n  ${problem}`).join('');
  return new SdkError('ERR_CONFIG_INVALID', `${file} is not a correct configuration:${lines}`, {
    details: { file, problems, issues },
  });
}

function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const item of Object.values(value)) deepFreeze(item);
  }
  return value;
}

const EXPECTED = new Map([
  ['object', 'settings, as in { name: value }'],
  ['record', 'settings, as in { name: value }'],
  ['array', 'a list'],
  ['string', 'text (in quotes, where it looks like something else)'],
  ['number', 'a number'],
  ['int', 'a whole number'],
  ['boolean', 'true or false'],
]);

const RECEIVED = new Map([
  ['object', 'settings'],
  ['array', 'a list'],
  ['string', 'text'],
  ['boolean', 'true or false'],
  ['null', 'nothing'],
]);

/** zod's words for types are those of programs. */
function typeMessage(message: string): string {
  const [, expected = '', received = ''] = /^Invalid input: expected (\w+), received (\w+)$/.exec(message) ?? [];
  const wanted = EXPECTED.get(expected);
  if (wanted === undefined) return message;
  if (received === 'undefined') return `Expected ${wanted}, but it is missing`;
  return `Expected ${wanted}, but received ${RECEIVED.get(received) ?? `a ${received}`}`;
}
