import { describe, expect, test } from 'vitest';
import { PacketGuard } from '#sdk/bus/transport/packet-guard.js';

function packet(bodyBytes: number): Buffer {
  const header = [0x30];
  let left = bodyBytes;
  do {
    const low = left % 128;
    left = Math.floor(left / 128);
    header.push(left > 0 ? low | 0x80 : low);
  } while (left > 0);
  return Buffer.concat([Buffer.from(header), Buffer.alloc(bodyBytes, 0xff)]);
}

async function pass(guard: PacketGuard, chunks: readonly Buffer[]): Promise<Buffer> {
  const out: Buffer[] = [];
  guard.on('data', (chunk: Buffer) => out.push(chunk));
  await new Promise<void>((resolve, reject) => {
    guard.on('end', resolve);
    guard.on('error', reject);
    for (const chunk of chunks) guard.write(chunk);
    guard.end();
  });
  return Buffer.concat(out);
}

describe('PacketGuard', () => {
  const stream = Buffer.concat([
    packet(0),
    packet(5),
    packet(127),
    packet(128),
    packet(1000),
    packet(0),
    packet(16_384),
  ]);

  test.each([1, 2, 3, 7, 100, 65_536])('passes packets unchanged in pieces of %i bytes', async (size) => {
    const chunks: Buffer[] = [];
    for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
    expect(await pass(new PacketGuard(16_388), chunks)).toEqual(stream);
  });

  test('stops at the header of a packet that is too long by one byte, header included', async () => {
    await expect(pass(new PacketGuard(1003), [packet(1000), packet(1001).subarray(0, 3)])).rejects.toMatchObject({
      code: 'ERR_LIMIT_EXCEEDED',
    });
  });

  test('stops at a length that never ends', async () => {
    const endless = Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x80]);
    await expect(pass(new PacketGuard(2 ** 28), [endless])).rejects.toThrow(/malformed/);
  });
});
