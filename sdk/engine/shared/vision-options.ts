import { SdkError } from '../../core/errors.js';
import type { OpenEngineOptions } from '../options.js';

export interface VisionChoice {
  readonly tokens: 'auto' | 'full';
  readonly precision: 'float' | 'int8';
}

const TOKENS: readonly unknown[] = ['auto', 'full'];
const PRECISIONS: readonly unknown[] = ['float', 'int8'];

/** @throws SdkError ERR_ARGUMENT_INVALID for what is neither a word nor an object of the known settings */
export function visionChoice(vision: OpenEngineOptions['vision']): VisionChoice {
  const given = typeof vision === 'object' && vision !== null ? vision : { tokens: vision };
  const { tokens = 'auto', precision = 'float', ...unknown } = given;
  if (TOKENS.includes(tokens) && PRECISIONS.includes(precision) && Object.keys(unknown).length === 0)
    return { tokens, precision };
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `Expected vision as auto, full or { tokens: auto | full, precision: float | int8 } but received ${JSON.stringify(vision)}.`,
    { details: { option: 'vision' } },
  );
}

/** Of backends that have no kernels of their own for pictures. */
export function requireFloatVision(vision: OpenEngineOptions['vision'], backend: string): void {
  if (visionChoice(vision).precision === 'float') return;
  throw new SdkError(
    'ERR_ARGUMENT_INVALID',
    `The ${backend} backend has no int8 vision tower; choose the cpu backend, or vision precision float.`,
    { details: { option: 'vision' } },
  );
}
