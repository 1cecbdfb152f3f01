/**
 * Decisions read from what a server tells of probabilities. It tells of the likeliest tokens in each place of what the
 * model wrote, not of any text that one might like to ask about; so an option has the probability of all the beginnings
 * that lead to it and to no other.
 */
import type { AnswerToken } from '../types.js';

/** Ways to write an option. */
export interface Spelled {
  readonly spellings: readonly string[];
}

/**
 * Follows what was written token by token as long as several options may still come of it. A beginning that several
 * options share and the model did not go on from counts for them in equal parts.
 * @returns for each option how probable it is that the answer begins with it; the rest of 1 begins with anything else
 */
export function probabilitiesOf(options: readonly Spelled[], tokens: readonly AnswerToken[]): number[] {
  const found = options.map(() => 0);
  let begun = '';
  let reached = 1;
  for (const token of tokens) {
    const others = token.likeliest.filter(({ text }) => text !== token.text);
    for (const { text, logProbability } of [token, ...others]) {
      const probability = reached * Math.exp(logProbability);
      const fitting = fittingOf(options, begun + text);
      // Whoever wrote it went on, and the next place tells more.
      if (text === token.text && fitting.length > 1) continue;
      for (const option of fitting) found[option]! += probability / fitting.length;
    }
    begun += token.text;
    reached *= Math.exp(token.logProbability);
    if (fittingOf(options, begun).length < 2) return found;
  }
  if (begun.trim() === '') return found;
  // It ended within what several begin with.
  const fitting = fittingOf(options, begun);
  const whole = fitting.filter((option) => options[option]!.spellings.includes(begun.trim()));
  for (const option of whole.length > 0 ? whole : fitting) found[option]! += reached / (whole.length || fitting.length);
  return found;
}

/** The options that a text is the beginning of, or begins with as a word of its own; of these the longest. */
function fittingOf(options: readonly Spelled[], text: string): number[] {
  const written = text.replace(/^[\s"'*]+/, '');
  // Nothing is decided by a space.
  if (written === '') return options.map((_, index) => index);
  const beginning: number[] = [];
  let longest = 0;
  let complete: number[] = [];
  for (const [index, { spellings }] of options.entries()) {
    if (spellings.some((spelling) => spelling.startsWith(written))) beginning.push(index);
    for (const spelling of spellings) {
      if (!written.startsWith(spelling) || written === spelling) continue;
      if (/^[\p{L}\p{N}]/u.test(written.slice(spelling.length))) continue;
      if (spelling.length < longest) continue;
      complete = spelling.length > longest ? [index] : [...new Set([...complete, index])];
      longest = spelling.length;
    }
  }
  return beginning.length > 0 ? beginning : complete;
}

/** Tokens enough for the longest option; a server counts its own. */
export function tokensFor(options: readonly Spelled[]): number {
  const longest = Math.max(...options.flatMap(({ spellings }) => spellings.map((spelling) => spelling.length)));
  return Math.min(64, longest + 2);
}
