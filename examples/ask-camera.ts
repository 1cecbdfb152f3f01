// Ask a camera, and read the answer while it is being written.
//   node dist/examples/ask-camera.js 0 "What do you see?"
import { loadModel, openCamera } from 'scenebus';

const [address = 'examples/clips/tabletop.mp4', question = 'What do you see?'] = process.argv.slice(2);

await using camera = await openCamera(address);
await using model = await loadModel(process.env.SCENEBUS_MODEL ?? 'examples/demo-model/checkpoint');

const image = await camera.read();
const stream = model.generate({
  messages: [
    {
      role: 'user',
      content: [
        { type: 'image', image },
        { type: 'text', text: question },
      ],
    },
  ],
});
for await (const text of stream) process.stdout.write(text);

const { objects, timings } = await stream.collect();
console.log();
for (const { label, boxPixels, score } of objects)
  console.log(`${label} at ${boxPixels.join(', ')} (${score.toFixed(2)})`);
console.log(
  `first token after ${Math.round(timings.timeToFirstTokenMs)} ms, ${timings.tokensPerSecond.toFixed(1)} tokens/s`,
);
