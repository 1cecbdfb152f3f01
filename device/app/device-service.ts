import { type Logger, type OnProgress, SdkError, silentLogger } from 'scenebus';
import type { Bus } from 'scenebus/bus';
import { DisposalStack, requireCameraAddress } from 'scenebus/service';
import type { DeviceConfig } from '../config/schema.js';
import type { ConfigAccess } from '../console/context.js';
import type { EventHub } from '../events/hub.js';
import type { Problems } from '../events/problems.js';
import { CameraPlaces } from '../features/camera-places.js';
import { CameraTracks } from '../features/camera-tracks.js';
import { deviceInfo } from '../features/device-info.js';
import type { ServiceState } from '../features/health.js';
import { UsageTotals } from '../features/usage-totals.js';
import type { Journal } from '../journal/journal.js';
import type { Finding } from '../platform/doctor/finding.js';
import { busLimits, openBus } from '../sinks/bus-connection.js';
import { AnswerEvents } from '../sinks/mqtt-sink.js';
import { brokerRoundTrip } from './broker-check.js';
import { refuseVerbs, standInGroups, watchBroker } from './bus-start.js';
import { CameraFeeds } from './camera-feeds.js';
import { type ConfigChanges, configChanges } from './config-changes.js';
import { checkConfigAndBroker } from './config-checks.js';
import { startDeviceApi } from './device-api.js';
import { DeviceConsole, logTail } from './device-console.js';
import { openEvents } from './device-events.js';
import { type DeviceFeatures, startFeatures } from './device-features.js';
import { startHealthReports } from './device-health.js';
import type { DeviceParts } from './device-parts.js';
import { startSinks } from './device-sinks.js';
import { stateFile } from './journal-options.js';
import { licences } from './licences.js';
import { ModelSupervisor } from './model-supervisor.js';
import { OutwardSinks } from './outward-sinks.js';

export interface StartOptions {
  readonly parts: DeviceParts;
  readonly logger?: Logger | undefined;
  /** Ends the start; a running service is ended by `stop`. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** true: an unreachable broker ends the start. false (default): it is tried in the background. */
  readonly requireBroker?: boolean | undefined;
  /** The file that the configuration comes from: the console's admin may change it. undefined: there is none. */
  readonly configSource?: Pick<ConfigAccess, 'store' | 'environment'> | undefined;
  /** Called when another configuration holds. */
  readonly onReload?: ((config: DeviceConfig) => void) | undefined;
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
  /** All that happens on this device. */
  readonly hub: EventHub;
  /** All that happened. */
  readonly journal: Journal;
  #config: DeviceConfig;
  readonly #parts: DeviceParts;
  readonly #options: Pick<StartOptions, 'configSource' | 'onReload'>;
  readonly #logger: Logger;
  readonly #resources: DisposalStack;
  readonly #problems: Problems;
  readonly #places: CameraPlaces;
  readonly #usage: UsageTotals;
  readonly #console: DeviceConsole | undefined;
  #model: ModelSupervisor | undefined;
  #feeds: CameraFeeds | undefined;
  #features: DeviceFeatures | undefined;
  #reloading: Promise<unknown> = Promise.resolve();
  #apiAddress: string | undefined;
  #phase: 'starting' | 'running' | 'stopping' | 'stopped' = 'starting';
  #stopping: Promise<void> | undefined;

  private constructor(config: DeviceConfig, options: StartOptions, parts: ServiceParts) {
    this.bus = parts.bus;
    this.hub = parts.hub;
    this.journal = parts.journal;
    this.#config = config;
    this.#parts = options.parts;
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    this.#resources = parts.resources;
    this.#problems = parts.problems;
    this.#places = new CameraPlaces(this.#problems);
    this.#usage = new UsageTotals(this.hub);
    this.#console = parts.console;
  }

  /**
   * @throws SdkError for what waiting cannot mend: a wrong model folder, a wrong camera address, with
   *   `requireBroker` a broker that is away or refuses the credentials. A missing camera is no such thing.
   */
  static async start(config: DeviceConfig, options: StartOptions): Promise<DeviceService> {
    const { requireBroker = false, signal = new AbortController().signal } = options;
    const resources = new DisposalStack();
    const { logger, tail } = logTail(options.logger ?? silentLogger);
    try {
      const { hub, journal, problems } = await openEvents(config, logger, resources);
      // Listens from the first event on.
      const console = config.console.enabled
        ? resources.use(new DeviceConsole({ hub, tail, logger, root: config.root }))
        : undefined;
      const answers = new AnswerEvents(hub);
      const keepAnswer = answers.keep;
      const outward = await OutwardSinks.open(config, logger);
      const busOptions = { config, logger, requireBroker, signal, keepAnswer, outward: outward.places };
      const { bus } = resources.use(await openBus(busOptions));
      console?.listen(bus);
      options.onBus?.(bus);
      const events = { hub, journal, problems };
      const service = new DeviceService(config, { ...options, logger }, { bus, ...events, console, resources });
      const sinks = { hub, journal, bus, logger, config: () => service.#config };
      await startSinks({ ...sinks, outward, answers, resources });
      await service.#open(signal, options.onProgress);
      return service;
    } catch (error) {
      await resources[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The address of the console; undefined: there is none. */
  get consoleAddress(): string | undefined {
    return this.#console?.address;
  }

  /** Where tools reach OpenAI's and Ollama's APIs; undefined: there are none. */
  get apiAddress(): string | undefined {
    return this.#apiAddress;
  }

  /** An address that lets one browser in, once; undefined where there is no console, or one with a password. */
  makeConsoleLink(): string | undefined {
    return this.#console?.makeLink();
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

  /**
   * Goes on with another configuration: cameras, descriptions, limits of questions, pauses. The model stays loaded, and
   * cameras that are opened as before stay open. What needs a restart stays as it is, and is named.
   *
   * @throws SdkError ERR_ARGUMENT_INVALID for a camera address that can never work; then nothing has changed.
   *   ERR_BUSY while the service starts; ERR_DISPOSED when it stops.
   */
  reload(next: DeviceConfig): Promise<Omit<ConfigChanges, 'config'>> {
    const reloading = this.#reloading.then(() => this.#reload(next));
    this.#reloading = reloading.catch(() => {});
    return reloading;
  }

  async #reload(next: DeviceConfig): Promise<Omit<ConfigChanges, 'config'>> {
    if (this.#phase === 'starting' || this.#feeds === undefined)
      throw new SdkError('ERR_BUSY', 'The service is starting; reload the configuration once it runs.');
    if (this.#phase !== 'running') throw new SdkError('ERR_DISPOSED', 'The service is stopping.');
    const { config, applied, needsRestart } = configChanges(this.#config, next);
    if (applied.length > 0) {
      for (const { address } of config.cameras) requireCameraAddress(address);
      this.#config = config;
      this.#options.onReload?.(config);
      this.bus.setLimits(busLimits(config));
      const gone = await this.#feeds.apply(config.cameras);
      for (const feature of this.#features?.reconfigurable ?? []) await feature.reconfigure();
      await this.hub.idle();
      for (const id of gone) await this.#forgetCamera(id);
      this.#reportInfo();
    }
    const details = { applied, needsRestart };
    this.#logger.log('info', applied.length > 0 ? 'the configuration is reloaded' : 'nothing to reload', details);
    if (needsRestart.length > 0)
      this.#logger.log('warn', `honoured only after a restart of the service: ${needsRestart.join(', ')}`);
    return { applied, needsRestart };
  }

  async #checkConfig(signal: AbortSignal): Promise<Finding[]> {
    const { configSource } = this.#options;
    if (configSource === undefined || configSource.store.isTemporary) return [];
    const { store, environment } = configSource;
    return await checkConfigAndBroker({ config: store.file, environment, signal });
  }

  get #configAccess(): ConfigAccess | undefined {
    const { configSource } = this.#options;
    return (
      configSource && {
        ...configSource,
        changesTo: (next) => configChanges(this.#config, next),
        reload: (next) => this.reload(next),
      }
    );
  }

  /** Otherwise its retained messages would stay on the broker forever. */
  async #forgetCamera(id: string): Promise<void> {
    this.#places.forget(id);
    try {
      await this.bus.removeCamera(id);
    } catch (error) {
      this.#logger.log('warn', `the retained messages of camera ${id} could not be removed`, { error: String(error) });
    }
  }

  async #stop(): Promise<void> {
    this.#phase = 'stopping';
    await this.#reloading;
    try {
      await this.#resources[Symbol.asyncDispose]();
    } finally {
      this.#phase = 'stopped';
    }
  }

  async #open(signal: AbortSignal, onProgress: OnProgress | undefined): Promise<void> {
    const { bus, hub } = this;
    const logger = this.#logger;
    watchBroker(bus, this.#problems);
    this.#resources.defer(standInGroups(bus, hub, this.#problems));
    refuseVerbs(bus);
    this.#reportInfo();
    const currentConfig = () => this.#config;
    const clocks = { monotonicMs: () => performance.now(), now: () => new Date() };
    const common = { hub, problems: this.#problems, logger, ...clocks };
    const cameras = () => this.#feeds?.list ?? [];
    const journal = this.journal;
    const healthContext = {
      ...common,
      get config() {
        return currentConfig();
      },
      get feeds() {
        return cameras();
      },
    };
    const health = startHealthReports(healthContext, {
      state: () => this.#healthState,
      model: () => this.#model,
      usage: this.#usage,
      bus,
      journal,
      resources: this.#resources,
    });
    await this.#console?.open({
      journal,
      problems: this.#problems,
      feeds: cameras,
      model: () => this.#model,
      broker: () => {
        const { broker: address, state, protocolVersion, stats } = bus;
        return { address, state, protocolVersion, counters: { ...stats } };
      },
      watches: () => this.#features?.watches,
      settings: this.#configAccess,
      licences: () => licences(this.#config.model.directory, this.#model?.info?.name),
      checkBroker: (checkSignal) => brokerRoundTrip(this.#config, bus.broker, checkSignal),
      checkConfig: (checkSignal) => this.#checkConfig(checkSignal),
      setupFile: stateFile(this.#config, 'setup.json'),
      get config() {
        return currentConfig();
      },
    });
    const feeds = await this.#openCameras();
    const model = await this.#openModel(signal, onProgress);
    this.#reportInfo();
    const context = {
      ...common,
      model,
      tracks: new CameraTracks(),
      places: this.#places,
      get config() {
        return currentConfig();
      },
      get feeds() {
        return feeds.list;
      },
    };
    this.#features = await startFeatures(context, { bus, journal, resources: this.#resources });
    const { pictures } = this.#features;
    const api = await startDeviceApi({ config: currentConfig, model, pictures, problems: this.#problems, logger });
    if (api !== undefined) this.#resources.use(api);
    this.#apiAddress = api?.address;
    this.#phase = 'running';
    health.reportSoon();
  }

  async #openCameras(): Promise<CameraFeeds> {
    const { openCamera } = this.#parts;
    const staleSeconds = () => this.#config.ask.staleSeconds;
    const parts = { openCamera, staleSeconds, problems: this.#problems, logger: this.#logger, hub: this.hub };
    const feeds = this.#resources.use(new CameraFeeds(parts));
    this.#feeds = feeds;
    await feeds.apply(this.#config.cameras);
    // The age of a camera's newest frame is told as often as the device's health.
    this.#resources.defer(this.hub.on('health', () => void feeds.reportStatus()));
    return feeds;
  }

  async #openModel(signal: AbortSignal, onProgress: OnProgress | undefined): Promise<ModelSupervisor> {
    const logger = this.#logger;
    this.#model = await ModelSupervisor.start(
      {
        logger,
        load: (loadSignal, memory) => {
          const maxWaiting = this.#config.ask.queueLength;
          const options = { logger, onProgress, maxWaiting, signal: loadSignal, memory };
          return this.#parts.loadModel(this.#config.model, options);
        },
        onHealth: (error) => {
          if (error) this.#problems.report('model', error);
          else this.#problems.clear('model');
          this.#reportInfo();
        },
      },
      signal,
    );
    return this.#resources.use(this.#model);
  }

  #reportInfo(): void {
    void this.hub.emit('info', deviceInfo(this.#config, this.#model?.info), { isKept: false });
  }

  get #healthState(): ServiceState {
    const { state } = this;
    return state === 'stopped' ? 'stopping' : state;
  }
}

interface ServiceParts {
  readonly bus: Bus;
  readonly hub: EventHub;
  readonly journal: Journal;
  readonly problems: Problems;
  readonly console: DeviceConsole | undefined;
  readonly resources: DisposalStack;
}
