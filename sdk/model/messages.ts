/** Chat messages as callers give them, checked and taken apart. */
import { SdkError } from '../core/errors.js';
import type { PromptMessage } from '../text/prompt.js';
import type { ChatMessage, GenerateRequest, ModelImage } from './types.js';

/** @throws SdkError ERR_PROMPT_INVALID for another word */
export function layoutOf({ layout = 'chat' }: GenerateRequest): 'chat' | 'plain' {
  if (layout === 'chat' || layout === 'plain') return layout;
  throw new SdkError('ERR_PROMPT_INVALID', `Expected the layout chat or plain but received ${JSON.stringify(layout)}.`);
}

/** Pictures apart from text: what the template sees, and what the engine sees, in the same order. */
export function splitMessages(request: GenerateRequest): { messages: PromptMessage[]; images: ModelImage[] } {
  if (!Array.isArray(request?.messages)) {
    throw new SdkError('ERR_PROMPT_INVALID', 'Expected { messages: [{ role, content }] } but received no messages.');
  }
  const images: ModelImage[] = [];
  const messages = request.messages.map((message: ChatMessage): PromptMessage => {
    const parts =
      typeof message?.content === 'string' ? [{ type: 'text', text: message.content } as const] : message?.content;
    if (!Array.isArray(parts)) {
      throw new SdkError('ERR_PROMPT_INVALID', 'Expected the content of a message to be a string or a list of parts.');
    }
    return {
      role: message.role,
      parts: parts.map((part) => {
        if (part?.type === 'text' && typeof part.text === 'string') return { type: 'text', text: part.text };
        if (part?.type !== 'image') {
          throw new SdkError(
            'ERR_PROMPT_INVALID',
            `Expected a part of type "text" or "image" but received ${JSON.stringify(part?.type)}.`,
          );
        }
        images.push(checkedImage(part.image));
        return { type: 'image' };
      }),
    };
  });
  return { messages, images };
}

/** Enough to hash and count it; the image processor checks sizes and limits. */
function checkedImage(image: ModelImage | undefined): ModelImage {
  if (image?.data instanceof Uint8Array) return image;
  throw new SdkError(
    'ERR_IMAGE_INVALID',
    'Expected an image { width, height, format, data: Uint8Array } but received something else. Read a frame with openCamera or decode a file with decodeImage.',
  );
}
