/**
 * JSON whose numbers keep their text: `8.0` stays `8.0`. Python tells integers from floats by it, and transformers
 * warns at every load of a rope factor that is none.
 */

/** No text of a file begins so: a control character must be escaped there, and comes back escaped. */
const MARK = '\u0000number:';
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Numbers are marked strings in the result: to be handed on, not to be computed with. */
export function parseKeepingNumbers(text: string): unknown {
  JSON.parse(text); // says what is wrong, in terms of the text itself
  return JSON.parse(text.replace(TOKENS, (token) => (token.startsWith('"') ? token : JSON.stringify(MARK + token))));
}

export function stringifyKeepingNumbers(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(/"\\u0000number:(-?\d[\d.eE+-]*)"/g, '$1');
}
