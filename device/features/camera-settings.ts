/** What can be switched for each camera while the device runs, over the bus; kept over a restart. */
import { SdkError } from 'scenebus';
import { CAMERA_SETTINGS, type CameraSetting, type SettingHandler } from 'scenebus/bus';
import { z } from 'zod';
import type { FeatureContext, ReconfigurableFeature } from './context.js';
import { KeptFile } from './kept-file.js';

/** Where commands come from. */
export interface SettingSource {
  /** Returns a function that takes the handler away. */
  onSetting(handler: SettingHandler): () => void;
}

export interface CameraSettings {
  /** Whether descriptions are made of a camera, its watches are asked, its privacy is on. */
  isOn(camera: string, setting: CameraSetting): boolean;
  /** Returns a function that ends it. */
  onChange(listener: () => void): () => void;
}

type Kept = readonly { readonly camera: string; readonly setting: CameraSetting; readonly value: boolean }[];

const keptSchema: z.ZodType<Kept> = z
  .array(z.strictObject({ camera: z.string(), setting: z.enum(CAMERA_SETTINGS), value: z.boolean() }))
  .max(1_000);

type SettingsContext = Pick<FeatureContext, 'feeds' | 'hub' | 'logger'> & Partial<Pick<FeatureContext, 'problems'>>;

/** @param file where switched settings are kept; undefined: nowhere */
export async function startCameraSettings(
  context: SettingsContext,
  source: SettingSource,
  file: string | undefined,
): Promise<CameraSettings & ReconfigurableFeature> {
  const { logger, problems } = context;
  const kept = new KeptFile({ file, schema: keptSchema, logger, problems });
  return new SwitchedSettings(context, source, kept, (await kept.read()) ?? []);
}

class SwitchedSettings implements CameraSettings, ReconfigurableFeature {
  readonly #context: SettingsContext;
  readonly #file: KeptFile<Kept>;
  /** By camera: what was switched. */
  readonly #switched = new Map<string, Map<CameraSetting, boolean>>();
  readonly #listeners = new Set<() => void>();
  readonly #stop: () => void;

  constructor(context: SettingsContext, source: SettingSource, file: KeptFile<Kept>, kept: Kept) {
    this.#context = context;
    this.#file = file;
    for (const { camera, setting, value } of kept) this.#set(camera, setting, value);
    this.#tellAll();
    this.#stop = source.onSetting((camera, setting, value) => this.#command(camera, setting, value));
  }

  isOn(camera: string, setting: CameraSetting): boolean {
    const feed = this.#context.feeds.find(({ id }) => id === camera);
    const unswitched = setting === 'describe' ? feed?.config.describe === true : setting === 'watches';
    return this.#switched.get(camera)?.get(setting) ?? unswitched;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A camera may be new, or its own setting another. */
  async reconfigure(): Promise<void> {
    this.#tellAll();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await this.#file[Symbol.asyncDispose]();
  }

  #tellAll(): void {
    for (const { id } of this.#context.feeds) for (const setting of CAMERA_SETTINGS) this.#tell(id, setting);
  }

  /** @throws SdkError ERR_REQUEST_INVALID for a camera that is not there */
  async #command(camera: string, setting: CameraSetting, value: boolean): Promise<void> {
    const { feeds } = this.#context;
    if (!feeds.some(({ id }) => id === camera)) {
      const known = feeds.map(({ id }) => id).join(', ');
      throw new SdkError('ERR_REQUEST_INVALID', `Expected one of the cameras ${known}, but received ${camera}.`);
    }
    this.#set(camera, setting, value);
    this.#tell(camera, setting);
    for (const listener of [...this.#listeners]) listener();
    await this.#file.write(
      [...this.#switched].flatMap(([id, settings]) =>
        [...settings].map(([name, isOn]) => ({ camera: id, setting: name, value: isOn })),
      ),
    );
  }

  #set(camera: string, setting: CameraSetting, value: boolean): void {
    const settings = this.#switched.get(camera) ?? new Map<CameraSetting, boolean>();
    this.#switched.set(camera, settings.set(setting, value));
  }

  #tell(camera: string, setting: CameraSetting): void {
    void this.#context.hub.emit('setting', { setting, value: this.isOn(camera, setting) }, { camera, isKept: false });
  }
}
