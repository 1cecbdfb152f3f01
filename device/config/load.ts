import { readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { LIMITS, registerSecret, SdkError } from 'scenebus';
import { type Document, isNode, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import { type Environment, expandEnvironment } from './environment.js';
import { type DeviceConfig, type DeviceConfigInput, deviceConfigSchema } from './schema.js';

/** Of the console. */
export const MIN_PASSWORD_LENGTH = 10;

/**
 * Reads and checks a configuration file (YAML; JSON is a subset of it), joins secrets from the environment and files,
 * resolves paths against the file's folder, and freezes the result.
 * @throws SdkError ERR_CONFIG_INVALID with every problem at once, each with its line.
 */
export async function loadConfig(file: string, environment: Environment = process.env): Promise<DeviceConfig> {
  const text = await readBounded(file);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: true });
  const syntaxError = document.errors[0];
  if (syntaxError !== undefined) throw invalid(file, [syntaxError.message.split('\n')[0] ?? 'not YAML']);

  const where = (path: readonly PropertyKey[]) => lineOf(document, lines, path);
  // maxAliasCount bounds what a small file can grow into by repeated aliases.
  return parseConfig(document.toJS({ maxAliasCount: 100 }), {
    file,
    folder: dirname(resolve(file)),
    environment,
    where,
  });
}

export interface ParseConfigOptions {
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
  const parsed = deviceConfigSchema.safeParse(expandEnvironment(input, options.environment));
  if (!parsed.success)
    throw invalid(
      options.file,
      parsed.error.issues.map((issue) => describeIssue(issue, options)),
    );
  const {
    model,
    broker,
    journal,
    console: { tls },
  } = parsed.data;
  const at = (path: string | undefined) => (path === undefined ? undefined : resolve(options.folder, path));
  const cameras = parsed.data.cameras.map((camera) => ({
    ...camera,
    ...(camera.tls === undefined ? {} : { tls: { ...camera.tls, caFile: at(camera.tls.caFile) } }),
  }));
  const resolved = {
    ...parsed.data,
    cameras,
    model: { ...model, directory: resolve(options.folder, model.directory), cacheDirectory: at(model.cacheDirectory) },
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
    secrets: await readSecrets(at(broker?.passwordFile), broker?.username, options.environment),
  };
  return deepFreeze(resolved) as DeviceConfig;
}

async function readSecrets(passwordFile: string | undefined, username: string | undefined, environment: Environment) {
  const fromFile = async () =>
    passwordFile === undefined ? undefined : (await readBounded(passwordFile)).replace(/\r?\n$/, '');
  const mqttPassword = environment.SCENEBUS_MQTT_PASSWORD ?? (await fromFile());
  registerSecret(mqttPassword ?? '');
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
  };
}

async function readBounded(file: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > LIMITS.configFileBytes)
      throw invalid(file, [`Expected at most ${LIMITS.configFileBytes} bytes, but it has ${size}`]);
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof SdkError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new SdkError('ERR_CONFIG_INVALID', `Cannot read ${file}: ${reason}`, { cause: error });
  }
}

function describeIssue(issue: z.core.$ZodIssue, { where }: ParseConfigOptions): string {
  const line = where?.(issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0] ?? ''] : issue.path);
  const path = z.core.toDotPath(issue.path);
  return `${line === undefined ? '' : `line ${line}: `}${path === '' ? '' : `${path}: `}${issue.message}`;
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

function invalid(file: string, problems: readonly string[]): SdkError {
  const lines = problems.map((problem) => `\n  ${problem}`).join('');
  return new SdkError('ERR_CONFIG_INVALID', `${file} is not a correct configuration:${lines}`, {
    details: { file, problems },
  });
}

function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const item of Object.values(value)) deepFreeze(item);
  }
  return value;
}
