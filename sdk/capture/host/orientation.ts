/**
 * How the pictures of an MP4 or QuickTime file are to be turned: its display matrix (ISO/IEC 14496-12, 8.2.2 and 8.3.2).
 * OpenCV's own turning went one way up to 4.6 and the other way from 4.11, knows no mirrors, and its GStreamer part does
 * none at all; so it is switched off and done by the session, the same for all.
 */
import { open } from 'node:fs/promises';

/** Left and right swapped first, then turned clockwise. */
export interface Orientation {
  readonly mirror: boolean;
  readonly rotation: 0 | 90 | 180 | 270;
}

/** As it lies in the file. */
export const UPRIGHT: Orientation = { mirror: false, rotation: 0 };

/** `length` bytes from `offset`; fewer at the end. */
export type ReadAt = (offset: number, length: number) => Promise<Buffer>;

/** [a, b, c, d]: a point (x, y) of the picture is shown at (a·x + c·y, b·x + d·y), y downwards. */
type Matrix = readonly [number, number, number, number];
const IDENTITY: Matrix = [1, 0, 0, 1];

/** More than any film has: ends a file that is made to loop. */
const MAX_BOXES = 10_000;
const MAX_MOVIE_BYTES = 64 * 2 ** 20;

/**
 * @returns undefined when it is no such file, or says nothing that a quarter turn could follow
 */
export async function readOrientation(readAt: ReadAt): Promise<Orientation | undefined> {
  const movie = await findMovie(readAt);
  if (movie === undefined) return undefined;
  const track = boxes(movie, 'trak').find(isVideo);
  const header = track && boxes(track, 'tkhd')[0];
  if (header === undefined) return undefined;
  // Behind version and flags: times, ids and length (20 bytes, or 32 in version 1), then 16 bytes of layer and volume.
  const ofTrack = matrixAt(header, 4 + (header[0] === 1 ? 32 : 20) + 16);
  const movieHeader = boxes(movie, 'mvhd')[0];
  // Here times and length (16 or 28 bytes), then 16 bytes of rate, volume and reserve.
  const ofMovie = movieHeader && matrixAt(movieHeader, 4 + (movieHeader[0] === 1 ? 28 : 16) + 16);
  if (ofTrack === undefined) return undefined;
  return orientationOf(multiply(ofTrack, ofMovie ?? IDENTITY));
}

/** The same for a file. Never throws: whoever opens it next says what is wrong with it. */
export async function readFileOrientation(path: string): Promise<Orientation | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      return await readOrientation(async (offset, length) => {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
        return buffer.subarray(0, bytesRead);
      });
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}

/** The content of `moov`, which stands behind the pictures in files that were not made for streaming. */
async function findMovie(readAt: ReadAt): Promise<Buffer | undefined> {
  let offset = 0;
  for (let count = 0; count < MAX_BOXES; count++) {
    const head = await readAt(offset, 16);
    if (head.length < 8) return undefined;
    const type = head.toString('latin1', 4, 8);
    if (count === 0 && !/^(?:ftyp|moov|mdat|wide|free|skip|pnot)$/.test(type)) return undefined;
    let size = head.readUInt32BE(0);
    let headBytes = 8;
    if (size === 1 && head.length === 16) {
      size = Number(head.readBigUInt64BE(8));
      headBytes = 16;
    }
    if (type === 'moov') {
      const length = size === 0 ? MAX_MOVIE_BYTES : size - headBytes;
      return length > MAX_MOVIE_BYTES ? undefined : readAt(offset + headBytes, length);
    }
    if (size < headBytes) return undefined; // 0: up to the end of the file
    offset += size;
  }
  return undefined;
}

/** Contents of the boxes of this type directly within `parent`. */
function boxes(parent: Buffer, type: string): Buffer[] {
  const found: Buffer[] = [];
  for (let offset = 0; offset + 8 <= parent.length; ) {
    let size = parent.readUInt32BE(offset);
    let headBytes = 8;
    if (size === 1 && offset + 16 <= parent.length) {
      size = Number(parent.readBigUInt64BE(offset + 8));
      headBytes = 16;
    } else if (size === 0) {
      size = parent.length - offset;
    }
    if (size < headBytes) break;
    if (parent.toString('latin1', offset + 4, offset + 8) === type) {
      found.push(parent.subarray(offset + headBytes, offset + size));
    }
    offset += size;
  }
  return found;
}

function isVideo(track: Buffer): boolean {
  const handler = boxes(track, 'mdia').flatMap((media) => boxes(media, 'hdlr'))[0];
  return handler?.toString('latin1', 8, 12) === 'vide';
}

/** Nine numbers, of which the third, sixth and ninth belong to a perspective that nobody uses; 16.16 fixed point. */
function matrixAt(box: Buffer, offset: number): Matrix | undefined {
  if (box.length < offset + 20) return undefined;
  const at = (index: number) => box.readInt32BE(offset + 4 * index) / 65_536;
  return [at(0), at(1), at(3), at(4)];
}

/** First `inner`, then `outer`. */
function multiply([a, b, c, d]: Matrix, [e, f, g, h]: Matrix): Matrix {
  return [a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h];
}

function orientationOf([a, b, c, d]: Matrix): Orientation | undefined {
  const determinant = a * d - b * c;
  if (determinant === 0) return undefined;
  // A mirror swaps left and right first: what is left without it is a turn.
  const mirror = determinant < 0;
  const [x, y] = mirror ? [-a, -b] : [a, b];
  const degrees = ((Math.atan2(y, x) * 180) / Math.PI + 360) % 360;
  const rotation = ([0, 90, 180, 270, 360] as const).find((quarter) => Math.abs(degrees - quarter) < 1);
  return rotation === undefined ? undefined : { mirror, rotation: rotation === 360 ? 0 : rotation };
}
