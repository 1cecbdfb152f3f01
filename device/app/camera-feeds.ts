import type { Camera, CameraOptions, Logger } from 'scenebus';
import { DisposalStack } from 'scenebus/service';
import type { CameraConfig } from '../config/schema.js';
import type { EventHub } from '../events/hub.js';
import type { Problems } from '../events/problems.js';
import { CameraFeed } from './camera-feed.js';
import { isSameSource } from './config-changes.js';

export interface CameraFeedsOptions {
  readonly openCamera: (address: string, options: CameraOptions) => Promise<Camera>;
  readonly staleSeconds: () => number;
  readonly problems: Problems;
  readonly logger: Logger;
  readonly hub: EventHub;
}

/** The cameras of the device, as the configuration has them at the moment. */
export class CameraFeeds implements AsyncDisposable {
  readonly #options: CameraFeedsOptions;
  #feeds: readonly CameraFeed[] = [];

  constructor(options: CameraFeedsOptions) {
    this.#options = options;
  }

  /** In the order of the configuration. A feed that is replaced is another object. */
  get list(): readonly CameraFeed[] {
    return this.#feeds;
  }

  /**
   * Opens what is new, closes what is gone, opens again what is to be opened otherwise, and leaves the rest open.
   * @returns the ids of the cameras that are gone.
   */
  async apply(configs: readonly CameraConfig[]): Promise<readonly string[]> {
    const wanted = new Map(configs.map((config) => [config.id, config]));
    const kept = new Map<string, CameraFeed>();
    const leaving: CameraFeed[] = [];
    for (const feed of this.#feeds) {
      const config = wanted.get(feed.id);
      if (config !== undefined && isSameSource(feed.config, config)) kept.set(feed.id, feed);
      else leaving.push(feed);
    }
    // Nobody finds a camera that is being closed. A device is not opened twice: what leaves goes first.
    this.#feeds = [...kept.values()];
    await Promise.all(leaving.map((feed) => feed[Symbol.asyncDispose]()));
    for (const config of configs) {
      const feed = kept.get(config.id);
      if (feed === undefined) kept.set(config.id, await this.#open(config));
      else feed.config = config;
      this.#feeds = configs.flatMap(({ id }) => kept.get(id) ?? []);
    }
    return leaving.map(({ id }) => id).filter((id) => !wanted.has(id));
  }

  async reportStatus(): Promise<void> {
    await Promise.all(this.#feeds.map((feed) => feed.reportStatus()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const feeds = new DisposalStack();
    for (const feed of this.#feeds) feeds.use(feed);
    this.#feeds = [];
    await feeds[Symbol.asyncDispose]();
  }

  async #open(config: CameraConfig): Promise<CameraFeed> {
    const { openCamera, ...parts } = this.#options;
    const camera = await openCamera(config.address, cameraOptions(config));
    return CameraFeed.start({ config, camera, ...parts });
  }
}

/** Without what is the service's business. */
function cameraOptions(config: CameraConfig): CameraOptions {
  const { address, describe, prompt, minIntervalSeconds, maxSilenceSeconds, change, schedule, masks, ...rest } = config;
  const { intrinsics, mounting, ...options } = rest;
  // A camera that is not plugged in yet must not keep the others from working.
  return { ...options, requireFirstFrame: false };
}
