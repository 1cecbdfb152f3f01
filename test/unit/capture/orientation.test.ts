import { describe, expect, test } from 'vitest';
import { readOrientation } from '#sdk/capture/host/orientation.js';

function box(type: string, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(body.length + 8);
  head.write(type, 4, 'latin1');
  return Buffer.concat([head, body]);
}
function matrix([a, b, c, d]: readonly number[]): Buffer {
  const bytes = Buffer.alloc(36);
  for (const [index, value] of [a!, b!, 0, c!, d!, 0, 0, 0].entries()) bytes.writeInt32BE(value * 65_536, 4 * index);
  bytes.writeInt32BE(0x40000000, 32);
  return bytes;
}
const handler = (kind: string) => box('mdia', box('hdlr', Buffer.alloc(8), Buffer.from(kind), Buffer.alloc(12)));
const track = (kind: string, m: readonly number[], version = 0) => {
  const head = Buffer.alloc(4 + (version === 1 ? 32 : 20) + 16);
  head[0] = version;
  return box('trak', box('tkhd', head, matrix(m), Buffer.alloc(8)), handler(kind));
};
const movie = (...parts: Buffer[]) =>
  Buffer.concat([box('ftyp', Buffer.from('isom')), box('mdat', Buffer.alloc(99)), box('moov', ...parts)]);
const read = (bytes: Buffer) => readOrientation(async (offset, length) => bytes.subarray(offset, offset + length));

describe('the display matrix of a file', () => {
  test.each([
    ['upright', [1, 0, 0, 1], { mirror: false, rotation: 0 }],
    ['a quarter clockwise', [0, 1, -1, 0], { mirror: false, rotation: 90 }],
    ['upside down', [-1, 0, 0, -1], { mirror: false, rotation: 180 }],
    ['a quarter the other way', [0, -1, 1, 0], { mirror: false, rotation: 270 }],
    ['mirrored', [-1, 0, 0, 1], { mirror: true, rotation: 0 }],
    ['flipped', [1, 0, 0, -1], { mirror: true, rotation: 180 }],
  ] as const)('%s', async (_name, m, expected) => {
    expect(await read(movie(track('soun', [1, 0, 0, 1]), track('vide', m)))).toEqual(expected);
    expect(await read(movie(track('vide', m, 1)))).toEqual(expected); // 64-bit times
  });

  test('is joined with the one of the whole movie', async () => {
    const whole = box('mvhd', Buffer.alloc(4 + 16 + 16), matrix([0, 1, -1, 0]));
    expect(await read(movie(whole, track('vide', [0, 1, -1, 0])))).toEqual({ mirror: false, rotation: 180 });
  });

  test('is unknown for slanted pictures and for other files, however they are made', async () => {
    expect(await read(movie(track('vide', [0.7, 0.7, -0.7, 0.7])))).toBeUndefined();
    expect(await read(movie(track('soun', [1, 0, 0, 1])))).toBeUndefined();
    expect(await read(Buffer.from('RIFF....AVI LIST'))).toBeUndefined();
    expect(await read(Buffer.alloc(64))).toBeUndefined();
    expect(await read(movie(track('vide', [0, 0, 0, 0])))).toBeUndefined();
    const whole = movie(track('vide', [0, 1, -1, 0]));
    for (let length = 0; length < whole.length; length += 7) await read(whole.subarray(0, length));
  });
});
