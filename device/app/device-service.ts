import {
  type Bus,
  type Camera,
  type CameraOptions,
  DisposalStack,
  type Logger,
  type OnProgress,
  SdkError,
  silentLogger,
  type VisionLanguageModel,
} from 'scenebus';
import type { CameraConfig, DeviceConfig } from '../config/schema.js';
import { Problems } from '../events/problems.js';
import { answerQuestion } from '../features/ask.js';
import { SceneWatcher } from '../features/describe.js';
import { deviceInfo } from '../features/device-info.js';
import { HealthReporter, type ServiceState } from '../features/health.js';
import { UsageTotals } from '../features/usage-totals.js';
import { openBus } from '../sinks/bus-connection.js';
import { CameraFeed } from './camera-feed.js';
import { ModelSupervisor } from './model-supervisor.js';
import { Scheduler } from './scheduler.js';

/** What the service is made of; tests and other programs bring their own. */
export interface DeviceParts {
  readonly openCamera: (address: string, options: CameraOptions) => Promise<Camera>;
  readonly loadModel: (
    config: DeviceConfig['model'],
    options: { readonly logger: Logger; readonly onProgress?: OnProgress | undefined; readonly signal: AbortSignal },
  ) => Promise<VisionLanguageModel>;
}

export interface StartOptions {
  readonly parts: DeviceParts;
  readonly logger?: Logger | undefined;
  /** Ends the start; a running service is ended by `stop`. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** true: an unreachable broker ends the start. false (default): it is tried in the background. */
  readonly requireBroker?: boolean | undefined;
  /** Called as soon as there is a bus, before the first message of a camera or the model. */
  readonly onBus?: ((bus: Bus) => void) | undefined;
}

/**
 * The device: cameras, one model, the bus. Trouble with a camera, the model or the broker makes it `degraded`, never
 * dead: questions are answered with a typed error meanwhile, and what was lost is opened again.
 *
 * @example
 * await using service = await DeviceService.start(config, { parts: deviceParts });
 * await once(process, 'SIGTERM');
 */
export class DeviceService implements AsyncDisposable {
  readonly bus: Bus;
  readonly #config: DeviceConfig;
  readonly #parts: DeviceParts;
  readonly #logger: Logger;
  readonly #resources: DisposalStack;
  readonly #scheduler: Scheduler;
  readonly #usage = new UsageTotals();
  readonly #problems: Problems;
  readonly #health: HealthReporter;
  #model: ModelSupervisor | undefined;
  #phase: 'starting' | 'running' | 'stopping' | 'stopped' = 'starting';
  #stopping: Promise<void> | undefined;

  private constructor(config: DeviceConfig, options: StartOptions, bus: Bus, resources: DisposalStack) {
    const logger = options.logger ?? silentLogger;
    this.bus = bus;
    this.#config = config;
    this.#parts = options.parts;
    this.#logger = logger;
    this.#resources = resources;
    this.#scheduler = new Scheduler({ queueLength: config.ask.queueLength });
    this.#problems = new Problems((part, problem) => {
      if (problem) logger.log('warn', `${part}: ${problem.message}`, { code: problem.code });
      else logger.log('info', `${part}: recovered`);
      this.#health.publishSoon();
    });
    this.#health = new HealthReporter({
      bus,
      logger,
      intervalMs: config.healthIntervalSeconds * 1000,
      read: () => this.#readHealth(),
    });
  }

  /**
   * @throws SdkError for what waiting cannot mend: a wrong model folder, a wrong camera address, a broker that refuses
   *   the credentials. A missing camera or an unreachable broker is no such thing (see `requireBroker`).
   */
  static async start(config: DeviceConfig, options: StartOptions): Promise<DeviceService> {
    const { logger = silentLogger, requireBroker = false, signal = new AbortController().signal } = options;
    const resources = new DisposalStack();
    try {
      const { bus, embeddedBroker } = resources.use(await openBus({ config, logger, requireBroker, signal }));
      options.onBus?.(bus);
      if (embeddedBroker)
        logger.log('info', `no broker configured: started one on ${embeddedBroker.url}, for this machine only`);
      const service = new DeviceService(config, options, bus, resources);
      await service.#open(signal, options.onProgress);
      return service;
    } catch (error) {
      await resources[Symbol.asyncDispose]();
      throw error;
    }
  }

  get state(): ServiceState | 'stopped' {
    if (this.#phase === 'running' && this.#problems.list.length > 0) return 'degraded';
    return this.#phase;
  }

  /** Ends everything in reverse order; the bus says `stopped` last. Asking again waits for the same end. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    this.#phase = 'stopping';
    try {
      await this.#resources[Symbol.asyncDispose]();
    } finally {
      this.#phase = 'stopped';
    }
  }

  async #open(signal: AbortSignal, onProgress: OnProgress | undefined): Promise<void> {
    this.#resources.use(this.#health);
    watchBroker(this.bus, this.#problems);
    await this.#publishInfo();
    this.#health.start();
    const feeds = await this.#openCameras();
    this.#health.onTick(() => Promise.all(feeds.map((feed) => feed.publishStatus())));
    const model = await this.#openModel(signal, onProgress);
    await this.#publishInfo();
    this.#startWork(feeds, model);
    this.#phase = 'running';
    this.#health.publishSoon();
  }

  async #openCameras(): Promise<CameraFeed[]> {
    const feeds: CameraFeed[] = [];
    for (const config of this.#config.cameras) {
      const camera = await this.#parts.openCamera(config.address, cameraOptions(config));
      const publishStatus = this.bus.publishCameraStatus.bind(this.bus);
      const feed = CameraFeed.start({
        config,
        camera,
        problems: this.#problems,
        logger: this.#logger,
        publishStatus,
      });
      feeds.push(this.#resources.use(feed));
    }
    return feeds;
  }

  async #openModel(signal: AbortSignal, onProgress: OnProgress | undefined): Promise<ModelSupervisor> {
    const logger = this.#logger;
    this.#model = await ModelSupervisor.start(
      {
        logger,
        load: (loadSignal) => this.#parts.loadModel(this.#config.model, { logger, onProgress, signal: loadSignal }),
        onHealth: (error) => {
          if (error) this.#problems.report('model', error);
          else this.#problems.clear('model');
          void this.#publishInfo();
        },
      },
      signal,
    );
    return this.#resources.use(this.#model);
  }

  #startWork(feeds: readonly CameraFeed[], model: ModelSupervisor): void {
    const { ask, describe } = this.#config;
    const logger = this.#logger;
    const problems = this.#problems;
    // Released before the model: whatever runs on it must have ended.
    const scheduler = this.#resources.use(this.#scheduler);
    const usage = this.#usage;
    const parts = { settings: ask, feeds, model, scheduler, usage };
    this.#resources.defer(this.bus.onAsk((request, context) => answerQuestion(request, context, parts)));
    const publishScene = this.bus.publishScene.bind(this.bus);
    for (const feed of feeds.filter(({ config }) => config.describe)) {
      const settings = describe;
      this.#resources.use(
        SceneWatcher.start({ feed, settings, model, scheduler, usage, problems, logger, publishScene }),
      );
    }
  }

  async #publishInfo(): Promise<void> {
    try {
      await this.bus.publishInfo(deviceInfo(this.#config, this.#model?.info));
    } catch (error) {
      this.#logger.log('warn', 'info was not published', { error });
    }
  }

  #readHealth() {
    const { state } = this;
    return {
      state: state === 'stopped' ? ('stopping' as const) : state,
      problems: [...this.#problems.list],
      metrics: {
        modelRestarts: this.#model?.restarts ?? 0,
        questionsWaiting: this.#scheduler.waitingQuestions,
        ...this.#usage.metrics,
      },
    };
  }
}

function watchBroker(bus: Bus, problems: Problems): void {
  const look = (): void => {
    if (bus.state === 'online' || bus.state === 'closed') {
      problems.clear('bus');
      return;
    }
    const message = `The broker ${bus.broker} is not reached yet; it is tried again and again.`;
    problems.report('bus', new SdkError('ERR_BUS_UNREACHABLE', message));
  };
  bus.onStateChange(look);
  look();
}

function cameraOptions({ address: _address, describe: _describe, ...options }: CameraConfig): CameraOptions {
  // A camera that is not plugged in yet must not keep the others from working.
  return { ...options, requireFirstFrame: false };
}
