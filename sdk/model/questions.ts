/** Questions that a model is asked, whoever runs it. */
import { manifestSchema } from '../checkpoint/manifest.js';
import { SdkError } from '../core/errors.js';
import type { ChatPart, GenerateRequest, ModelImage, ModelInfo } from './types.js';

const { describe, list, locate } = manifestSchema.parse({}).prompts;

/** Of a model that has no words of its own for them. */
export const DEFAULT_PROMPTS: ModelInfo['prompts'] = { describe, list, locate };

/** @throws SdkError ERR_PROMPT_INVALID */
export function questionAbout(image: ModelImage, question: string): GenerateRequest {
  return { messages: [{ role: 'user', content: [{ type: 'image', image }, questionPart(question)] }] };
}

/** Without a picture. @throws SdkError ERR_PROMPT_INVALID */
export function questionAlone(question: string): GenerateRequest {
  return { messages: [{ role: 'user', content: [questionPart(question)] }] };
}

function questionPart(text: string): ChatPart {
  if (typeof text === 'string' && text.trim() !== '') return { type: 'text', text };
  throw new SdkError('ERR_PROMPT_INVALID', 'Expected a question but received an empty one.');
}
