import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

/** The first TypeScript block of the README. */
async function readmeExample(): Promise<string> {
  const readme = await readFile(join(repository, 'README.md'), 'utf8');
  return /^```(?:ts|typescript)\n(.*?)^```$/ms.exec(readme)?.[1] ?? '';
}

const significant = (source: string) => source.split('\n').filter((line) => line.trim() !== '');

describe('the example in the README', () => {
  test('is the program examples/describe-image.ts, five lines and an import', async () => {
    const example = significant(await readmeExample());
    const program = await readFile(join(repository, 'examples', 'describe-image.ts'), 'utf8');
    expect(example).toEqual(significant(program));
    expect(example.length).toBeLessThanOrEqual(6);
  });

  test('runs, and finds what it asks for', async () => {
    const { stdout } = await run(process.execPath, [join('dist', 'examples', 'describe-image.js')], {
      cwd: repository,
    });
    expect(stdout).toContain('red cup');
    expect(stdout).toContain('boxPixels');
  });

  test('runs as a module of JavaScript, in the form for Node 20', async () => {
    const readme = await readFile(join(repository, 'README.md'), 'utf8');
    const source = /^```js\n(.*?)^```$/ms.exec(readme)?.[1] ?? '';
    expect(source).toContain("from 'scenebus'");
    const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', source], { cwd: repository });
    expect(stdout).toContain('red cup');
    expect(stdout).toContain('boxPixels');
  });
});
