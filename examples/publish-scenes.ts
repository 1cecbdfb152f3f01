// Describe what a camera sees, and publish each description on an MQTT bus.
//   node dist/examples/publish-scenes.js 0 mqtt://127.0.0.1:1883
// The whole service (several cameras, questions, supervision) is `scenebus run`; this is the same idea in one loop.
import { loadModel, openCamera } from 'scenebus';
import { connectBus } from 'scenebus/bus';

const [address = 'examples/clips/tabletop.mp4', url = 'mqtt://127.0.0.1:1883'] = process.argv.slice(2);
const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

await using bus = await connectBus({ url, device: 'example' });
await using camera = await openCamera(address);
await using model = await loadModel(process.env.SCENEBUS_MODEL ?? 'examples/demo-model/checkpoint');

try {
  for await (const frame of camera.frames({ signal: stop.signal, maxFps: 1 })) {
    const answer = await model.describe(frame, { signal: stop.signal });
    await bus.publishScene('camera0', {
      frame,
      answer,
      model: { id: model.info.name, hash: model.info.contentHash },
    });
    console.log(answer.text);
  }
} catch (error) {
  if (!stop.signal.aborted) throw error;
}
