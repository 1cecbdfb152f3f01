/**
 * A robot controller that listens to a device's eyes: it follows presence, stops when a person is in the way, and asks
 * before it grips. Needs only a broker and a running device; nothing of the model is loaded here.
 *
 *     node dist/examples/controller.js mqtt://127.0.0.1:1883 demo
 */
import { type BusClient, connectClient, isSdkError, type Scene } from 'scenebus/client';

/** A scene is evidence only while it is fresh, and a model can be wrong: in doubt, a robot stops. */
const SCENE_MAX_AGE_MS = 10_000;

function mustStop(scene: Scene): string | undefined {
  if (Date.now() - Date.parse(scene.frameTs) > SCENE_MAX_AGE_MS) return 'the last scene is too old';
  const person = scene.objects.find(({ label, score }) => /person|hand/.test(label) && score >= 0.3);
  return person === undefined
    ? undefined
    : `${person.label} at x ${person.box.x1.toFixed(2)}–${person.box.x2.toFixed(2)}`;
}

async function watchPresence(client: BusClient, device: string, signal: AbortSignal): Promise<void> {
  for await (const { state } of client.availability(device, { signal })) console.log(`${device} is ${state}`);
}

async function drive(client: BusClient, device: string, signal: AbortSignal): Promise<void> {
  for await (const scene of client.scenes(device, { signal })) {
    const reason = mustStop(scene);
    console.log(`${scene.camera}: ${scene.text}`);
    console.log(reason === undefined ? 'drive' : `stop: ${reason}`);
  }
}

/** Where to grip, in pixels of the frame; undefined when the device cannot say. */
async function findTarget(client: BusClient, device: string, what: string): Promise<readonly number[] | undefined> {
  try {
    const answer = await client.ask(device, `Where is the ${what}?`, { timeoutMs: 60_000 });
    console.log(`${device}: ${answer.text}`);
    const best = [...answer.objects].sort((a, b) => b.score - a.score)[0];
    if (best !== undefined)
      console.log(`${best.label} at ${best.boxPixels.join(', ')} of ${answer.image.width}×${answer.image.height}`);
    return best?.boxPixels;
  } catch (error) {
    if (!isSdkError(error)) throw error;
    console.log(`no answer (${error.code}${error.retryable ? ', can be asked again' : ''}): ${error.message}`);
    return undefined;
  }
}

const [url = 'mqtt://127.0.0.1:1883', device = 'demo', what = 'red box'] = process.argv.slice(2);
const end = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => end.abort());

const client = await connectClient({ url, waitForBroker: false });
const loops = [watchPresence(client, device, end.signal), drive(client, device, end.signal)];
await findTarget(client, device, what);
try {
  await Promise.all(loops);
} catch (error) {
  if (!end.signal.aborted) throw error;
} finally {
  await client.close();
}
