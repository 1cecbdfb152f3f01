/** Clips and pictures made on the spot: numbered frames whose grey level tells their time. */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import sharp from 'sharp';

const run = promisify(execFile);

export interface ClipOptions {
  readonly codec: 'mjpeg' | 'libx264';
  readonly seconds?: number;
  readonly fps?: number;
}

/** 320×180; grey level 16 + 40 × seconds, left half; the right half is white. */
export async function makeClip(path: string, { codec, seconds = 2, fps = 10 }: ClipOptions): Promise<string> {
  const picture = `nullsrc=s=320x180:r=${fps}:d=${seconds},geq=lum='if(lt(X,160),16+40*T,235)':cb=128:cr=128`;
  await run('ffmpeg', [
    '-v',
    'error',
    '-y',
    '-f',
    'lavfi',
    '-i',
    picture,
    '-c:v',
    codec,
    '-pix_fmt',
    codec === 'mjpeg' ? 'yuvj420p' : 'yuv420p',
    ...(codec === 'mjpeg' ? ['-q:v', '2'] : ['-g', '10', '-bf', '0']),
    path,
  ]);
  return path;
}

/** `shot-1.png` … `shot-N.png`, 64×48, of one colour each: blue = 20 × number, green 0, red 200. */
export async function makePictures(folder: string, count: number): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (let number = 1; number <= count; number++) {
    const background = { r: 200, g: 0, b: 20 * number };
    await sharp({ create: { width: 64, height: 48, channels: 3, background } })
      .png()
      .toFile(join(folder, `shot-${number}.png`));
  }
  return folder;
}
