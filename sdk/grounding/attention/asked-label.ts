/** What a question asks the place of. */

const ARTICLE = '(?:(?:the|an?|my|your|any) )?';
/** How people ask in English; what is looked for is the last group. */
const ASKED = [
  `where(?: in (?:this|the) (?:image|picture|photo|frame))?(?: is|'s| are) ${ARTICLE}(.+?)(?: in (?:this|the) (?:image|picture|photo|frame))?`,
  `(?:please )?(?:find|locate|show me|point (?:to|at)) ${ARTICLE}(.+?)(?: in (?:this|the) (?:image|picture|photo|frame))?`,
].map((pattern) => new RegExp(`^${pattern}$`, 'iu'));
const MAX_LABEL_CHARACTERS = 200;

/**
 * The name of what a question asks the place of: in the words of the model's own prompt, or as people ask in English.
 * undefined for any other question.
 *
 * @param locatePrompt with `{label}` in it
 * @example askedLabel('Where is the red cup?', 'Wo ist {label}?') // 'red cup'
 */
export function askedLabel(question: string, locatePrompt: string): string | undefined {
  const ended = question
    .trim()
    .replace(/\s+/gu, ' ')
    .replace(/[\s.?!]+$/u, '');
  const label = ASKED.map((pattern) => pattern.exec(ended)?.[1]).find((found) => found !== undefined);
  return askedByPrompt(question, locatePrompt) ?? nameIn(label);
}

/** The same in the words of the model's own prompt alone. */
export function askedByPrompt(question: string, locatePrompt: string): string | undefined {
  const plain = question.trim().replace(/\s+/gu, ' ');
  const [before, after] = locatePrompt.split('{label}').map((part) => part.toLowerCase()) as [string, string];
  const lower = plain.toLowerCase();
  const isOwn = lower.startsWith(before) && lower.endsWith(after) && plain.length > before.length + after.length;
  return isOwn ? nameIn(plain.slice(before.length, plain.length - after.length)) : undefined;
}

function nameIn(label: string | undefined): string | undefined {
  const name = label?.trim();
  return name === undefined || name === '' || name.length > MAX_LABEL_CHARACTERS ? undefined : name;
}
