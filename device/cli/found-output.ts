/** Frames that were found, for people and for programs. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Found, FrameFinder } from '../journal/find-frames.js';
import type { Terminal } from './terminal.js';

export function printFound(
  { frames, rankedBy, looked }: Found,
  { asJson }: { readonly asJson: boolean },
  terminal: Terminal,
): void {
  if (asJson) {
    for (const { frame, ...found } of frames) {
      const { capturedAtMs, ...picture } = frame;
      terminal.out(
        JSON.stringify({ ...found, frame: { ...picture, ts: new Date(capturedAtMs).toISOString() }, rankedBy }),
      );
    }
    return;
  }
  for (const { camera, frame, score, description, thumbnail } of frames) {
    const head = `${new Date(frame.capturedAtMs).toISOString()} ${terminal.paint('bold', camera ?? '')} ${frame.id}`;
    terminal.out(`${head}  score ${score.toFixed(2)}  ${description}`);
    if (thumbnail !== null) terminal.out(`  ${terminal.paint('dim', thumbnail)}`);
  }
  if (frames.length === 0) terminal.note('nothing found');
  else if (rankedBy === 'likelihood') terminal.note(`the model looked at ${looked} pictures`);
}

/** `1-<frame>.jpg`, `2-…`: the best first. */
export async function writeFound(journal: FrameFinder, { frames }: Found, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [i, { frame, run }] of frames.entries()) {
    const picture = await journal.frame(frame.id, { run });
    // A frame's id is made of a camera's id, which its owner chose: here it becomes a plain file name.
    const name = `${i + 1}-${frame.id.replace(/[^A-Za-z0-9_-]/g, '_')}.jpg`;
    if (picture !== undefined) await writeFile(join(folder, name), picture.jpeg);
  }
}
