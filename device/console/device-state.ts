/** How the device is now, in words for whoever stands in front of it. Follows the hub from the start. */
import type { CameraStatusInput, HealthInput, InfoInput } from 'scenebus/bus';
import type { Problem } from '../events/events.js';
import type { EventHub } from '../events/hub.js';
import type { CameraState, DeviceState, HealthInfo, Lamp } from './api/schemas.js';
import type { ConsoleDevice } from './context.js';

/** A day at the default pause between health events. */
const MAX_SAMPLES = 2_880;

const GOOD = (reason: string): Lamp => ({ state: 'good', reason, remedy: null });
const WAITING = (reason: string, remedy: string | null = null): Lamp => ({ state: 'waiting', reason, remedy });
const BAD = (reason: string, remedy: string): Lamp => ({ state: 'bad', reason, remedy });

const PRIVATE = (id: string): Lamp =>
  WAITING(`Camera ${id} is switched off: its privacy is on.`, 'Switch its privacy off over the bus, if you may.');

export class DeviceStateFollower implements Disposable {
  readonly #stops: readonly (() => void)[];
  readonly #problems = new Map<string, Problem>();
  readonly #cameras = new Map<string, CameraStatusInput>();
  readonly #privacy = new Map<string, boolean>();
  #info: InfoInput | undefined;
  #health: HealthInput | undefined;
  #samples: HealthInfo['samples'] = [];

  constructor(hub: EventHub) {
    this.#stops = [
      hub.on('problem', ({ body: { part, problem } }) => {
        if (problem === null) this.#problems.delete(part);
        else this.#problems.set(part, problem);
      }),
      hub.on('status', ({ camera, body }) => {
        if (camera !== undefined) this.#cameras.set(camera, body);
      }),
      hub.on('setting', ({ camera, body: { setting, value } }) => {
        if (camera !== undefined && setting === 'privacy') this.#privacy.set(camera, value);
      }),
      hub.on('info', ({ body }) => {
        this.#info = body;
      }),
      hub.on('health', ({ atMs, body }) => {
        this.#health = body;
        this.#samples.push({ atMs, metrics: { ...this.#frameRates(), ...body.memory, ...body.metrics } });
        if (this.#samples.length > MAX_SAMPLES) this.#samples.shift();
      }),
    ];
  }

  [Symbol.dispose](): void {
    for (const stop of this.#stops) stop();
  }

  /** Nobody sees its pictures: its privacy is on, or it is not known yet whether it is. */
  isPrivate(camera: string): boolean {
    return this.#privacy.get(camera) ?? true;
  }

  /** What is wrong with a part of the device now. */
  problem(part: string): Problem | undefined {
    return this.#problems.get(part);
  }

  get info(): InfoInput | undefined {
    return this.#info;
  }

  health({ broker }: ConsoleDevice): HealthInfo {
    return {
      state: this.#health?.state ?? 'starting',
      uptimeSeconds: this.#health?.uptimeSeconds ?? 0,
      samples: this.#samples,
      broker: broker(),
    };
  }

  now(device: ConsoleDevice): DeviceState {
    const cameras = device.config.cameras.map(({ id }) => this.#camera(id));
    return {
      device: device.config.device,
      lamps: { camera: worst(cameras.map(({ lamp }) => lamp)), model: this.#model(device), broker: brokerLamp(device) },
      cameras,
      problems: [...this.#problems].map(([part, { code, message }]) => ({ part, code, message })),
    };
  }

  #frameRates(): Record<string, number> {
    const entries = [...this.#cameras].flatMap(([id, { framesPerSecond }]) =>
      typeof framesPerSecond === 'number' ? [[`framesPerSecond ${id}`, framesPerSecond] as const] : [],
    );
    return Object.fromEntries(entries);
  }

  #camera(id: string): CameraState {
    const status = this.#cameras.get(id);
    return {
      id,
      state: status?.state ?? 'starting',
      image: status?.image ? { width: status.image.width, height: status.image.height } : null,
      framesPerSecond: status?.framesPerSecond ?? null,
      lastFrameAgeMs: status?.lastFrameAgeMs ?? null,
      isPrivate: this.#privacy.get(id) === true,
      lamp: this.#privacy.get(id) === true ? PRIVATE(id) : cameraLamp(id, status),
    };
  }

  #model({ model }: ConsoleDevice): Lamp {
    const problem = this.#problems.get('model');
    if (problem?.code === 'ERR_ENGINE_OUT_OF_MEMORY')
      return BAD(problem.message, 'Choose a smaller model or a shorter context, or free memory on this machine.');
    if (problem !== undefined)
      return BAD(problem.message, 'It is reloaded automatically. If that takes minutes, read the log under Health.');
    const info = model()?.info;
    if (info === undefined)
      return WAITING('The model is being loaded.', 'The first start of a big model takes minutes.');
    return GOOD(`${info.name} answers questions (${info.engine.backend}, ${info.engine.weights}).`);
  }
}

function cameraLamp(id: string, status: CameraStatusInput | undefined): Lamp {
  const why = status?.reason ? ` ${status.reason.message}` : '';
  switch (status?.state) {
    case 'running':
      return GOOD(`Camera ${id} delivers pictures.`);
    case undefined:
    case 'starting':
      return WAITING(`Camera ${id} is being opened.`);
    case 'ended':
      return WAITING(`The clip of ${id} is over; its last picture stays.`, 'Set loop: true to play it in a loop.');
    case 'stalled':
    case 'reconnecting':
      return BAD(
        `Camera ${id} delivers no pictures now.${why}`,
        'It is retried automatically. Check its cable, power and network; see the page Health.',
      );
    default:
      return BAD(
        `Camera ${id} has failed and is not retried.${why}`,
        'Correct its address in the configuration, or plug it in, and restart the service.',
      );
  }
}

function brokerLamp({ broker }: ConsoleDevice): Lamp {
  const { address, state } = broker();
  if (state === 'online') return GOOD(`Connected to ${address}.`);
  if (state === 'connecting') return WAITING(`Connecting to ${address}.`);
  return BAD(
    `The broker ${address} cannot be reached; answers are queued.`,
    'Check that the broker runs, its address and the network. It is retried automatically.',
  );
}

/** A lamp for several: the worst of them, so that nothing hides behind what works. */
function worst(lamps: readonly Lamp[]): Lamp {
  const found = lamps.find(({ state }) => state === 'bad') ?? lamps.find(({ state }) => state === 'waiting');
  if (found !== undefined) return found;
  return lamps.length === 1 ? lamps[0]! : GOOD(`All ${lamps.length} cameras deliver pictures.`);
}
