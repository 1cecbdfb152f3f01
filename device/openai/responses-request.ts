/**
 * The body of POST /v1/responses, as far as one question needs it: text and pictures in, text or JSON out. What would need
 * memory between requests, or tools, is refused.
 */
import type { GenerateOptions, JsonSchema } from 'scenebus';
import { z } from 'zod';
import { type AskedMessage, type AskedPart, requireFewPicturesIn } from './asked-messages.js';
import {
  ANY_OBJECT,
  checked,
  DETAIL_WARNING,
  extensionField,
  isEmpty,
  samplingFields,
  withoutIdle,
} from './chat-request.js';
import type { RequestPictures } from './pictures.js';

const textPart = z.strictObject({ type: z.literal('input_text'), text: z.string() });
const imagePart = z.strictObject({
  type: z.literal('input_image'),
  image_url: z.string(),
  detail: z.enum(['auto', 'low', 'high', 'original']).nullish(),
  file_id: z.null().optional(),
});
/** As this server itself answers, so that a client can hand the output back. */
const outputPart = z.strictObject({
  type: z.literal('output_text'),
  text: z.string(),
  annotations: z.array(z.never()).nullish(),
  logprobs: z.array(z.unknown()).nullish(),
});
const itemSchema = z.discriminatedUnion('role', [
  z.strictObject({
    type: z.literal('message').optional(),
    role: z.enum(['system', 'developer']),
    content: z.union([z.string(), z.array(textPart)]),
  }),
  z.strictObject({
    type: z.literal('message').optional(),
    role: z.literal('user'),
    content: z.union([z.string(), z.array(z.discriminatedUnion('type', [textPart, imagePart]))]),
  }),
  z.strictObject({
    type: z.literal('message').optional(),
    role: z.literal('assistant'),
    content: z.union([z.string(), z.array(z.discriminatedUnion('type', [outputPart, textPart]))]),
    id: z.string().optional(),
    status: z.string().nullish(),
    phase: z.string().nullish(),
  }),
]);

const formatSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text') }),
  z.strictObject({ type: z.literal('json_object') }),
  z.strictObject({
    type: z.literal('json_schema'),
    name: z.string(),
    schema: z.record(z.string(), z.unknown()),
    description: z.string().nullish(),
    strict: z.boolean().nullish(),
  }),
]);
const LOGPROBS = 'message.output_text.logprobs';
const bodySchema = z.strictObject({
  model: z.string(),
  input: z.union([z.string(), z.array(itemSchema).min(1)]),
  instructions: z.string().optional(),
  text: z
    .strictObject({ format: formatSchema.default({ type: 'text' }), verbosity: z.string().nullish() })
    .prefault({}),
  ...samplingFields,
  max_output_tokens: z.int().min(1).optional(),
  include: z.array(z.literal(LOGPROBS)).default([]),
  top_logprobs: z.int().min(0).max(20).default(0),
  stream: z.boolean().default(false),
  metadata: z.record(z.string(), z.string()).default({}),
  ...extensionField,
});
export type ResponsesBody = z.infer<typeof bodySchema>;

const NEUTRAL: Readonly<Record<string, (value: unknown) => boolean>> = {
  tools: isEmpty,
  tool_choice: (value) => value === 'none' || value === 'auto',
  background: (value) => value === false,
  store: (value) => value === false,
  truncation: (value) => value === 'disabled',
};
const IDLE = [
  'parallel_tool_calls',
  'prompt_cache_key',
  'prompt_cache_retention',
  'reasoning',
  'safety_identifier',
  'service_tier',
  'store',
  'stream_options',
  'user',
];

/** @throws ApiError 400 naming the parameter */
export function readResponsesBody(given: unknown): {
  readonly body: ResponsesBody;
  readonly warnings: readonly string[];
} {
  const { left, warnings } = withoutIdle(given, NEUTRAL, IDLE);
  const body = checked(bodySchema, left);
  if (body.text.verbosity) warnings.push('text.verbosity has no effect on this server.');
  if (typeof body.input !== 'string' && body.input.some(hasDetail)) warnings.push(DETAIL_WARNING);
  return { body, warnings };
}

function hasDetail({ content }: z.infer<typeof itemSchema>): boolean {
  if (typeof content === 'string') return false;
  return (content as readonly { type: string; detail?: unknown }[]).some(({ detail }) => Boolean(detail));
}

/** Turns with pictures that are checked as far as that goes without opening one. @throws ApiError 400 */
export function askedInput({ input, instructions }: ResponsesBody, pictures: RequestPictures): AskedMessage[] {
  const items = typeof input === 'string' ? [{ role: 'user' as const, content: input }] : input;
  requireFewPicturesIn(items.map(({ content }) => content));
  const asked = items.map(({ role, content }, item): AskedMessage => {
    const by = role === 'developer' ? 'system' : role;
    if (typeof content === 'string') return { role: by, content };
    const parts = content.map((part, index): AskedPart => {
      if (part.type !== 'input_image') return { type: 'text', text: part.text };
      return { type: 'picture', open: pictures.ofUrl(part.image_url, `input.${item}.content.${index}.image_url`) };
    });
    return { role: by, content: parts };
  });
  if (instructions === undefined) return asked;
  const [first, ...others] = asked;
  if (first?.role !== 'system') return [{ role: 'system', content: instructions }, ...asked];
  // One system turn is all that the template has a place for.
  const given = typeof first.content === 'string' ? [{ type: 'text' as const, text: first.content }] : first.content;
  const content: AskedPart[] = [{ type: 'text', text: `${instructions}\n\n` }, ...given];
  return [{ role: 'system', content }, ...others];
}

export function responsesOptions(body: ResponsesBody): GenerateOptions {
  const { format } = body.text;
  const schema =
    format.type === 'text' ? undefined : format.type === 'json_object' ? ANY_OBJECT : (format.schema as JsonSchema);
  return {
    maxNewTokens: body.max_output_tokens,
    temperature: body.temperature,
    topP: body.top_p,
    schema,
    schemaFrom: 'stranger',
    verify: body.scenebus?.verify,
    logProbabilities: body.include.length > 0 || body.top_logprobs > 0 ? body.top_logprobs : undefined,
  };
}
