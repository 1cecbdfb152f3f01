/** A controller's question: the answer always parses. `node dist/examples/ask-structured.js [address]` */
import { loadModel, openCamera, yesNo } from 'scenebus';
import { z } from 'zod';

const [address = 'examples/clips/tabletop.mp4'] = process.argv.slice(2);
const seen = z.object({
  label: z.enum(['red cup', 'blue book', 'green apple', 'nothing']),
  side: z.enum(['left', 'right']),
  count: z.int().min(0).max(20),
});

await using camera = await openCamera(address);
await using model = await loadModel('examples/demo-model/checkpoint');
const frame = await camera.read();

const { value } = await model.ask(frame, 'What is on the table?', { schema: seen });
console.log(`${value.count} × ${value.label}, ${value.side}`);

// Few answers are decided from the model's probabilities: nothing is written.
const { value: isThere, probability } = await model.ask(frame, 'Is there a red cup?', { schema: yesNo() });
console.log(`a red cup: ${isThere ? 'yes' : 'no'} (${probability.toFixed(2)})`);
