/** One answer as it comes from a server, with bounds on all that a server could overdo. */
import type { IncomingMessage } from 'node:http';
import { isSdkError, SdkError } from '../../core/errors.js';
import type { FinishReason } from '../../inference/generation.js';
import type { AnswerToken, TokenProbability } from '../types.js';
import { type Chunk, type ChunkToken, chunkSchema } from './chunks.js';
import { eventData } from './event-stream.js';
import { failedMidway, invalidAnswer, unreachable } from './failures.js';
import type { RemoteServer } from './server.js';

/** What a server wrote. */
export interface RemoteAnswer {
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly tokens: readonly AnswerToken[];
  readonly usage: NonNullable<Chunk['usage']> | undefined;
  /** undefined: the server is no SceneBus. */
  readonly extension: NonNullable<Chunk['scenebus']> | undefined;
  /** From the sending of the request on; undefined: there was no text. */
  readonly firstTextMs: number | undefined;
}

export interface ReadOptions {
  readonly server: RemoteServer;
  /** What was asked for. */
  readonly model: string;
  readonly maxNewTokens: number;
  /** When the request was sent, by `performance.now()`. */
  readonly sentMs: number;
  readonly onText: (text: string) => void;
  readonly signal: AbortSignal;
}

/** The longest token of known vocabularies is 128 spaces. */
const TOKEN_CHARACTERS = 128;
/** An event for a token with twenty likeliest takes some 3 kB. */
const TOKEN_BYTES = 8 * 1024;
const LEAST_BYTES = 2 ** 20;
/** For what comes between the end of the text and that of the stream. */
const BEHIND_END_MS = 2_000;
/** What may come behind the end of the stream: nothing, but servers differ in line ends. */
const DRAIN_MS = 1_000;

/** @throws SdkError ERR_REMOTE_*; the signal's reason */
export async function readAnswer(response: IncomingMessage, options: ReadOptions): Promise<RemoteAnswer> {
  const { server, maxNewTokens, signal } = options;
  const type = (response.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
  const maxBytes = LEAST_BYTES + maxNewTokens * TOKEN_BYTES;
  const reading = new Reading(options);
  if (type === 'application/json') {
    reading.take(await server.readAll(response, maxBytes, signal));
    return reading.end();
  }
  if (type !== 'text/event-stream') {
    response.destroy();
    throw invalidAnswer(server.where, `it answers with the type ${JSON.stringify(type.slice(0, 64))}`);
  }
  let timer: NodeJS.Timeout | undefined;
  try {
    for await (const data of eventData(bounded(response, maxBytes, options))) {
      if (data.trim() === '[DONE]') break;
      reading.take(data);
      // Usage and boxes still come; a server that leaves it at that is not waited for.
      if (reading.hasEnded) timer ??= setTimeout(() => response.destroy(), BEHIND_END_MS);
    }
    return reading.end();
  } catch (error) {
    signal.throwIfAborted();
    if (reading.hasEnded) return reading.end();
    if (isSdkError(error)) throw error;
    throw invalidAnswer(server.where, error instanceof RangeError ? error.message : String(error));
  } finally {
    clearTimeout(timer);
    leave(response);
  }
}

/** The connection is of use again once the end of the answer has come by; what comes instead is not read. */
function leave(response: IncomingMessage): void {
  if (response.destroyed) return;
  const timer = setTimeout(() => response.destroy(), DRAIN_MS).unref();
  response.once('close', () => clearTimeout(timer));
  response.on('error', () => {});
  response.on('data', (piece: Buffer) => {
    if (piece.some((byte) => byte !== 0x0a && byte !== 0x0d)) response.destroy();
  });
}

/** Not `for await` over the response: leaving that would end the connection. */
async function* bounded(
  response: IncomingMessage,
  maxBytes: number,
  { server, signal }: ReadOptions,
): AsyncGenerator<Buffer, void, void> {
  let size = 0;
  try {
    for await (const piece of response.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      size += piece.length;
      if (size > maxBytes) {
        response.destroy();
        throw invalidAnswer(server.where, `its answer is longer than ${maxBytes} bytes`);
      }
      yield piece;
    }
  } catch (error) {
    signal.throwIfAborted();
    if (isSdkError(error)) throw error;
    throw unreachable(server.where, `the connection broke off within an answer (${String(error)})`, error, {
      how: 'cut',
    });
  }
}

class Reading {
  readonly #options: ReadOptions;
  #text = '';
  #refusal = '';
  #finish: string | undefined;
  #firstTextMs: number | undefined;
  readonly #tokens: AnswerToken[] = [];
  #usage: RemoteAnswer['usage'];
  #extension: RemoteAnswer['extension'];

  constructor(options: ReadOptions) {
    this.#options = options;
  }

  /** The text is whole. */
  get hasEnded(): boolean {
    return this.#finish !== undefined;
  }

  take(data: string): void {
    const { server, maxNewTokens, onText } = this.#options;
    const chunk = this.#parsed(data);
    if (chunk.error) {
      const error = typeof chunk.error === 'string' ? { message: chunk.error } : chunk.error;
      throw failedMidway(server.where, error);
    }
    this.#requireModel(chunk.model ?? undefined);
    this.#usage = chunk.usage ?? this.#usage;
    this.#extension = chunk.scenebus ?? this.#extension;
    const choice = chunk.choices?.[0];
    if (choice === undefined) return;
    const { content, refusal } = choice.delta ?? choice.message ?? {};
    // Whatever follows the end of an answer is none of it.
    if (content && this.#finish === undefined) {
      this.#firstTextMs ??= performance.now() - this.#options.sentMs;
      this.#text += content;
      if (this.#text.length > maxNewTokens * TOKEN_CHARACTERS)
        throw invalidAnswer(server.where, `it goes on writing beyond the ${maxNewTokens} tokens that were asked for`);
      onText(content);
    }
    this.#refusal += refusal ?? '';
    for (const token of choice.logprobs?.content ?? [])
      this.#tokens.push({ ...probability(token), likeliest: (token.top_logprobs ?? []).map(probability) });
    this.#finish ??= choice.finish_reason ?? undefined;
  }

  /** @throws SdkError for half an answer */
  end(): RemoteAnswer {
    const { where } = this.#options.server;
    const finish = this.#finish;
    if (this.#refusal !== '')
      throw new SdkError(
        'ERR_REMOTE_REJECTED',
        `The model at ${where} refuses to answer: ${this.#refusal.slice(0, 500)}`,
      );
    if (finish === undefined) throw unreachable(where, 'its answer broke off', undefined, { how: 'cut' });
    if (finish !== 'stop' && finish !== 'length') {
      const message = `The server at ${where} ended its answer with ${JSON.stringify(finish)} rather than at its end.`;
      throw new SdkError('ERR_REMOTE_REJECTED', message, { details: { finishReason: finish, text: this.#text } });
    }
    return {
      text: this.#text,
      finishReason: finish,
      tokens: this.#tokens,
      usage: this.#usage,
      extension: this.#extension,
      firstTextMs: this.#firstTextMs,
    };
  }

  #parsed(data: string): Chunk {
    const { where } = this.#options.server;
    let value: unknown;
    try {
      value = JSON.parse(data);
    } catch {
      throw invalidAnswer(where, 'what it sends is not JSON');
    }
    const parsed = chunkSchema.safeParse(value);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw invalidAnswer(where, `what it sends is no part of an answer (${issue?.path.join('.')}: ${issue?.message})`);
  }

  /** Services add a date or a provider to the name that they were asked for. */
  #requireModel(answered: string | undefined): void {
    const { server, model } = this.#options;
    if (answered === undefined || answered === '' || answered === model) return;
    if (answered.startsWith(`${model}-`) || answered.endsWith(`/${model}`) || model.endsWith(`/${answered}`)) return;
    const names = `${JSON.stringify(model)} but ${JSON.stringify(answered.slice(0, 200))}`;
    const message = `Expected an answer of the model ${names} answered at ${server.where}. Give that name as remote.model, if it is the right one.`;
    throw new SdkError('ERR_REMOTE_REJECTED', message, { details: { asked: model, answered } });
  }
}

function probability({ token, bytes, logprob }: ChunkToken): TokenProbability {
  return { text: token, bytes: Uint8Array.from(bytes ?? Buffer.from(token)), logProbability: Math.min(0, logprob) };
}
