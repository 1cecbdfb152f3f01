/** Files one after another in the tar format of POSIX (pax, IEEE Std 1003.1-2017, `pax`, "ustar Interchange Format"). */

const BLOCK = 512;
const NAME_BYTES = 100;
const MODE = '0000644\0';

/** What stands before a file: one block, and two more before a name that is too long for it. */
export function tarHeader(path: string, sizeBytes: number, mtimeSeconds: number): Uint8Array {
  if (Buffer.byteLength(path) <= NAME_BYTES) return block(path, sizeBytes, mtimeSeconds, '0');
  const record = paxRecord('path', path);
  return Buffer.concat([
    block('PaxHeader', record.length, mtimeSeconds, 'x'),
    record,
    tarPadding(record.length),
    block(Buffer.from(path).subarray(0, NAME_BYTES).toString('latin1'), sizeBytes, mtimeSeconds, '0'),
  ]);
}

/** What stands behind a file: it ends with a whole block. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return new Uint8Array((BLOCK - (sizeBytes % BLOCK)) % BLOCK);
}

/** Two empty blocks. */
export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK);
}

function block(name: string, sizeBytes: number, mtimeSeconds: number, type: string): Buffer {
  const header = Buffer.alloc(BLOCK);
  header.write(name, 0, NAME_BYTES, 'utf8');
  header.write(MODE, 100, 'latin1');
  header.write('0000000\0', 108, 'latin1');
  header.write('0000000\0', 116, 'latin1');
  header.write(octal(sizeBytes, 11), 124, 'latin1');
  header.write(octal(mtimeSeconds, 11), 136, 'latin1');
  header.write(' '.repeat(8), 148, 'latin1');
  header.write(type, 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

function octal(value: number, digits: number): string {
  return `${Math.floor(value).toString(8).padStart(digits, '0')}\0`;
}

/** "length key=value\n", the length its own digits included. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + 1;
  while (rest + String(length).length !== length) length = rest + String(length).length;
  return Buffer.from(`${length} ${key}=${value}\n`);
}
