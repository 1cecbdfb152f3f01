/** The picture that a request is about: the newest of a camera, or one that was looked at a moment ago. */
import { type CallOptions, type Frame, SdkError } from 'scenebus';
import type { CameraSettings } from './camera-settings.js';
import type { FeatureContext, Feed } from './context.js';

export interface PictureRequest {
  readonly camera?: string | undefined;
  readonly frameId?: string | undefined;
}

export interface Picture {
  readonly feed: Feed;
  readonly frame: Frame;
}

/** Of one camera: those that the model looked at last. */
const KEPT = { frames: 8, bytes: 48 * 2 ** 20 };

type PicturesContext = Pick<FeatureContext, 'config' | 'feeds' | 'hub'>;

export class Pictures implements Disposable {
  readonly #context: PicturesContext;
  readonly #settings: CameraSettings | undefined;
  /** By camera, oldest first. */
  readonly #kept = new Map<string, Frame[]>();
  readonly #stops: readonly (() => void)[];

  constructor(context: PicturesContext, settings?: CameraSettings) {
    this.#context = context;
    this.#settings = settings;
    this.#stops = [
      context.hub.on('frame', ({ camera, body }) => this.#keep(camera, body.frame)),
      settings?.onChange(() => this.#forget()) ?? (() => {}),
    ];
  }

  /**
   * @throws SdkError ERR_REQUEST_INVALID for a camera or a frame that is not there, ERR_CAPTURE_*: the camera is off,
   *   does not deliver, or shows something old where the configuration refuses that
   */
  async of(request: PictureRequest, { signal }: CallOptions): Promise<Picture> {
    const feed = this.#choose(request);
    if (this.#settings?.isOn(feed.id, 'privacy')) {
      const message = `Expected a picture of the camera ${feed.id}, but it is off: its privacy is on. Publish false on camera/${feed.id}/privacy/set, if you may, or ask about another camera.`;
      throw new SdkError('ERR_CAPTURE_REFUSED', message, { details: { camera: feed.id, privacy: true } });
    }
    if (request.frameId !== undefined) return { feed, frame: this.#keptFrame(feed, request.frameId) };
    // A camera that does not deliver must not hold up requests about the others: nobody has the model yet.
    const frame = await feed.latestFrame({ signal });
    if (this.#context.config.ask.stale === 'refuse') requireCurrent(feed.noticesFor(frame));
    return { feed, frame };
  }

  [Symbol.dispose](): void {
    for (const stop of this.#stops) stop();
    this.#kept.clear();
  }

  #choose({ camera: id, frameId }: PictureRequest): Feed {
    const { feeds } = this.#context;
    if (id === undefined && frameId !== undefined) {
      const having = feeds.filter((feed) => this.#kept.get(feed.id)?.some((frame) => frame.id === frameId));
      if (having.length === 1) return having[0]!;
    }
    const found = id === undefined ? feeds[0] : feeds.find((feed) => feed.id === id);
    if (found !== undefined && (id !== undefined || feeds.length === 1)) return found;
    const known = feeds.map((feed) => feed.id).join(', ');
    const came = id === undefined ? 'the question names none' : `received ${JSON.stringify(id)}`;
    throw new SdkError('ERR_REQUEST_INVALID', `Expected "camera" to be one of ${known}, but ${came}.`);
  }

  #keptFrame(feed: Feed, frameId: string): Frame {
    const kept = this.#kept.get(feed.id) ?? [];
    const found = kept.find(({ id }) => id === frameId);
    if (found !== undefined) return found;
    const known = kept.map(({ id }) => id).join(', ') || 'none yet';
    throw new SdkError(
      'ERR_REQUEST_INVALID',
      `Expected a frame of ${feed.id} that is still there (${known}), but ${JSON.stringify(frameId)} is gone: the device keeps the last few that the model looked at. Ask about a newer one, or leave "frameId" out for the newest.`,
    );
  }

  #keep(camera: string | undefined, frame: Frame): void {
    if (camera === undefined) return;
    const frames = [...(this.#kept.get(camera) ?? []).filter((kept) => kept.id !== frame.id), frame];
    const size = () => frames.reduce((sum, { data }) => sum + data.byteLength, 0);
    while (frames.length > KEPT.frames || (frames.length > 1 && size() > KEPT.bytes)) frames.shift();
    this.#kept.set(camera, frames);
  }

  /** Of cameras that are gone or whose privacy is on. */
  #forget(): void {
    for (const camera of [...this.#kept.keys()]) if (this.#settings?.isOn(camera, 'privacy')) this.#kept.delete(camera);
  }
}

/** @throws SdkError ERR_CAPTURE_TIMEOUT */
function requireCurrent(notices: readonly string[]): void {
  if (notices.length === 0) return;
  const message = `Expected a picture of now. ${notices.join(' ')} Questions about such pictures are refused by the setting ask.stale.`;
  throw new SdkError('ERR_CAPTURE_TIMEOUT', message);
}
