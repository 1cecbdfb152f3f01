import { SdkError } from '../core/errors.js';
import { engineAddon } from './binding.js';

export interface ByteRange {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/**
 * A file's bytes without reading them: pages come from the page cache when touched. Private copy-on-write pages, so a
 * stray write neither crashes nor reaches the file. Disposing detaches `bytes`; nothing may hold a pointer into it then.
 * The file must not be cut short meanwhile: replace model files by renaming, never write into them.
 */
export interface MappedFile extends Disposable {
  readonly bytes: Uint8Array;
}

/**
 * Maps a file, or a range of it (any offset; a whole 20 GB file does not fit one ArrayBuffer, a tensor does).
 * @throws SdkError ERR_MODEL_INVALID when the range lies outside the file, ERR_MODEL_NOT_FOUND when it cannot be opened.
 */
export function openMappedFile(path: string, range?: ByteRange): MappedFile {
  const addon = engineAddon();
  let native: ReturnType<typeof addon.mapFile>;
  try {
    native = addon.mapFile(path, range?.offsetBytes ?? 0, range?.sizeBytes ?? -1);
  } catch (cause) {
    const { code, message } = cause as Error & { code: 'ERR_MODEL_INVALID' | 'ERR_MODEL_NOT_FOUND' };
    throw new SdkError(code, message, { cause, details: { path, ...range } });
  }
  const bytes = new Uint8Array(native.bytes);
  return {
    bytes,
    [Symbol.dispose]() {
      native.unmap();
    },
  };
}
