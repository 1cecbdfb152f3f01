/** TLS material from files; apart from the rest because browsers have no files. */
import { readFile } from 'node:fs/promises';
import { SdkError } from '../../core/errors.js';
import type { TlsOptions } from './types.js';

/** Reads PEM files for `TlsOptions`. @throws SdkError ERR_CONFIG_INVALID that names the file that cannot be read. */
export async function readTlsFiles(files: {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}): Promise<TlsOptions> {
  const read = async (what: string, path: string | undefined): Promise<Uint8Array | undefined> => {
    if (path === undefined) return undefined;
    try {
      return await readFile(path);
    } catch (cause) {
      throw new SdkError('ERR_CONFIG_INVALID', `Expected a readable PEM file as ${what}, but ${path} cannot be read.`, {
        cause,
        details: { what, path },
      });
    }
  };
  const [ca, cert, key] = await Promise.all([
    read('caFile', files.caFile),
    read('certFile', files.certFile),
    read('keyFile', files.keyFile),
  ]);
  return { ca, cert, key };
}
