/** Messages that no caller in his right mind sends. */

const KINDS: readonly ((i: number) => string | Buffer)[] = [
  () => '',
  () => '{',
  () => 'null',
  () => '['.repeat(20_000),
  () => `${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`,
  (i) => Buffer.from(Array.from({ length: 200 }, (_, n) => (n * 31 + i * 17) % 256)),
  () => JSON.stringify({ question: 'x'.repeat(100_000) }),
  () => JSON.stringify({ question: { toString: 1 } }),
  () => '{"__proto__":{"question":"x"},"question":7}',
  () => JSON.stringify({ question: 'x', camera: '../../etc', timeoutMs: -1 }),
  (i) => JSON.stringify({ question: 'x', timeoutMs: 'soon', surprise: i }),
  () => `{"question":"\\ud800","transaction":${'9'.repeat(400)}}`,
  (i) => Buffer.alloc(300_000, i),
  fuzzed,
];

/** The `i`th of an endless, repeatable row. */
export function hostileMessage(i: number): string | Buffer {
  return KINDS[i % KINDS.length]!(i);
}

/** Of a good request some bytes are others. */
function fuzzed(i: number): Buffer {
  const bytes = Buffer.from(JSON.stringify({ question: 'What is there?', camera: 'cam', transaction: `h-${i}` }));
  for (let change = 0; change < 4; change++) {
    const mixed = Math.imul(i * 4 + change + 1, 0x9e3779b1) >>> 0;
    bytes[mixed % bytes.length] = mixed >>> 24;
  }
  return bytes;
}
