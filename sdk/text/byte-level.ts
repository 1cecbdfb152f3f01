/**
 * The byte-level alphabet of GPT-2 style vocabularies: every byte has one printable character, so that any UTF-8 text,
 * and any part of one, can be written as token strings.
 */

/** Printable Latin-1 stands for itself; the other 68 bytes are numbered from U+0100 on. */
function buildAlphabet(): string[] {
  const characters: string[] = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    characters.push(String.fromCharCode(printable ? byte : next++));
  }
  return characters;
}

/** Character of each byte. */
export const BYTE_CHARACTERS: readonly string[] = buildAlphabet();

const byteOfCharacter = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));

/** Bytes that a vocabulary entry stands for; undefined when it holds a character outside the alphabet. */
export function bytesOfToken(token: string): Uint8Array | undefined {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter.get(token[i]!);
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
