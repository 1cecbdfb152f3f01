/** Commands that run a model, through the same function that the executable calls. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectBus } from 'scenebus/bus';
import { beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '#device/cli/program.js';
import { freePort, startEmbedded } from '../../support/brokers.js';
import { captureTerminal } from '../../support/captured-terminal.js';
import { fakeAnswer } from '../../support/device-fakes.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { clip, demoModel } from './demo-device.js';

const inRepository = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const photo = inRepository('examples/demo-model/evaluation/00000.jpg');

let folder: string;
beforeAll(async () => {
  folder = await makeTemporaryFolder('scenebus-cli-');
});

async function scenebus(...args: string[]) {
  const terminal = captureTerminal();
  const code = await runCli(args, { terminal, environment: {} });
  return { code, out: terminal.output(), err: terminal.errors() };
}
const cached = () => ['--cache', join(folder, 'cache')];

describe('ask', () => {
  test('prints an answer with its boxes', async () => {
    const { code, out } = await scenebus('ask', photo, 'List all objects with their boxes.', ...cached());
    expect(code).toBe(0);
    expect(out).toMatch(/\n {2}\w+ \w+ {2}\[\d+, \d+, \d+, \d+\] {2}score 0\.\d\d \(text\)/);
  });

  test('prints one line of JSON on request, at int4 too', async () => {
    const { code, out, err } = await scenebus('ask', photo, 'List all objects.', '--json', '--int4', ...cached());
    expect(code).toBe(0);
    const answer = JSON.parse(out);
    expect(answer).toMatchObject({ source: photo, question: 'List all objects.', finishReason: 'stop' });
    expect(answer.objects.length).toBeGreaterThan(0);
    expect(err).toMatch(/quantize: .*\(100 %\)/);
  });

  test('draws with a temperature: the same seed, the same answer; a penalty reaches the model', async () => {
    const ask = (...options: string[]) =>
      scenebus('ask', photo, 'List all objects.', '--json', ...options, ...cached());
    const text = async (...options: string[]) => JSON.parse((await ask(...options)).out).text as string;
    const drawn = ['--temperature', '1.5', '--top-k', '50', '--seed', '7', '--max-tokens', '24'];
    expect(await text(...drawn)).toBe(await text(...drawn));
    expect(await text('--repetition-penalty', '5', '--max-tokens', '24')).not.toBe(await text('--max-tokens', '24'));
  });

  test('asks about a clip', async () => {
    const { code, out } = await scenebus('ask', clip, 'Is there a book?', '--max-tokens', '8', ...cached());
    expect(code).toBe(0);
    expect(out).toMatch(/: (Yes|No)/);
  });
});

describe('describe', () => {
  test('goes through the images of a folder, in order', async () => {
    const album = join(folder, 'album');
    mkdirSync(album);
    for (const name of ['b.jpg', 'a.jpg']) copyFileSync(photo, join(album, name));
    writeFileSync(join(album, 'notes.txt'), 'no image');
    const { code, out } = await scenebus('describe', album, '--json', ...cached());
    expect(code).toBe(0);
    const lines = out.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line).source)).toEqual([join(album, 'a.jpg'), join(album, 'b.jpg')]);
  });

  test('takes so many frames of a clip as it is told', async () => {
    const { code, out } = await scenebus('describe', clip, '--frames', '2', ...cached());
    expect(code).toBe(0);
    expect(out.trimEnd().split('\n')).toHaveLength(2);
  });
});

describe('doctor', () => {
  test('finds what the set-up of this checkout has built and installed', async () => {
    const { out } = await scenebus('doctor', '--json');
    const { findings } = JSON.parse(out) as { findings: { id: string; status: string; value: string }[] };
    const byId = new Map(findings.map((finding) => [finding.id, finding]));
    for (const id of ['node', 'engine-addon', 'capture-addon', 'onnxruntime', 'model'])
      expect(byId.get(id), id).toMatchObject({ status: 'ok' });
    expect(byId.get('capture-addon')?.value).toMatch(/^OpenCV 4\.\d+\.\d+ with /);
    expect(byId.get('model')?.value).toContain('writes boxes');
  });
});

describe('what cannot work', () => {
  test.each([
    ['an image that is none', () => ['describe', corruptImage(), ...cached()], 1, 'ERR_IMAGE_INVALID'],
    ['a camera that is not there', () => ['describe', '/dev/video97', ...cached()], 1, 'ERR_CAPTURE_NOT_FOUND'],
    ['a demo camera that is not there', () => ['demo', '--camera', '/dev/video97'], 1, 'ERR_CAPTURE_NOT_FOUND'],
    ['an address of no kind', () => ['describe', 'gopher://x', ...cached()], 1, 'ERR_CAPTURE_ADDRESS_INVALID'],
    ['a model that is not there', () => ['describe', photo, '--model', '/nonexistent'], 1, 'ERR_MODEL_NOT_FOUND'],
    ['an empty folder', () => ['describe', emptyFolder(), ...cached()], 1, 'ERR_IMAGE_INVALID'],
    ['an output folder in use', () => ['quantize', demoModel, photo], 2, 'ERR_ARGUMENT_INVALID'],
    [
      'a golden folder without cases',
      () => ['verify', '--checkpoint', demoModel, '--cases', '/tmp'],
      2,
      'ERR_ARGUMENT_INVALID',
    ],
  ])('%s ends with its code', async (_, args, exitCode, error) => {
    const { code, out, err } = await scenebus(...args());
    expect(err).toContain(`error ${error}: `);
    expect(code).toBe(exitCode);
    expect(out).not.toContain('Summary');
  });

  test('a broker that is not there ends with its code', async () => {
    const broker = `mqtt://127.0.0.1:${await freePort()}`;
    for (const args of [
      ['bus', 'ask', 'demo', 'Who is there?', '--broker', broker],
      ['bus', 'watch', '--broker', broker],
      ['demo', '--broker', broker, '--for', '1'],
    ]) {
      const { code, err } = await scenebus(...args);
      expect(err).toContain('error ERR_BUS_UNREACHABLE: ');
      expect(code).toBe(1);
    }
  });

  test('a question over the bus takes the schema of its answer from a file, and refuses one that is none', async () => {
    await using broker = await startEmbedded();
    const bus = await connectBus({ url: broker.url, device: 'counter' });
    const asked: unknown[] = [];
    bus.onAsk(async ({ answerSchema }) => {
      asked.push(answerSchema);
      const frame = { id: 'f1', capturedAtMs: 0, width: 64, height: 48 };
      return { frame, answer: { ...fakeAnswer('{"people":3}'), value: { people: 3 } }, model: { id: 'demo' } };
    });
    const file = join(folder, 'answer.json');
    const ask = () => scenebus('bus', 'ask', 'counter', 'How many?', '--broker', broker.url, '--schema', file);
    const schema = { type: 'object', properties: { people: { type: 'integer' } }, required: ['people'] };
    writeFileSync(file, JSON.stringify(schema));
    expect(await ask()).toMatchObject({ code: 0, out: expect.stringContaining('{"people":3}') });
    for (const wrong of ['{', '[]', '{"type":"tuple"}']) {
      writeFileSync(file, wrong);
      const { code, err } = await ask();
      expect([code, err]).toEqual([expect.toBeOneOf([1, 2]), expect.stringMatching(/error ERR_\w+: Expected /)]);
    }
    expect(asked).toEqual([schema]);
    await bus.close();
  });

  test('a device that was never seen is told as such, long before the answer would be given up', async () => {
    await using broker = await startEmbedded();
    const { code, err } = await scenebus('bus', 'ask', 'nobody', 'Who?', '--broker', broker.url, '--timeout', '1');
    expect(err).toMatch(
      /error ERR_BUS_UNREACHABLE: Expected the device "nobody" at \S+, but none .* seen there\. Check/,
    );
    expect(code).toBe(1);
  });

  test('a count that is none is wrong use', async () => {
    const { code, err } = await scenebus('describe', photo, '--frames', 'many');
    expect(code).toBe(2);
    expect(err).toContain('Expected a whole number');
  });
});

describe('verify', () => {
  const golden = (name: string) => inRepository(`test/fixtures/golden/${name}`);
  const verify = (checkpoint: string) =>
    scenebus('verify', '--checkpoint', golden(checkpoint), '--cases', golden('cases-tiny-a-bf16'), ...cached());

  test('prints a table and ends with 0 when everything agrees', async () => {
    const { code, out } = await verify('tiny-a-bf16');
    expect(out).toMatch(/^case +numerics +tensors +max abs diff +tokens equal/);
    expect(out).toContain('every tensor within 0.0001');
    expect(code).toBe(0);
  });

  test('ends with 1 on a miss', async () => {
    const { code, out } = await verify('tiny-a');
    expect(out).toMatch(/MISS|miss|FAIL|fail/);
    expect(code).toBe(1);
  });
});

function corruptImage(): string {
  const path = join(folder, 'corrupt.jpg');
  writeFileSync(path, Buffer.from([0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]));
  return path;
}

function emptyFolder(): string {
  const path = join(folder, 'empty');
  mkdirSync(path, { recursive: true });
  return path;
}
