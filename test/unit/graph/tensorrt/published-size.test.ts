import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../../checkpoint/checkpoint-folder.js';

const SCRIPT = fileURLToPath(new URL('../../../support/emit-published.mjs', import.meta.url));

test('graphs of the 11B model: no weight is read, and memory stays small', () => {
  const folder = temporaryFolder();
  const said = JSON.parse(execFileSync(process.execPath, [SCRIPT, folder], { encoding: 'utf8' }));
  // Rotary tables and the weights of image tokens are all that is inside; 9.7 GB are referred to.
  expect(said.graphBytes).toBeLessThan(32 * 2 ** 20);
  expect(said.rewrittenBytes).toBeLessThan(said.graphBytes);
  expect(said.residentBytes).toBeLessThan(500e6);
  // Of the published sizes: 8.66 billion text weights in 4 bits and a scale of 16 bits for every 128, as cross-attention's K and V too.
  const linears = 6_979_321_856 + 1_677_721_600 + 8 * 2 * 1024 * 4096;
  expect(said.transposedBytes).toBeGreaterThanOrEqual(linears / 2);
  expect(said.transposedBytes).toBeLessThan((linears / 2) * 1.05);
  // Packed weights and scales of 32 × 7 + 8 × 7 linears, and the head.
  expect(said.inputs).toBe(2 * (32 * 7 + 8 * 7) + 1);
  expect(existsSync(path.join(folder, 'model.safetensors'))).toBe(false);
});
