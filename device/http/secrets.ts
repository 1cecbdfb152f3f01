import { createHash } from 'node:crypto';

/** For secrets of full entropy; passwords need `scrypt`. */
export function digest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
