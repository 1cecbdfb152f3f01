/** When a lost camera is opened again, and after how long. */
import type { SdkError } from '../core/errors.js';
import type { CameraKind } from './camera.js';
import { type CameraSettings, type ReopenSettings, reopenSchema } from './options.js';

export interface LossFacts {
  readonly kind: CameraKind;
  readonly loop: boolean;
  /** Whether this camera has ever given a frame. */
  readonly everStreamed: boolean;
}

/** The settings when a loss of this kind is worth another attempt, else undefined. */
export function reopenSettings(
  settings: CameraSettings,
  facts: LossFacts,
  error: SdkError,
): ReopenSettings | undefined {
  if (settings.reopen === false || !isWorthIt(facts, error)) return undefined;
  return settings.reopen === true ? reopenSchema.parse({}) : settings.reopen;
}

function isWorthIt({ kind, loop, everStreamed }: LossFacts, error: SdkError): boolean {
  const isFile = kind === 'file' || kind === 'images';
  switch (error.code) {
    case 'ERR_NATIVE_UNAVAILABLE':
    case 'ERR_CAPTURE_ADDRESS_INVALID':
    case 'ERR_CAPTURE_ENDED':
    case 'ERR_LIMIT_EXCEEDED':
      return false;
    case 'ERR_CAPTURE_HOST_DIED':
    case 'ERR_CAPTURE_TIMEOUT':
    case 'ERR_CAPTURE_STALLED':
      // A clip that loops stands in for a camera; one that is read once would start again from its beginning.
      return !isFile || loop;
    case 'ERR_CAPTURE_UNSUPPORTED':
      // What this machine lacks does not come by waiting. But network cameras answer oddly while they start, for minutes
      // some of them, and others do so when they come back.
      return error.details.isLacking !== true && !isFile && (everStreamed || kind === 'rtsp' || kind === 'http');
    default:
      return !isFile;
  }
}

/** Wrong passwords: cameras lock an account after a handful. */
const REFUSED_LOGIN_MS = 60_000;

/**
 * A quarter of the time that the camera has been away: soon at first, so that a short outage stays short, and seldom
 * later. ±25 % so that many cameras do not knock together.
 */
export function reopenDelayMs(
  settings: ReopenSettings,
  awayMs: number,
  error?: SdkError,
  random: () => number = Math.random,
): number {
  const status = error?.details.status;
  const least =
    status === 401 || status === 403 ? Math.max(REFUSED_LOGIN_MS, settings.initialDelayMs) : settings.initialDelayMs;
  const pause = Math.max(least, Math.min(settings.maximumDelayMs, awayMs / 4));
  return Math.round(pause * (0.75 + 0.5 * random()));
}
