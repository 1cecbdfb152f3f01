/** Bytes of a configuration file to text: UTF-8, and nothing that only looks like it. */

/** What is wrong with them; undefined: nothing. */
export function encodingProblem(bytes: Uint8Array): { readonly line: number; readonly message: string } | undefined {
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff))
    return { line: 1, message: 'Expected UTF-8, but the file is UTF-16: save it as UTF-8' };
  const at = firstInvalidByte(bytes);
  if (at === undefined) return undefined;
  let line = 1;
  for (const byte of bytes.subarray(0, at)) if (byte === 0x0a) line++;
  const hex = `0x${bytes[at]?.toString(16).padStart(2, '0')}`;
  return {
    line,
    message: `Expected UTF-8, but byte ${hex} is none (Latin-1?): save the file as UTF-8, or \`iconv -f latin1 -t utf-8\``,
  };
}

/** Well-formed sequences are those that decode without a replacement; found by halves, as each decoding is native. */
function firstInvalidByte(bytes: Uint8Array): number | undefined {
  const isValid = (length: number): boolean => {
    try {
      // `stream`: a sequence that is cut off at the end of a part is not wrong yet.
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length), { stream: length < bytes.length });
      return true;
    } catch {
      return false;
    }
  };
  if (isValid(bytes.length)) return undefined;
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (isValid(middle)) good = middle;
    else bad = middle;
  }
  return good;
}
