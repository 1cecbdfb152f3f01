/** The pictures that questions are about. */
import type { Frame } from 'scenebus';
import type { Feed } from '../../features/context.js';
import { HttpError } from '../../http/http-error.js';
import type { ConsoleServices } from './services.js';

export interface AskedFrame {
  readonly frame: Frame;
  readonly camera: string | undefined;
  readonly notices: readonly string[];
}

/** @throws HttpError for a camera that is not there, or not to be seen */
export function requireFeed({ device, state }: ConsoleServices, id: string | undefined): Feed {
  const feeds = device.feeds();
  const feed = id === undefined && feeds.length === 1 ? feeds[0] : feeds.find((known) => known.id === id);
  if (feed === undefined) {
    const known = feeds.map((each) => each.id).join(', ') || 'none yet';
    throw new HttpError(404, 'CAMERA_UNKNOWN', `Expected one of these cameras: ${known}.`);
  }
  if (state.isPrivate(feed.id))
    throw new HttpError(
      409,
      'CAMERA_PRIVATE',
      `Camera ${feed.id} is switched off: its privacy is on, or not yet known.`,
    );
  return feed;
}

/** The newest of a camera, or one that an event or a sender names. @throws HttpError when it is not there */
export async function chooseFrame(
  services: ConsoleServices,
  {
    frame: address,
    camera,
  }: {
    readonly frame?: { readonly id: string; readonly run?: string | undefined } | undefined;
    readonly camera?: string | undefined;
  },
): Promise<AskedFrame> {
  const { frames, signal } = services;
  if (address === undefined) {
    const feed = requireFeed(services, camera);
    const frame = await feed.latestFrame({ signal });
    return { frame, camera: feed.id, notices: feed.noticesFor(frame) };
  }
  const found = await frames.frame({ ...address, camera });
  if (found === undefined)
    throw new HttpError(404, 'FRAME_UNKNOWN', 'This picture is not kept any more; ask about the newest one.');
  const notices = found.isExact
    ? []
    : ['Asked about the stored JPEG of this frame: its pixels are no longer in memory.'];
  return { frame: found.frame, camera, notices };
}
