/** A request in OpenAI's form. What has no place in it is refused, never left out. */
import { SdkError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import type { AnswerSchema } from '../../grammar/index.js';
import { type ResolvedOptions, resolveOptions } from '../generate-options.js';
import { layoutOf, splitMessages } from '../messages.js';
import { truncationOf } from '../truncation.js';
import type { ChatMessage, GenerateOptions, GenerateRequest, ModelImage } from '../types.js';
import type { ResolvedRemote } from './options.js';
import { dataUrlOf } from './pictures.js';

/** A request that has passed every check that needs no server. */
export interface CheckedRequest {
  readonly messages: readonly ChatMessage[];
  readonly images: readonly ModelImage[];
  /** The text of the user's last turn. */
  readonly question: string;
  readonly options: ResolvedOptions;
  /** As they were given: what was left out is the server's to choose. */
  readonly given: GenerateOptions;
}

/** The server's own are not known; nothing of these is sent. */
const DEFAULTS = { doSample: true, temperature: 1, topP: 1 };

const FORMLESS = [
  'topK',
  'minP',
  'repetitionPenalty',
  'noRepeatNgramSize',
] as const satisfies readonly (keyof GenerateOptions)[];
const NEUTRAL: Readonly<Record<(typeof FORMLESS)[number], number>> = {
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  noRepeatNgramSize: 0,
};

/** @throws SdkError ERR_ARGUMENT_INVALID, ERR_PROMPT_INVALID, ERR_LIMIT_EXCEEDED, ERR_SCHEMA_*; ERR_REQUEST_UNSUPPORTED naming the option */
export function checkedRequest(request: GenerateRequest, given: GenerateOptions): CheckedRequest {
  const options = resolveOptions(given, DEFAULTS);
  const { images } = splitMessages(request);
  truncationOf(request); // the server knows its context: what is too long for it, it refuses
  if (layoutOf(request) === 'plain') throw unsupported('layout', 'a text that is gone on with');
  if (options.heatMap) throw unsupported('heatMap', 'where the model looks');
  for (const name of FORMLESS)
    if (given[name] !== undefined && given[name] !== NEUTRAL[name]) throw unsupported(name, name);
  const { messages } = request;
  if (messages.length === 0) throw new SdkError('ERR_PROMPT_INVALID', 'Expected messages but received none.');
  const texts = messages.map(({ content }) =>
    typeof content === 'string' ? content : content.map((part) => (part.type === 'text' ? part.text : '')).join(''),
  );
  limit('messages', messages.length, LIMITS.promptMessages);
  limit('images', images.length, LIMITS.promptImages);
  limit(
    'characters',
    texts.reduce((sum, text) => sum + text.length, 0),
    LIMITS.promptCharacters,
  );
  const last = messages.findLastIndex(({ role }) => role === 'user');
  return { messages, images, question: texts[last] ?? '', options, given };
}

/** @throws SdkError ERR_REQUEST_UNSUPPORTED for pictures that may not leave; ERR_IMAGE_INVALID */
export async function bodyOf({ messages, options, given }: CheckedRequest, remote: ResolvedRemote): Promise<object> {
  const { maxNewTokens, schema, logProbabilities, stop, verify } = options;
  const { temperature, topP, presencePenalty, frequencyPenalty, seed } = given;
  const sent: object[] = [];
  for (const { role, content } of messages) sent.push({ role, content: await contentOf(content, remote) });
  return {
    model: remote.model,
    messages: sent,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: maxNewTokens,
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { top_p: topP }),
    ...(presencePenalty === undefined ? {} : { presence_penalty: presencePenalty }),
    ...(frequencyPenalty === undefined ? {} : { frequency_penalty: frequencyPenalty }),
    ...(seed === undefined ? {} : { seed }),
    ...(stop.length === 0 ? {} : { stop }),
    ...(schema === undefined ? {} : { response_format: formatOf(schema) }),
    ...(logProbabilities === undefined ? {} : { logprobs: true, top_logprobs: logProbabilities }),
    ...(verify ? { scenebus: { verify } } : {}),
  };
}

async function contentOf(content: ChatMessage['content'], remote: ResolvedRemote): Promise<string | object[]> {
  if (typeof content === 'string') return content;
  const parts: object[] = [];
  for (const part of content) {
    if (part.type === 'text') parts.push({ type: 'text', text: part.text });
    else parts.push({ type: 'image_url', image_url: { url: await dataUrlOf(part.image, remote) } });
  }
  return parts;
}

function formatOf({ jsonSchema }: AnswerSchema): object {
  return { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema: jsonSchema } };
}

/** ERR_REQUEST_UNSUPPORTED naming the option; `what` says what it would have brought. */
export function unsupported(option: string, what: string): SdkError {
  return new SdkError(
    'ERR_REQUEST_UNSUPPORTED',
    `Expected a request that a remote model can be sent, but OpenAI's API has no place for ${what}. Leave ${option} out, or ask a model on this machine.`,
    { details: { option } },
  );
}

function limit(what: string, count: number, most: number): void {
  if (count <= most) return;
  throw new SdkError('ERR_LIMIT_EXCEEDED', `Expected at most ${most} ${what} in a request but received ${count}.`);
}
