/** The demo model's greedy answers on the cpu backend are those of ONNX Runtime, word for word, on 200 prompts. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeImage, loadModel } from 'scenebus';
import { expect, test } from 'vitest';
import { makeTemporaryFolder } from '../support/temporary-folder.js';

const demoModel = fileURLToPath(new URL('../../examples/demo-model', import.meta.url));
const PROMPTS = 200;

test(`answers ${PROMPTS} prompts of the evaluation set with the reference's text`, async () => {
  const cacheDirectory = await makeTemporaryFolder('scenebus-greedy-');
  const open = (backend: 'cpu' | 'onnx') => loadModel(path.join(demoModel, 'checkpoint'), { backend, cacheDirectory });
  await using reference = await open('onnx');
  await using model = await open('cpu');
  const lines = (await readFile(path.join(demoModel, 'evaluation', 'scenes.jsonl'), 'utf8')).trim().split('\n');
  const scenes = lines.map((line) => JSON.parse(line) as { image: string; questions: { question: string }[] });
  let prompts = 0;
  for (const { image: file, questions } of scenes) {
    const image = await decodeImage(path.join(demoModel, 'evaluation', file));
    for (const { question } of questions.slice(0, PROMPTS - prompts)) {
      const options = { temperature: 0, drafting: 'off' } as const;
      const expected = await reference.ask(image, question, options);
      const answer = await model.ask(image, question, options);
      expect(answer.text, `${file}: ${question}`).toBe(expected.text);
      expect(answer.usage.generatedTokens).toBe(expected.usage.generatedTokens);
      prompts += 1;
    }
  }
  expect(prompts).toBe(PROMPTS);
}, 600_000);
