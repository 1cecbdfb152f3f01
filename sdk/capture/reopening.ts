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
  switch (error.code) {
    case 'ERR_NATIVE_UNAVAILABLE':
    case 'ERR_CAPTURE_ADDRESS_INVALID':
    case 'ERR_CAPTURE_ENDED':
    case 'ERR_LIMIT_EXCEEDED':
      return false;
    case 'ERR_CAPTURE_HOST_DIED':
    case 'ERR_CAPTURE_TIMEOUT':
      // A clip that loops stands in for a camera; one that is read once would start again from its beginning.
      return (kind !== 'file' && kind !== 'images') || loop;
    case 'ERR_CAPTURE_UNSUPPORTED':
      // A camera that worked before answers oddly while it restarts.
      return everStreamed && kind !== 'file' && kind !== 'images';
    default:
      return kind !== 'file' && kind !== 'images';
  }
}

/** Doubles from the first to the longest pause, ±25 % so that many cameras do not knock together. `attempt` from 1. */
export function reopenDelayMs(settings: ReopenSettings, attempt: number, random: () => number = Math.random): number {
  const pause = Math.min(settings.maximumDelayMs, settings.initialDelayMs * 2 ** Math.min(attempt - 1, 30));
  return Math.round(pause * (0.75 + 0.5 * random()));
}
