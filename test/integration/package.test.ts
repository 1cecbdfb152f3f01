/** The package as a stranger gets it: packed, installed into an empty folder, imported. Needs the npm registry or its cache. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VERB_NAMES } from '#sdk/bus/index.js';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('../..', import.meta.url));
const installTimeoutMs = 300_000;

let folder: string;
let files: string[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scenebus-package-'));
  const packed = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: repository,
    maxBuffer: 2 ** 24,
  });
  const [{ filename, files: listed }] = JSON.parse(packed.stdout) as [{ filename: string; files: { path: string }[] }];
  files = listed.map(({ path }) => path);
  await writeFile(join(folder, 'package.json'), '{ "private": true }');
  await run(
    'npm',
    ['install', join(folder, filename), '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'],
    {
      cwd: folder,
      maxBuffer: 2 ** 24,
    },
  );
}, installTimeoutMs);

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Runs a module in the folder that the package was installed into. */
async function evaluate(source: string, flags: string[] = [], environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await run(process.execPath, [...flags, '--input-type=module', '--eval', source], {
    cwd: folder,
    env: { ...process.env, ...environment },
  });
  return stdout.trim();
}

describe('the installed package', () => {
  test('has the SDK at `scenebus`', async () => {
    const { version } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8')) as { version: string };
    const source = `import * as sdk from 'scenebus';
      console.log(JSON.stringify([sdk.version, ['loadModel', 'openCamera'].map((name) => typeof sdk[name])]));`;
    expect(JSON.parse(await evaluate(source))).toEqual([version, ['function', 'function']]);
  });

  test('has what programs need that run all day at `scenebus/service`', async () => {
    const source = `import { notifyServiceManager, redact } from 'scenebus/service'; console.log(typeof notifyServiceManager, typeof redact);`;
    expect(await evaluate(source, ['--no-addons'])).toBe('function function');
  });

  test('has the client at `scenebus/client`, without native code', async () => {
    const source = `import { connectClient } from 'scenebus/client'; console.log(typeof connectClient);`;
    expect(await evaluate(source, ['--no-addons'])).toBe('function');
  });

  test('has the bus at `scenebus/bus`, and the contract as files', async () => {
    const source = `import { connectBus, VERB_NAMES } from 'scenebus/bus'; console.log(typeof connectBus, VERB_NAMES.join());`;
    expect(await evaluate(source, ['--no-addons'])).toBe(`function ${VERB_NAMES.join()}`);
    expect(files).toContain('sdk/bus/contract/reference/asyncapi.json');
  });

  test('has the command', async () => {
    const { stdout } = await run(join(folder, 'node_modules', '.bin', 'scenebus'), ['--help'], { cwd: folder });
    expect(stdout).toContain('Usage: scenebus');
  });

  test('has the built page of the console, whole, and nobody who installs it needs Vite', async () => {
    const page = join(folder, 'node_modules', 'scenebus', 'dist', 'device', 'console', 'page');
    const index = await readFile(join(page, 'index.html'), 'utf8');
    const named = [...index.matchAll(/(?:src|href)="\/([^"]+)"/g)].map(([, path]) => path!);
    expect(named.filter((path) => path.endsWith('.js'))).not.toEqual([]);
    expect(named.filter((path) => path.endsWith('.css'))).not.toEqual([]);
    for (const path of named) expect(files).toContain(`dist/device/console/page/${path}`);
    expect(await readdir(join(folder, 'node_modules'))).not.toContain('vite');
  });

  test('runs a model in a process of its own', async () => {
    const checkpoint = join(repository, 'examples', 'demo-model', 'checkpoint');
    const source = `import { loadModel } from 'scenebus';
      const model = await loadModel(${JSON.stringify(checkpoint)}, { isolation: 'process', backend: 'cpu' });
      const image = { width: 8, height: 8, format: 'rgb8', data: new Uint8Array(192) };
      const { finishReason } = await model.ask(image, 'What is there?');
      await model[Symbol.asyncDispose]();
      console.log(finishReason, model.process.pid !== process.pid, await model.process.ended);`;
    const environment = { SCENEBUS_NATIVE_DIR: join(repository, 'native', 'build', 'native') };
    expect(await evaluate(source, [], environment)).toBe('stop true undefined');
  });

  test('has types for both entries, which a strict TypeScript program can use', async () => {
    const program = `import { type Answer, type Frame, isSdkError, loadModel, openCamera } from 'scenebus';
      import { connectClient, type Scene } from 'scenebus/client';
      export async function look(): Promise<Answer> {
        await using camera = await openCamera('0', { fps: 5 });
        await using model = await loadModel('model', { backend: 'cpu' });
        const frame: Frame = await camera.read();
        return await model.ask(frame, 'What?', { temperature: 0, stop: ['.'] });
      }
      export async function watch(): Promise<Scene | undefined> {
        await using client = await connectClient('mqtt://127.0.0.1');
        for await (const scene of client.scenes('kitchen')) return scene;
        return undefined;
      }
      // @ts-expect-error a question is a string
      export const wrong = async (frame: Frame) => (await loadModel('model')).ask(frame, 7);
      export const code = (error: unknown): string => (isSdkError(error) ? error.code : 'other');`;
    await writeFile(join(folder, 'program.mts'), program);
    const flags =
      '--noEmit --strict --skipLibCheck --target es2022 --module nodenext --lib es2023,esnext.disposable,dom --types node';
    const typeRoots = ['--typeRoots', join(repository, 'node_modules', '@types')];
    const compiler = join(repository, 'node_modules', '.bin', 'tsc');
    const compiled = run(compiler, [...flags.split(' '), ...typeRoots, 'program.mts'], { cwd: folder });
    await expect(compiled.catch(({ stdout }: { stdout: string }) => ({ stdout }))).resolves.toMatchObject({
      stdout: '',
    });
  });

  test('tells how to get the addons when they are not built', async () => {
    const source = `import { createImageProcessor } from 'scenebus';
      const config = { tileSize: 56, maxTiles: 4, supportedAspectRatios: [[1, 1]], rescaleFactor: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1] };
      const image = { width: 8, height: 8, format: 'rgb8', data: new Uint8Array(192) };
      await createImageProcessor(config).process(image).catch((error) => console.log(error.code, error.message));`;
    const told = await evaluate(source);
    expect(told).toMatch(/^ERR_NATIVE_UNAVAILABLE/);
    expect(told).toContain('npx scenebus setup');
  });

  test('holds what the addons are built from, and nothing that is only for this repository', async () => {
    expect(files).toEqual(
      expect.arrayContaining([
        'CMakeLists.txt',
        'native/CMakeLists.txt',
        'device/setup/build-native.mjs',
        'LICENSE',
        'NOTICE',
      ]),
    );
    const strays = files.filter((path) =>
      /^(test|examples|\.ci)\/|^dist\/(test|examples)\/|^native\/build|\.tsbuildinfo$|\.node$/.test(path),
    );
    expect(strays).toEqual([]);
    expect(await readdir(join(folder, 'node_modules', 'scenebus'))).toContain('dist');
  });
});
