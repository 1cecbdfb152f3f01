/** How the device is now, in words for whoever stands in front of it. Follows the hub from the start. */
import type { CameraStatusInput, HealthInput, InfoInput } from 'scenebus/bus';
import type { Problem } from '../events/events.js';
import type { EventHub } from '../events/hub.js';
import type { CameraState, DeviceState } from './api/schemas.js';
import type { ConsoleDevice } from './context.js';
import { adviceFor, remedyOf } from './health/advice.js';
import { brokerLamp, cameraLamp, modelLamp, privateLamp, worst } from './health/lamps.js';

export class DeviceStateFollower implements Disposable {
  readonly #stops: readonly (() => void)[];
  readonly #problems = new Map<string, Problem>();
  readonly #cameras = new Map<string, CameraStatusInput>();
  readonly #privacy = new Map<string, boolean>();
  #info: InfoInput | undefined;
  #health: HealthInput | undefined;

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
      hub.on('health', ({ body }) => {
        this.#health = body;
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

  /** Last told of. */
  get health(): HealthInput | undefined {
    return this.#health;
  }

  now(device: ConsoleDevice): DeviceState {
    const cameras = device.config.cameras.map((camera) => this.#camera(camera));
    const problem = (part: string) => this.#problems.get(part);
    return {
      device: device.config.device,
      lamps: {
        camera: worst(cameras.map(({ lamp }) => lamp)),
        model: modelLamp(device.model()?.info, problem('model')),
        broker: brokerLamp(device.broker(), problem('bus')),
      },
      cameras,
      problems: [...this.#problems].map(([part, { code, message }]) => {
        const advice = adviceFor(code);
        return { part, code, message, reason: advice.words, remedy: remedyOf(advice) };
      }),
    };
  }

  #camera({ id, masks }: ConsoleDevice['config']['cameras'][number]): CameraState {
    const status = this.#cameras.get(id);
    return {
      id,
      state: status?.state ?? 'starting',
      image: status?.image ? { width: status.image.width, height: status.image.height } : null,
      framesPerSecond: status?.framesPerSecond ?? null,
      lastFrameAgeMs: status?.lastFrameAgeMs ?? null,
      isPrivate: this.#privacy.get(id) === true,
      masks: masks.map((mask) => mask.map(([x, y]) => ({ x, y }))),
      lamp: this.#privacy.get(id) === true ? privateLamp(id) : cameraLamp(id, status),
    };
  }
}
