/** Messages of a request in whatever form, as turns whose pictures are known and not opened yet. */
import type { ChatMessage, ChatPart } from 'scenebus';
import { type OpenPicture, requireFewPictures } from './pictures.js';

export type AskedPart =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'picture'; readonly open: OpenPicture };

export interface AskedMessage {
  readonly role: ChatMessage['role'];
  readonly content: string | readonly AskedPart[];
}

/** For the model, with what its owner should know about the pictures. */
export interface OpenedMessages {
  readonly messages: readonly ChatMessage[];
  readonly warnings: readonly string[];
}

/**
 * Opens the pictures one after another. What can be refused without opening any has been refused before.
 * @throws ApiError; SdkError ERR_IMAGE_*, ERR_CAPTURE_*
 */
export async function openMessages(asked: readonly AskedMessage[], signal: AbortSignal): Promise<OpenedMessages> {
  const warnings = new Set<string>();
  const messages: ChatMessage[] = [];
  for (const { role, content } of asked) {
    if (typeof content === 'string') {
      messages.push({ role, content });
      continue;
    }
    const parts: ChatPart[] = [];
    for (const part of content) {
      if (part.type === 'text') {
        parts.push(part);
        continue;
      }
      const { image, notices } = await part.open(signal);
      parts.push({ type: 'image', image });
      for (const notice of notices) warnings.add(notice);
    }
    messages.push({ role, content: parts });
  }
  const beside = besidePictures(messages);
  return { messages: beside.messages, warnings: [...warnings, ...beside.warnings] };
}

const PICTURE_PARTS: readonly string[] = ['image_url', 'input_image'];

/** @throws ApiError 400 for more pictures than a request may have, before one of them is read */
export function requireFewPicturesIn(contents: readonly (string | readonly { readonly type: string }[])[]): void {
  const parts = contents.flatMap((content) => (typeof content === 'string' ? [] : content));
  requireFewPictures(parts.filter(({ type }) => PICTURE_PARTS.includes(type)).length, 'messages');
}

/**
 * The template of Llama 3.2 Vision has no place for a system turn beside pictures, and tools send one all the same: its
 * text then comes before the first turn of the user, which is said in a warning.
 */
function besidePictures(messages: readonly ChatMessage[]): OpenedMessages {
  const hasPictures = messages.some(
    ({ content }) => typeof content !== 'string' && content.some(({ type }) => type === 'image'),
  );
  const [system, user, ...others] = messages;
  if (!hasPictures || system?.role !== 'system' || user?.role !== 'user') return { messages, warnings: [] };
  const content = [...partsOf(system), { type: 'text', text: '\n\n' } as const, ...partsOf(user)];
  const warning = 'The model takes no system message beside pictures: its text was put before that of the user.';
  return { messages: [{ role: 'user', content }, ...others], warnings: [warning] };
}

function partsOf({ content }: ChatMessage): readonly ChatPart[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content;
}
