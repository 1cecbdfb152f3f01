/** Turns int4 weights around: rows of outputs, as checkpoints hold them, to rows of inputs, as `DequantizeLinear` does. */

/** Words of 8 inputs that are gone through together, so that what they are written to stays in the nearest cache. */
const TILE_WORDS = 32;

export interface NibbleChunk {
  /** `[height, words]`: 8 inputs of one output to a word, value + 8, lowest bits first. */
  readonly chunk: Uint32Array;
  /** Even. */
  readonly height: number;
  readonly words: number;
  /** Which words of each row are wanted. */
  readonly firstWord: number;
  readonly count: number;
  /** `[count · 8, rows / 2]` bytes: two outputs of one input to a byte, two's complement, the even one in the low half. */
  readonly block: Uint8Array;
  /** Of the whole weight, and the first that `chunk` holds; even. */
  readonly rows: number;
  readonly row: number;
}

/** Writes the wanted words of `chunk` into `block`, with inputs as its first dimension. */
export function transposeNibbles({ chunk, height, words, firstWord, count, block, rows, row }: NibbleChunk): void {
  const stride = rows / 2;
  for (let tile = 0; tile < count; tile += TILE_WORDS) {
    const end = Math.min(tile + TILE_WORDS, count);
    for (let n = 0; n < height; n += 2) {
      const column = (row + n) / 2;
      const at = n * words + firstWord;
      for (let w = tile; w < end; w++) {
        // value + 8 in four bits with the highest one flipped is the value in two's complement.
        let even = chunk[at + w]! ^ 0x88888888;
        let odd = chunk[at + words + w]! ^ 0x88888888;
        let target = w * 8 * stride + column;
        for (let i = 0; i < 8; i++) {
          block[target] = (even & 15) | ((odd & 15) << 4);
          even >>>= 4;
          odd >>>= 4;
          target += stride;
        }
      }
    }
  }
}
