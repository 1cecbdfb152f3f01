/**
 * Asks a model over OpenAI's API, with their own client: `scenebus serve` in one terminal, this in another. Of a device
 * (`openai: {}` in its configuration) `camera:front` is what its camera sees now.
 *
 * node dist/examples/openai-client.js examples/demo-model/evaluation/00000.jpg "Where is the red cup?" http://127.0.0.1:8089
 */
import { readFile } from 'node:fs/promises';
import OpenAI from 'openai';

const [picture = 'camera:front', question = 'What is there?', server = 'http://127.0.0.1:8089'] = process.argv.slice(2);
// Without a key the server ignores what is sent, but the client wants one.
const apiKey = process.env.SCENEBUS_SERVE_KEY ?? 'none';
const client = new OpenAI({ baseURL: `${server}/v1`, apiKey });
const [model] = (await client.models.list()).data;
if (model === undefined) throw new Error(`${server} serves no model.`);

const url = picture.startsWith('camera:')
  ? picture
  : `data:image/jpeg;base64,${(await readFile(picture)).toString('base64')}`;
const stream = await client.chat.completions.create({
  model: model.id,
  messages: [
    {
      role: 'user',
      content: [
        { type: 'image_url', image_url: { url } },
        { type: 'text', text: question },
      ],
    },
  ],
  temperature: 0,
  stream: true,
});
for await (const { choices, ...more } of stream) {
  process.stdout.write(choices[0]?.delta.content ?? '');
  // What OpenAI's form has no place for comes beside it, in the last piece.
  const { scenebus } = more as { scenebus?: { objects: { label: string; boxPixels: number[]; score: number }[] } };
  for (const { label, boxPixels, score } of scenebus?.objects ?? [])
    process.stdout.write(`\n${label} at ${boxPixels.join(', ')} (${score.toFixed(2)})`);
}
process.stdout.write('\n');
