import { readFileSync } from 'node:fs';

/** Read from package.json, which lies two folders above the compiled file, in the repository and in a tarball alike. */
export const version: string = (
  JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
