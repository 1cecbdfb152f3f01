/**
 * Messages to token ids. The template is rendered with a mark in the place of every text, so that user text is never
 * part of what is searched for special tokens; its ids are spliced in afterwards.
 */
import { SdkError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { type ChatTemplate, withoutTemplate } from './chat-template.js';
import type { Tokenizer } from './tokenizer.js';

export interface PromptMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly parts: readonly ({ readonly type: 'text'; readonly text: string } | { readonly type: 'image' })[];
}

export interface Prompt {
  readonly ids: Int32Array;
  /** Indices of the image tokens in `ids`, one for each image part, in order. */
  readonly imagePositions: readonly number[];
}

export const IMAGE_TOKEN = '<|image|>';

// Private-use characters delimit a mark. The em spaces around it show whether the template trims its texts: they
// survive or not, and the text is then trimmed likewise.
const OPEN = '\uE000';
const CLOSE = '\uE001';
const EDGE = '\u2003';
const MARK = /(\u2003?)\uE000(\d+)\uE001(\u2003?)/u;

/**
 * Ids of the whole prompt, up to where the assistant's answer begins.
 * @throws SdkError ERR_PROMPT_INVALID for what the template refuses (an image together with a system message) and
 * for malformed messages, ERR_TOKENIZER_INVALID when template and tokenizer do not fit each other, ERR_LIMIT_EXCEEDED.
 */
export function renderPrompt(template: ChatTemplate, tokenizer: Tokenizer, messages: readonly PromptMessage[]): Prompt {
  checkMessages(messages);
  if (withoutTemplate(template) !== undefined && tokenizer.specialTokenId('<|start_header_id|>') === undefined) {
    throw new SdkError(
      'ERR_PROMPT_INVALID',
      'Expected a model for conversations, but its folder has no chat template and its tokenizer no tokens for turns: it is a base model. Use complete(), or copy chat_template.json of the model.',
    );
  }
  const { rendered, texts } = render(template, tokenizer, messages);
  const ids = encodeRendered(rendered, texts, template, tokenizer);
  addBos(ids, template, tokenizer);
  const imageId = tokenizer.specialTokenId(IMAGE_TOKEN);
  const imagePositions = ids.flatMap((id, index) => (id === imageId ? [index] : []));
  const imageCount = messages.reduce((sum, { parts }) => sum + parts.filter(({ type }) => type === 'image').length, 0);
  if (imagePositions.length !== imageCount) {
    throw new SdkError(
      'ERR_TOKENIZER_INVALID',
      `Expected the chat template of ${template.origin} to write ${imageCount} ${IMAGE_TOKEN} but it wrote ${imagePositions.length}. Use the template of a vision checkpoint.`,
    );
  }
  return { ids: Int32Array.from(ids), imagePositions };
}

/**
 * The layout of a base model, which goes on with a text instead of answering: pictures that come first, begin of text,
 * the rest (`<|image|><|begin_of_text|>If I had to write a haiku`, as the card of Llama 3.2 Vision has it).
 * @param messages one, of the user
 * @throws SdkError ERR_PROMPT_INVALID, ERR_LIMIT_EXCEEDED; ERR_TOKENIZER_INVALID without the tokens that it needs
 */
export function completionPrompt(tokenizer: Tokenizer, messages: readonly PromptMessage[]): Prompt {
  checkMessages(messages);
  if (messages.length !== 1) {
    throw new SdkError(
      'ERR_PROMPT_INVALID',
      `Expected one text to complete but received ${messages.length} messages: a base model knows no turns.`,
    );
  }
  const imageId = tokenizer.specialTokenId(IMAGE_TOKEN);
  const { bosTokenId } = tokenizer;
  if (imageId === undefined || bosTokenId === undefined) {
    throw new SdkError('ERR_TOKENIZER_INVALID', `Expected a tokenizer with ${IMAGE_TOKEN} and a begin-of-text token.`);
  }
  const { parts } = messages[0]!;
  const firstText = parts.findIndex(({ type }) => type === 'text');
  const leading = firstText === -1 ? parts.length : firstText;
  const ids: number[] = [];
  let text = ''; // adjacent texts are encoded as one
  for (const [index, part] of parts.entries()) {
    if (index === leading) ids.push(bosTokenId);
    if (part.type === 'text') text += part.text;
    else {
      append(ids, tokenizer.encodeText(text));
      text = '';
      ids.push(imageId);
    }
  }
  if (leading === parts.length) ids.push(bosTokenId);
  append(ids, tokenizer.encodeText(text));
  return { ids: Int32Array.from(ids), imagePositions: ids.flatMap((id, index) => (id === imageId ? [index] : [])) };
}

function checkMessages(messages: readonly PromptMessage[]): void {
  const last = messages.at(-1);
  if (last?.role !== 'user') {
    throw new SdkError(
      'ERR_PROMPT_INVALID',
      `Expected messages that end with one of role "user" but received ${last ? `role ${JSON.stringify(last.role)} last` : 'none'}.`,
    );
  }
  const unknown = messages.find(({ role }) => role !== 'system' && role !== 'user' && role !== 'assistant');
  if (unknown) {
    throw new SdkError(
      'ERR_PROMPT_INVALID',
      `Expected role system, user or assistant but received ${JSON.stringify(unknown.role)}.`,
    );
  }
  const images = messages.reduce((sum, { parts }) => sum + parts.filter(({ type }) => type === 'image').length, 0);
  const characters = messages.reduce(
    (sum, { parts }) => sum + parts.reduce((inner, part) => inner + (part.type === 'text' ? part.text.length : 0), 0),
    0,
  );
  limit('messages', messages.length, LIMITS.promptMessages);
  limit('images', images, LIMITS.promptImages);
  limit('characters', characters, LIMITS.promptCharacters);
}

function limit(what: string, received: number, maximum: number): void {
  if (received <= maximum) return;
  throw new SdkError(
    'ERR_LIMIT_EXCEEDED',
    `Expected at most ${maximum} ${what} in a prompt but received ${received}.`,
    {
      details: { what, maximum, received },
    },
  );
}

interface Rendered {
  readonly rendered: string;
  /** What the marks stand for. */
  readonly texts: readonly string[];
}

/**
 * Messages of text alone can be a string or a list with one part. Templates differ in what they take: the published
 * one of Llama 3.2 Vision counts through the parts of every message, text-only ones trim a string.
 */
function render(template: ChatTemplate, tokenizer: Tokenizer, messages: readonly PromptMessage[]): Rendered {
  try {
    return renderAs('string', template, tokenizer, messages);
  } catch (error) {
    if (error instanceof SdkError) throw error;
    try {
      return renderAs('parts', template, tokenizer, messages);
    } catch (second) {
      if (second instanceof SdkError) throw second;
      const picture = messages.some(
        ({ role, parts }) => role === 'system' && parts.some(({ type }) => type === 'image'),
      );
      throw new SdkError(
        'ERR_PROMPT_INVALID',
        picture
          ? `The chat template of ${template.origin} takes no picture in a system message. Put it into the user message.`
          : `Expected the chat template of ${template.origin} to render these messages but it failed: ${(error as Error).message}.`,
        { cause: error, details: { template: template.origin } },
      );
    }
  }
}

function renderAs(
  form: 'string' | 'parts',
  template: ChatTemplate,
  tokenizer: Tokenizer,
  messages: readonly PromptMessage[],
): Rendered {
  const texts: string[] = [];
  const marked = messages.map((message) => markMessage(message, form, texts));
  const bosName = [...tokenizer.specialTokens].find(([, id]) => id === tokenizer.bosTokenId)?.[0] ?? '';
  // What transformers gives (apply_chat_template): what was not asked for is none, not undefined.
  const rendered = template.render({
    messages: marked,
    tools: null,
    documents: null,
    add_generation_prompt: true,
    ...Object.fromEntries(tokenizer.namedTokens),
    bos_token: bosName,
  });
  return { rendered, texts };
}

/** The system message is a string in either form: templates move, trim and compare it as one. */
function markMessage(message: PromptMessage, form: 'string' | 'parts', texts: string[]): Record<string, unknown> {
  const mark = (text: string) => (text === '' ? '' : `${EDGE}${OPEN}${texts.push(text) - 1}${CLOSE}${EDGE}`);
  const textAlone = message.parts.every((part) => part.type === 'text');
  if (textAlone && (form === 'string' || message.role === 'system')) {
    return { role: message.role, content: mark(message.parts.map((part) => part.text).join('')) };
  }
  const content = message.parts.map((part) =>
    part.type === 'image' ? { type: 'image' } : { type: 'text', text: mark(part.text) },
  );
  return { role: message.role, content };
}

function encodeRendered(
  rendered: string,
  texts: readonly string[],
  template: ChatTemplate,
  tokenizer: Tokenizer,
): number[] {
  const ids: number[] = [];
  const written = new Set<number>();
  let text = ''; // adjacent texts are encoded as one, as if they had been written together
  const pieces = rendered.split(new RegExp(MARK, 'gu'));
  for (let i = 0; i < pieces.length; i += 4) {
    const fixed = pieces[i]!;
    if (fixed !== '') {
      append(ids, tokenizer.encodeText(text));
      append(ids, tokenizer.encodeTemplate(fixed));
      text = '';
    }
    if (i + 3 >= pieces.length) break;
    const index = Number(pieces[i + 2]);
    let inserted = texts[index] ?? '';
    if (pieces[i + 1] === '') inserted = inserted.trimStart();
    if (pieces[i + 3] === '') inserted = inserted.trimEnd();
    text += inserted;
    written.add(index);
  }
  append(ids, tokenizer.encodeText(text));
  if (written.size !== texts.length) {
    throw new SdkError(
      'ERR_PROMPT_INVALID',
      `Expected the chat template of ${template.origin} to write every message but it left ${texts.length - written.size} out.`,
    );
  }
  return ids;
}

/** Not push(...more): a long prompt would overflow the stack. */
function append(ids: number[], more: readonly number[]): void {
  for (const id of more) ids.push(id);
}

/** Exactly one BOS: a second one costs quality silently (the template writes it and so do some tokenizers). */
function addBos(ids: number[], template: ChatTemplate, tokenizer: Tokenizer): void {
  const bos = tokenizer.bosTokenId;
  if (bos === undefined) return;
  if (ids[0] !== bos) ids.unshift(bos);
  if (ids[1] === bos) {
    throw new SdkError(
      'ERR_TOKENIZER_INVALID',
      `Expected one begin-of-text token but the chat template of ${template.origin} writes two. Remove one from the template.`,
    );
  }
}
