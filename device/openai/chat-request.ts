/** The body of POST /v1/chat/completions: what is honoured is read, all else is refused or warned about. */
import type { GenerateOptions, JsonSchema } from 'scenebus';
import { z } from 'zod';
import { ApiError } from './api-error.js';
import { type AskedMessage, requireFewPicturesIn } from './asked-messages.js';
import type { RequestPictures } from './pictures.js';

const textPart = z.strictObject({ type: z.literal('text'), text: z.string() });
const imagePart = z.strictObject({
  type: z.literal('image_url'),
  image_url: z.union([
    z.string(),
    z.strictObject({ url: z.string(), detail: z.enum(['auto', 'low', 'high']).nullish() }),
  ]),
});
const noneOf = z.array(z.never()).nullish();
const messageSchema = z.discriminatedUnion('role', [
  z.strictObject({
    role: z.enum(['system', 'developer']),
    content: z.union([z.string(), z.array(textPart)]),
    name: z.string().nullish(),
  }),
  z.strictObject({
    role: z.literal('user'),
    content: z.union([z.string(), z.array(z.discriminatedUnion('type', [textPart, imagePart]))]),
    name: z.string().nullish(),
  }),
  // As this server itself answers, so that a client can hand the message back.
  z.strictObject({
    role: z.literal('assistant'),
    content: z.union([z.string(), z.array(textPart)]),
    name: z.string().nullish(),
    refusal: z.null().optional(),
    tool_calls: noneOf,
    annotations: noneOf,
  }),
]);

/** Sampling, by the names that both of OpenAI's APIs have for it. */
export const samplingFields = {
  temperature: z.number().min(0).max(2).optional(),
  top_p: z.number().positive().max(1).optional(),
};

/** What OpenAI's and Ollama's forms have no name for. Left out: as the model or the device has it. */
export const extensionField = {
  scenebus: z
    .strictObject({
      /** The model is asked about the cut-out of each box: see `GenerateOptions.verify`. */
      verify: z.boolean().optional(),
    })
    .optional(),
};

const schemaFormat = z.strictObject({
  type: z.literal('json_schema'),
  json_schema: z.strictObject({
    name: z.string(),
    description: z.string().nullish(),
    strict: z.boolean().nullish(),
    schema: z.record(z.string(), z.unknown()),
  }),
});
const bodySchema = z.strictObject({
  model: z.string(),
  messages: z.array(messageSchema).min(1),
  stream: z.boolean().default(false),
  stream_options: z.strictObject({ include_usage: z.boolean().nullish() }).optional(),
  response_format: z
    .discriminatedUnion('type', [
      z.strictObject({ type: z.literal('text') }),
      z.strictObject({ type: z.literal('json_object') }),
      schemaFormat,
    ])
    .default({ type: 'text' }),
  ...samplingFields,
  presence_penalty: z.number().min(-2).max(2).optional(),
  frequency_penalty: z.number().min(-2).max(2).optional(),
  seed: z.int().optional(),
  stop: z.union([z.string(), z.array(z.string())]).optional(),
  max_tokens: z.int().min(1).optional(),
  max_completion_tokens: z.int().min(1).optional(),
  logprobs: z.boolean().default(false),
  top_logprobs: z.int().min(0).max(20).optional(),
  user: z.string().max(200).optional(),
  ...extensionField,
});
export type ChatBody = z.infer<typeof bodySchema>;

export const isEmpty = (value: unknown) => typeof value === 'object' && Object.keys(value ?? {}).length === 0;
export const DETAIL_WARNING = 'detail has no effect: the model sees every picture in one way.';
/** Parameters that ask for nothing when they have this value; with another they are refused. */
const NEUTRAL: Readonly<Record<string, (value: unknown) => boolean>> = {
  n: (value) => value === 1,
  tools: isEmpty,
  functions: isEmpty,
  logit_bias: isEmpty,
  tool_choice: (value) => value === 'none' || value === 'auto',
  store: (value) => value === false,
};
/** Parameters that change nothing about the answer: taken, and said to be of no effect. */
const IDLE = [
  'metadata',
  'service_tier',
  'store',
  'parallel_tool_calls',
  'prompt_cache_key',
  'safety_identifier',
  'reasoning_effort',
];

/** Without what asks for nothing (as `neutral` knows, or null), and without what has no effect, which is said. */
export function withoutIdle(
  given: unknown,
  neutral: Readonly<Record<string, (value: unknown) => boolean>>,
  idle: readonly string[],
): { readonly left: Readonly<Record<string, unknown>>; readonly warnings: string[] } {
  const warnings: string[] = [];
  const left: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(requireObject(given))) {
    // null is how OpenAI's clients say "not given".
    if (value === null || neutral[name]?.(value) === true) continue;
    if (idle.includes(name)) warnings.push(`${name} has no effect on this server.`);
    else left[name] = value;
  }
  return { left, warnings };
}

/** @throws ApiError 400 naming the parameter */
export function readChatBody(given: unknown): { readonly body: ChatBody; readonly warnings: readonly string[] } {
  const { left, warnings } = withoutIdle(given, NEUTRAL, IDLE);
  const body = checked(bodySchema, left);
  if (body.top_logprobs !== undefined && !body.logprobs)
    throw new ApiError(400, 'invalid_value', 'Expected logprobs: true beside top_logprobs.', 'top_logprobs');
  if (body.messages.some((message) => message.name)) warnings.push('The name of a message has no effect here.');
  if (JSON.stringify(body.messages.map(detailsOf)).includes('"')) warnings.push(DETAIL_WARNING);
  return { body, warnings };
}

function detailsOf({ content }: ChatBody['messages'][number]) {
  if (typeof content === 'string') return [];
  return content.map((part) =>
    part.type === 'image_url' && typeof part.image_url !== 'string' ? (part.image_url.detail ?? 0) : 0,
  );
}

export function requireObject(given: unknown): object {
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) return given;
  throw new ApiError(400, 'invalid_body', 'Expected a JSON object as the body, with content-type: application/json.');
}

/** @throws ApiError 400 in words, with the first place that is wrong as the parameter */
export function checked<T extends z.ZodType>(schema: T, value: unknown): z.infer<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  if (issue?.code === 'unrecognized_keys') {
    const name = [...issue.path, issue.keys[0]].join('.').slice(0, 200);
    const message = `This server does not honour ${JSON.stringify(name)}, at least not with this value. Leave it out.`;
    throw new ApiError(400, 'unsupported_parameter', message, name);
  }
  throw new ApiError(400, 'invalid_value', z.prettifyError(parsed.error).slice(0, 2_000), issue?.path.join('.'));
}

/** Turns with pictures that are checked as far as that goes without opening one. @throws ApiError 400 */
export function askedMessages({ messages }: Pick<ChatBody, 'messages'>, pictures: RequestPictures): AskedMessage[] {
  requireFewPicturesIn(messages.map(({ content }) => content));
  return messages.map(({ role, content }, message) => ({
    role: role === 'developer' ? 'system' : role,
    content:
      typeof content === 'string'
        ? content
        : content.map((part, index) => {
            if (part.type === 'text') return part;
            const param = `messages.${message}.content.${index}.image_url`;
            const url = typeof part.image_url === 'string' ? part.image_url : part.image_url.url;
            return { type: 'picture', open: pictures.ofUrl(url, param) };
          }),
  }));
}

/** JSON of any form, an object at the top. */
export const ANY_OBJECT: JsonSchema = { type: 'object' };

export function optionsOf(body: ChatBody): GenerateOptions {
  const { response_format: format } = body;
  const schema =
    format.type === 'text'
      ? undefined
      : format.type === 'json_object'
        ? ANY_OBJECT
        : (format.json_schema.schema as JsonSchema);
  return {
    maxNewTokens: body.max_completion_tokens ?? body.max_tokens,
    temperature: body.temperature,
    topP: body.top_p,
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    // Clients count in 64 bits with a sign; any whole number is as good a seed as its distance from 0.
    seed: body.seed === undefined ? undefined : Math.abs(body.seed),
    stop: body.stop,
    logProbabilities: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
    schema,
    schemaFrom: 'stranger',
    verify: body.scenebus?.verify,
  };
}
