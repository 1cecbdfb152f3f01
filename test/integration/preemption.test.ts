/** A real model that several ask at once: nobody's answer depends on who else was there. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Answer, decodeImage, loadModel } from 'scenebus';
import { describe, expect, test } from 'vitest';
import { makeTemporaryFolder } from '../support/temporary-folder.js';

const demoModel = fileURLToPath(new URL('../../examples/demo-model', import.meta.url));
const picture = (name: string) => decodeImage(path.join(demoModel, 'evaluation', name));

describe.each(['cpu', 'onnx'] as const)('on backend %s', (backend) => {
  test('a description that a question preempts, and callers in turn, get what they get alone', async () => {
    const cacheDirectory = await makeTemporaryFolder('scenebus-preemption-');
    await using model = await loadModel(path.join(demoModel, 'checkpoint'), { backend, cacheDirectory });
    const [first, second] = [await picture('00010.jpg'), await picture('00031.jpg')];
    const describeFirst = () =>
      model.generate(
        {
          messages: [
            {
              role: 'user',
              content: [
                { type: 'image', image: first },
                { type: 'text', text: 'describe the scene' },
              ],
            },
          ],
        },
        { temperature: 0, priority: 'description', drafting: 'off' },
      );
    const ask = (caller: string) =>
      model.ask(second, 'List all objects with their boxes.', { caller, drafting: 'off' });
    const alone = [await describeFirst().collect(), await ask('a')];

    let asked: Promise<Answer[]> | undefined;
    const stream = describeFirst();
    for await (const _ of stream) asked ??= Promise.all([ask('a'), ask('b')]);
    const description = await stream.collect();
    const answers = await asked!;
    expect(description.text).toBe(alone[0]!.text);
    expect(description.objects).toEqual(alone[0]!.objects);
    for (const answer of answers) expect(answer.text).toBe(alone[1]!.text);
    expect(description.usage.preemptions).toBeGreaterThan(0); // more than once on a slow machine: it is owed some time
    // The prompt's one call and one for each further token, as if nobody had come in between; pictures were there.
    expect(description.timings.engineCalls).toBe(description.usage.generatedTokens);
    expect([description, ...answers].every(({ usage }) => usage.reusedImages === 1)).toBe(true);
    expect(model.stats()).toMatchObject({ running: 0, cachedImages: 2 });
  });
});
