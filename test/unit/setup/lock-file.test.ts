import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

interface LockedPackage {
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const lock = JSON.parse(readFileSync(new URL('../../../package-lock.json', import.meta.url), 'utf8')) as {
  readonly packages: Readonly<Record<string, LockedPackage>>;
};

/** Where Node would find `name` for the package at `path`: in its own folder, then in those around it. */
function resolveLocked(path: string, name: string): string | undefined {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const candidate = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`;
    if (candidate in lock.packages) return candidate;
    if (folder === '') return undefined;
  }
}

// `npm install` on a registry mirror without the binaries of other platforms drops their entries without a word, and
// `npm ci` then refuses the file everywhere. Put them back by hand: name, version, os, cpu, `"optional": true`.
test('the lock file has an entry for every dependency, those of other platforms included', () => {
  const missing = Object.entries(lock.packages).flatMap(([path, { dependencies, optionalDependencies }]) =>
    Object.keys({ ...dependencies, ...optionalDependencies })
      .filter((name) => resolveLocked(path, name) === undefined)
      .map((name) => `${path} -> ${name}`),
  );
  expect(missing).toEqual([]);
});

// CONTRIBUTING.md says which advisories these answer.
test.each([
  ['aedes', '1.1.3'],
  ['sharp', '0.35.3'],
  ['fastify', '5.8.5'],
])('no %s below %s is installed, whoever wants it', (name, least) => {
  const versions = Object.entries(lock.packages)
    .filter(([path]) => path === `node_modules/${name}` || path.endsWith(`/node_modules/${name}`))
    .map(([, { version }]) => version!);
  if (name in lock.packages['']!.dependencies!) expect(versions).not.toEqual([]);
  for (const version of versions)
    expect(version.localeCompare(least, 'en', { numeric: true })).toBeGreaterThanOrEqual(0);
  // What others install together with the package: the range's own minimum.
  const range = lock.packages['']!.dependencies![name] ?? `^${least}`;
  expect(range.slice(1).localeCompare(least, 'en', { numeric: true })).toBeGreaterThanOrEqual(0);
  expect(range).toMatch(/^\^\d/);
});
