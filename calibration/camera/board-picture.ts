import { toSdkError } from '#sdk/engine/shared/native-call.js';
import { loadSharp } from '#sdk/image/sharp.js';
import { lensAddon } from '#sdk/native/index.js';
import { type CalibrationBoard, knownLayout, nativeBoard } from './board.js';

const MILLIMETRES_PER_INCH = 25.4;
const MAX_SQUARE_PIXELS = 600;

/**
 * A PNG of a board to print: printed at 100 % its squares have the size that the board says.
 * @param dotsPerInch of the picture; fewer where a square would be larger than 600 pixels
 * @throws SdkError ERR_ARGUMENT_INVALID for a dictionary that is unknown or too small, ERR_NATIVE_UNAVAILABLE
 */
export async function drawBoard(board: CalibrationBoard, dotsPerInch = 300): Promise<Uint8Array> {
  const wanted = Math.round((board.squareMillimetres / MILLIMETRES_PER_INCH) * dotsPerInch);
  const squarePixels = Math.min(MAX_SQUARE_PIXELS, Math.max(32, wanted));
  const density = squarePixels / (board.squareMillimetres / MILLIMETRES_PER_INCH);
  const { width, height, grey } = drawNative(board, squarePixels);
  const sharp = await loadSharp();
  return await sharp(grey, { raw: { width, height, channels: 1 } })
    .png()
    .withMetadata({ density })
    .toBuffer();
}

function drawNative(board: CalibrationBoard, squarePixels: number) {
  try {
    return lensAddon().drawBoard(nativeBoard(board), knownLayout(board) ?? 'current', squarePixels);
  } catch (error) {
    throw toSdkError(error);
  }
}
