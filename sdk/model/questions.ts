/** Questions that a model is asked, whoever runs it. */
import { manifestSchema } from '../checkpoint/manifest.js';
import { SdkError } from '../core/errors.js';
import type { GenerateRequest, ModelImage, ModelInfo } from './types.js';

const { describe, list, locate } = manifestSchema.parse({}).prompts;

/** Of a model that has no words of its own for them. */
export const DEFAULT_PROMPTS: ModelInfo['prompts'] = { describe, list, locate };

/** @throws SdkError ERR_PROMPT_INVALID */
export function questionAbout(image: ModelImage, question: string): GenerateRequest {
  if (typeof question !== 'string' || question.trim() === '') {
    throw new SdkError('ERR_PROMPT_INVALID', 'Expected a question but received an empty one.');
  }
  const content = [{ type: 'image', image } as const, { type: 'text', text: question } as const];
  return { messages: [{ role: 'user', content }] };
}
