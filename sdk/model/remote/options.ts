/** Where a remote model is and what it may be sent, checked before anything goes out. */
import { readFile } from 'node:fs/promises';
import { SdkError } from '../../core/errors.js';
import type { Logger } from '../../core/logger.js';
import { refuseUnknownOptions } from '../../core/option-names.js';
import type { CallOptions } from '../../core/types.js';
import type { BoxConvention } from '../../grounding/index.js';

/** How pictures leave this machine. */
export interface RemotePictureOptions {
  /** They are sent. There is no other value: whoever wants none sent leaves `pictures` out. */
  readonly send: true;
  /** 1–100. Default 90. */
  readonly jpegQuality?: number | undefined;
  /** Side of a tile of the remote model, pixels; with `maxTiles` the size at which it sees a picture. Default 560. */
  readonly tileSize?: number | undefined;
  /** Default 4. */
  readonly maxTiles?: number | undefined;
}

/** A model behind an OpenAI-compatible server: vLLM, another SceneBus, a service. */
export interface RemoteOptions {
  /** Of the API, as a client of OpenAI takes it: `https://gpu.example/v1`. Without TLS only to this machine itself. */
  readonly url: string;
  /** What the server calls the model. */
  readonly model: string;
  /** File that holds the key, sent as `Authorization: Bearer …`. */
  readonly keyFile?: string | undefined;
  /** Variable of the environment that holds the key; wins over the file where it is set. */
  readonly keyVariable?: string | undefined;
  /** Whether `http://` may lead to other machines: pictures and the key can then be read on the way. Default false. */
  readonly allowHttp?: boolean | undefined;
  /** Certificates (PEM) of whoever signed the server's; default: those that Node knows. */
  readonly caFile?: string | undefined;
  /** Left out: none is sent, and what asks about one is refused with ERR_REQUEST_UNSUPPORTED. */
  readonly pictures?: RemotePictureOptions | undefined;
  /** Requests on their way at once; others wait, at most `LIMITS.requestQueueLength` of a priority. Default 8. */
  readonly concurrency?: number | undefined;
  /** For an answer whose request has no `deadlineMs`, retries included. Default 120 000. */
  readonly timeoutMs?: number | undefined;
  /** The longest without a byte from the server. Default 60 000. */
  readonly stallMs?: number | undefined;
  readonly retries?: RemoteRetryOptions | undefined;
  readonly circuit?: RemoteCircuitOptions | undefined;
  /** What the server can do, where finding out is not wanted or finds the wrong thing. */
  readonly capabilities?: { readonly logProbabilities?: boolean | undefined } | undefined;
  /** How the remote model writes boxes, as `boxes` of `scenebus.json` says it. A SceneBus sends them anyway. */
  readonly boxes?: BoxConvention | undefined;
  /**
   * `now` (default): the server is asked whether it has the model before `loadModel` is done. `later`: at the first
   * request, so that the load succeeds without a network.
   */
  readonly connect?: 'now' | 'later' | undefined;
}

/** Of requests that a server did not answer, or answered with 408, 425, 429 or 5xx. Nothing that was read is repeated. */
export interface RemoteRetryOptions {
  /** Attempts after the first. Default 3; 0: none. */
  readonly most?: number | undefined;
  /** Pause before the first of them; doubles. Half of it is drawn. Default 500. */
  readonly initialMs?: number | undefined;
  /** Default 8 000. A `Retry-After` may be longer: up to a minute, within the deadline, it is kept to. */
  readonly maximumMs?: number | undefined;
}

/** When a server is left alone. */
export interface RemoteCircuitOptions {
  /** Failures in a row that open it. Default 5. */
  readonly failures?: number | undefined;
  /** Requests are then refused at once for so long; doubles with each failure that follows, up to sixteenfold. Default 5 000. */
  readonly openMs?: number | undefined;
}

/** `loadModel` of a model on another machine. */
export interface RemoteModelOptions extends CallOptions {
  readonly remote: RemoteOptions;
  readonly logger?: Logger | undefined;
}

/** With a value for each option. */
type Filled<T> = { readonly [Name in keyof T]-?: NonNullable<T[Name]> };

/** The same with defaults, the key read. */
export interface ResolvedRemote {
  /** Without a slash at the end. */
  readonly address: URL;
  readonly model: string;
  readonly key: string | undefined;
  readonly ca: string | undefined;
  readonly pictures: Filled<Omit<RemotePictureOptions, 'send'>> | undefined;
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly stallMs: number;
  readonly retries: Filled<RemoteRetryOptions>;
  readonly circuit: Filled<RemoteCircuitOptions>;
  readonly logProbabilities: boolean | undefined;
  readonly boxes: BoxConvention | undefined;
  readonly connect: 'now' | 'later';
}

const OPTIONS = {
  url: true,
  model: true,
  keyFile: true,
  keyVariable: true,
  allowHttp: true,
  caFile: true,
  pictures: true,
  concurrency: true,
  timeoutMs: true,
  stallMs: true,
  retries: true,
  circuit: true,
  capabilities: true,
  boxes: true,
  connect: true,
} satisfies Record<keyof RemoteOptions, true>;

/** The longest that a timer of Node takes. */
const MAX_MS = 2 ** 31 - 1;

/** @throws SdkError ERR_ARGUMENT_INVALID naming the option; ERR_CONFIG_INVALID for an address that is not safe, a file that cannot be read */
export async function resolveRemote(options: RemoteOptions): Promise<ResolvedRemote> {
  refuseUnknownOptions(options, Object.keys(OPTIONS), 'remote');
  const { pictures, retries = {}, circuit = {}, capabilities = {}, connect = 'now', boxes } = options;
  const address = checkedAddress(options.url, options.allowHttp);
  check('model', options.model, 'the name of a model', typeof options.model === 'string' && options.model !== '');
  check('connect', connect, '"now" or "later"', connect === 'now' || connect === 'later');
  refuseUnknownOptions(pictures, ['send', 'jpegQuality', 'tileSize', 'maxTiles'], 'remote.pictures');
  refuseUnknownOptions(retries, ['most', 'initialMs', 'maximumMs'], 'remote.retries');
  refuseUnknownOptions(circuit, ['failures', 'openMs'], 'remote.circuit');
  refuseUnknownOptions(capabilities, ['logProbabilities'], 'remote.capabilities');
  if (pictures !== undefined)
    check('pictures.send', pictures.send, 'true, or no pictures at all', pictures.send === true);
  return {
    address,
    model: options.model,
    key: await keyOf(options),
    ca: options.caFile === undefined ? undefined : await fileOf(options.caFile, 'certificates'),
    pictures: pictures && {
      jpegQuality: whole('pictures.jpegQuality', pictures.jpegQuality ?? 90, 1, 100),
      tileSize: whole('pictures.tileSize', pictures.tileSize ?? 560, 14, 4_096),
      maxTiles: whole('pictures.maxTiles', pictures.maxTiles ?? 4, 1, 64),
    },
    concurrency: whole('concurrency', options.concurrency ?? 8, 1, 256),
    timeoutMs: whole('timeoutMs', options.timeoutMs ?? 120_000, 1, MAX_MS),
    stallMs: whole('stallMs', options.stallMs ?? 60_000, 1, MAX_MS),
    retries: {
      most: whole('retries.most', retries.most ?? 3, 0, 100),
      initialMs: whole('retries.initialMs', retries.initialMs ?? 500, 1, MAX_MS),
      maximumMs: whole('retries.maximumMs', retries.maximumMs ?? 8_000, 1, MAX_MS),
    },
    circuit: {
      failures: whole('circuit.failures', circuit.failures ?? 5, 1, 1_000),
      openMs: whole('circuit.openMs', circuit.openMs ?? 5_000, 1, MAX_MS / 16),
    },
    logProbabilities: capabilities.logProbabilities,
    boxes,
    connect,
  };
}

/** @throws SdkError ERR_CONFIG_INVALID for what is no address, holds a secret, or can be listened to */
export function checkedAddress(text: string, allowHttp = false): URL {
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : undefined;
  const shown = url === undefined ? JSON.stringify(text) : url.origin;
  const refuse = (expected: string) =>
    new SdkError('ERR_CONFIG_INVALID', `Expected ${expected}, but received ${shown}.`, { details: { option: 'url' } });
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw refuse('the address of an API such as https://gpu.example/v1');
  // An address is logged and shown; a password in it would be too.
  if (url.username !== '' || url.password !== '')
    throw refuse('an address without a user and a password (the key comes from a file or the environment)');
  if (url.search !== '' || url.hash !== '') throw refuse('an address without a query');
  if (url.protocol === 'http:' && !allowHttp && !isLoopback(url.hostname))
    throw refuse('https:// for another machine, or allowHttp: true where the network between is trusted');
  url.pathname = url.pathname.replace(/\/+$/, '');
  return url;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

async function keyOf({ keyFile, keyVariable }: RemoteOptions): Promise<string | undefined> {
  const given = keyVariable === undefined ? undefined : process.env[keyVariable] || undefined;
  if (given === undefined && keyFile === undefined) {
    if (keyVariable === undefined) return undefined;
    throw new SdkError('ERR_CONFIG_INVALID', `Expected a key in the variable ${keyVariable} but it is not set.`);
  }
  const key = (given ?? (await fileOf(keyFile!, 'key'))).trim();
  if (/^[\x21-\x7e]{1,4096}$/.test(key)) return key;
  const place = given === undefined ? keyFile : keyVariable;
  throw new SdkError('ERR_CONFIG_INVALID', `Expected one key in ${place}, on one line, but it holds none or more.`);
}

async function fileOf(file: string, what: string): Promise<string> {
  return await readFile(file, 'utf8').catch((cause: Error) => {
    throw new SdkError('ERR_CONFIG_INVALID', `The ${what} cannot be read from ${file}: ${cause.message}`, { cause });
  });
}

function whole(name: string, value: number, from: number, to: number): number {
  check(
    name,
    value,
    `a whole number from ${from} to ${to}`,
    Number.isSafeInteger(value) && value >= from && value <= to,
  );
  return value;
}

function check(name: string, value: unknown, expected: string, isValid: boolean): void {
  if (isValid) return;
  const message = `Expected ${expected} for remote.${name} but received ${JSON.stringify(value) ?? 'nothing'}.`;
  throw new SdkError('ERR_ARGUMENT_INVALID', message, { details: { option: `remote.${name}` } });
}
