/** `scenebus log find` over scenes of the demo model, kept as a device keeps them. */
import { readFileSync } from 'node:fs';
import { readdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '#device/cli/program.js';
import { captureTerminal } from '../../support/captured-terminal.js';
import { checkpoint, writeDescribedFrames } from '../../support/found-journal.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { demoModel } from './demo-device.js';

const EVALUATION = 'examples/demo-model/evaluation';

interface EvaluatedScene {
  readonly image: string;
  readonly questions: readonly { readonly task: string; readonly reference: string }[];
}

const scenes = readFileSync(`${EVALUATION}/scenes.jsonl`, 'utf8')
  .trim()
  .split('\n')
  .slice(0, 12)
  .map((line) => JSON.parse(line) as EvaluatedScene);
const captionOf = ({ questions }: EvaluatedScene) => questions.find(({ task }) => task === 'caption')!.reference;

let folder: string;
let file: string;

/** Every description the same, so that only the pictures tell the scenes apart. */
const frames = (isKept = true) =>
  scenes.map(({ image }) => ({
    id: image.replace('.jpg', ''),
    description: 'Things on a table.',
    jpeg: isKept ? readFileSync(join(EVALUATION, image)) : undefined,
  }));

beforeAll(async () => {
  folder = await makeTemporaryFolder('scenebus-log-find-');
  file = join(folder, 'journal.db');
  writeDescribedFrames(file, frames())[Symbol.dispose]();
});

async function find(...args: string[]) {
  const terminal = captureTerminal();
  const code = await runCli(['log', 'find', ...args], { terminal, environment: {} });
  return { code, out: terminal.output(), notes: terminal.errors() };
}

const model = ['--model', demoModel];

describe('scenebus log find', () => {
  test('finds the scene that a text describes by looking, and writes its picture', async () => {
    for (const scene of [scenes[3]!, scenes[7]!]) {
      const pictures = join(folder, scene.image);
      const found = await find(
        captionOf(scene),
        '--journal',
        file,
        ...model,
        '--json',
        '--limit',
        '3',
        '--pictures',
        pictures,
      );
      expect(found.code, found.notes).toBe(0);
      const lines = found.out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(lines).toHaveLength(3);
      expect(lines[0]).toMatchObject({ frame: { id: scene.image.replace('.jpg', '') }, rankedBy: 'likelihood' });
      expect(lines[0].score).toBeGreaterThan(lines[1].score);
      const [best] = (await readdir(pictures)).sort();
      expect(readFileSync(join(pictures, best!))).toEqual(readFileSync(join(EVALUATION, scene.image)));
    }
  });

  test('goes on with words alone where there is no model, and says why', async () => {
    const missing = await find('things', '--journal', file, '--model', join(folder, 'nowhere'));
    expect(missing.code).toBe(0);
    expect(missing.notes).toMatch(/No model: .*nowhere.* words of descriptions alone/s);
    expect(missing.out).toContain('Things on a table.');
    const unnamed = await find('things', '--journal', file);
    expect(unnamed.notes).toMatch(/No model is named: --config or --model/);
    const chosen = await find('things', '--journal', file, '--words');
    expect(chosen.notes).toMatch(/words of descriptions alone/);
  });

  test('says that no pictures are kept, and that nothing was found', async () => {
    const bare = join(folder, 'bare.db');
    writeDescribedFrames(bare, frames(false))[Symbol.dispose]();
    const found = await find('things', '--journal', bare, ...model);
    expect(found).toMatchObject({ code: 0, notes: expect.stringMatching(/No picture.*journal\.frames: true/s) });
    expect(await find('elephants', '--journal', bare, '--words')).toMatchObject({
      code: 1,
      notes: expect.stringContaining('nothing found'),
    });
  });

  test('refuses a journal that was cut, one that is not there, and no journal at all', async () => {
    const cut = join(folder, 'cut.db');
    writeDescribedFrames(cut, frames())[Symbol.dispose]();
    checkpoint(cut);
    await truncate(cut, 20_000);
    expect(await find('things', '--journal', cut, '--words')).toMatchObject({
      code: 1,
      notes: expect.stringMatching(/damaged or was cut short .*Copy it again/s),
    });
    const nowhere = await find('things', '--journal', join(folder, 'no.db'), '--words');
    expect(nowhere.notes).toMatch(/Cannot read the journal .*no\.db/s);
    expect(nowhere.code).not.toBe(0);
    expect((await find('things', '--words')).notes).toMatch(/--config or --journal/);
  });
});
