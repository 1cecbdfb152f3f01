/**
 * A robot controller that listens to a device's eyes: it stops while the device is away, a camera sees nothing or a
 * person is in the way, and asks before it grips. Needs only a broker and a running device; nothing of the model is
 * loaded here.
 *
 *     node dist/examples/controller.js mqtt://127.0.0.1:1883 demo
 */
import { type BusClient, connect, isSdkError, type Scene } from 'scenebus/client';

/** Asked of every new picture; what it finds comes as events, new to end. */
const WATCH = { id: 'person-in-the-way', question: 'Is there a person in the picture?', answerType: 'yes-no' } as const;

/** Why the robot stands still; it drives when there is no reason left. */
class Brake {
  readonly #reasons = new Map<string, string>();

  set(source: string, reason: string | undefined): void {
    if (this.#reasons.get(source) === reason) return;
    if (reason === undefined) this.#reasons.delete(source);
    else this.#reasons.set(source, reason);
    console.log(this.#reasons.size === 0 ? 'drive' : `stop: ${[...this.#reasons.values()].join(', ')}`);
  }
}

/** Uses a standing question where the device has them, else the words of its descriptions. */
async function watchForPeople(client: BusClient, device: string, brake: Brake, signal: AbortSignal): Promise<void> {
  client.onEvent(
    device,
    ({ camera, type, value, probability }) => {
      const isThere = type !== 'end' && value === true;
      const sure = probability === null ? '' : ` (${Math.round(probability * 100)} %)`;
      brake.set(`watch ${camera}`, isThere ? `a person before ${camera}${sure}` : undefined);
    },
    { watch: WATCH.id, signal },
  );
  try {
    await client.watch(device, WATCH, { signal });
    console.log('the device watches for people');
  } catch (error) {
    if (!isSdkError(error)) throw error;
    console.log(`no watch (${error.code}): reading descriptions instead`);
    const fresh = new Map<string, NodeJS.Timeout>();
    const listener = (scene: Scene) => {
      brake.set(`scene ${scene.camera}`, mustStop(scene));
      clearTimeout(fresh.get(scene.camera));
      const late = () => brake.set(`scene ${scene.camera}`, `no new scene of ${scene.camera}`);
      fresh.set(scene.camera, setTimeout(late, SCENE_MAX_AGE_MS).unref());
    };
    client.onScene(device, listener, { signal });
  }
}

/** A scene is evidence only while it is fresh, and a model can be wrong: in doubt, a robot stops. */
function mustStop(scene: Scene): string | undefined {
  // Two machines, two clocks: one that is set wrongly can make an old scene look as if it came from the future.
  if (Math.abs(Date.now() - Date.parse(scene.frameTs)) > SCENE_MAX_AGE_MS) return 'the last scene is too old';
  const person = /\b(person|people|man|woman|child|hand)\b/i.exec(scene.text)?.[0];
  return person === undefined ? undefined : `"${person.toLowerCase()}" in what ${scene.camera} sees`;
}

/** Who sees nothing reports nobody: no event comes from a camera that is lost or whose picture stands still. */
async function watchCameras(client: BusClient, device: string, brake: Brake, signal: AbortSignal): Promise<void> {
  for await (const { camera, state } of client.cameraStatuses(device, { signal }))
    brake.set(`camera ${camera}`, state === 'running' ? undefined : `camera ${camera} is ${state}`);
}

async function watchPresence(client: BusClient, device: string, brake: Brake, signal: AbortSignal): Promise<void> {
  for await (const { state } of client.availability(device, { signal })) {
    console.log(`${device} is ${state}`);
    brake.set('presence', state === 'online' ? undefined : `${device} is ${state}`);
  }
}

/** Where to grip, in pixels of the frame; undefined when the device cannot say. */
async function findTarget(client: BusClient, device: string, what: string): Promise<readonly number[] | undefined> {
  try {
    const answer = await client.ask(device, `Where is the ${what}?`, { timeoutMs: 60_000 });
    console.log(`${device}: ${answer.sentence ?? answer.text}`);
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

const [url = 'mqtt://127.0.0.1:1883', device = 'demo', what = 'red box', maxAge = '10'] = process.argv.slice(2);
/** Without watches: how old a scene may be. Below `describe.maxSilenceSeconds` of the device the robot stops in between. */
const SCENE_MAX_AGE_MS = 1000 * Number(maxAge);
const end = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => end.abort());

const client = await connect({ url, waitForBroker: false });
const brake = new Brake();
brake.set('presence', `${device} has not been seen`);
const presence = watchPresence(client, device, brake, end.signal);
const cameras = watchCameras(client, device, brake, end.signal);
const work = watchForPeople(client, device, brake, end.signal).then(() => findTarget(client, device, what));
try {
  await Promise.all([presence, cameras, work]);
} catch (error) {
  if (!end.signal.aborted) throw error;
} finally {
  await client.close();
}
