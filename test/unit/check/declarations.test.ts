/** The declarations that a user's compiler reads, from the public entries on. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const repository = fileURLToPath(new URL('../../..', import.meta.url));
const { exports } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { exports: object };

/** Of `exports`, at any depth of its conditions. */
function typesOf(entry: unknown): string[] {
  if (typeof entry !== 'object' || entry === null) return [];
  return Object.entries(entry).flatMap(([key, value]) =>
    key === 'types' && typeof value === 'string' ? [value] : typesOf(value),
  );
}

function reachable(entries: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (file: string) => {
    if (found.has(file) || !existsSync(file)) return;
    const text = readFileSync(file, 'utf8');
    found.set(file, text);
    for (const [, specifier = ''] of text.matchAll(/(?:from|import\()\s*["'](\.[^"']+)\.js["']/g))
      visit(join(file, '..', `${specifier}.d.ts`));
  };
  for (const entry of entries) visit(join(repository, entry));
  return found;
}

test('are readable before TypeScript 5.7, where no typed array and no Buffer takes a type argument', () => {
  const files = reachable(typesOf(exports));
  expect(files.size).toBeGreaterThan(100);
  const generic =
    /\b(?:(?:Ui|I)nt(?:8|16|32)|Uint8Clamped|Float(?:16|32|64)|Big(?:Ui|I)nt64)Array<|\bBuffer<|\bDataView</;
  const faults = [...files].flatMap(([file, text]) =>
    text.split('\n').flatMap((line, index) => (generic.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [])),
  );
  expect(faults).toEqual([]);
});
