/** What a person should know of an answer because of what was asked. */
import { foreignLanguage } from '../text/language.js';
import type { PromptMessage } from '../text/prompt.js';

/**
 * Pictures are trained with English alone. Said once in a conversation: with the first turn of the user that is certainly
 * in another language.
 */
export function languageNotice(messages: readonly PromptMessage[]): string | undefined {
  const asked = messages.filter(({ role }) => role === 'user').map(({ parts }) => parts);
  if (!asked.flat().some(({ type }) => type === 'image')) return undefined;
  const languages = asked.map((parts) =>
    foreignLanguage(parts.map((part) => (part.type === 'text' ? part.text : '')).join(' ')),
  );
  const language = languages.pop();
  if (language === undefined || languages.some((earlier) => earlier !== undefined)) return undefined;
  const looks = language === 'other' ? '' : ` (it looks like ${language})`;
  return `The question is not in English${looks}. With a picture the model is made for English only: answers to other languages may be worse or wrong. Ask in English.`;
}
