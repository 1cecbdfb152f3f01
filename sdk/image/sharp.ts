/** The sole importer of sharp. */
import type { Sharp, SharpOptions } from 'sharp';
import { SdkError } from '../core/errors.js';

/**
 * libvips reads some thirty formats, several of them by other people's programs (SVG, PDF, ImageMagick's). Strangers'
 * bytes reach these few decoders only.
 */
const LOADERS = ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Tiff', 'Heif'].map((name) => `VipsForeignLoad${name}`);

type OpenSharp = (input: Uint8Array, options: SharpOptions) => Sharp;
let openSharp: Promise<OpenSharp> | undefined;

/** Loaded on first use: programs that only look at cameras never pay for it. */
export function loadSharp(): Promise<OpenSharp> {
  openSharp ??= import('sharp').then(
    ({ default: sharp }) => {
      sharp.block({ operation: ['VipsForeignLoad'] });
      sharp.unblock({ operation: LOADERS });
      return sharp;
    },
    (cause: unknown) => {
      openSharp = undefined;
      throw new SdkError(
        'ERR_NATIVE_UNAVAILABLE',
        `The image library sharp cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}. Install the packages again on this machine (npm ci, without --omit=optional).`,
        { cause },
      );
    },
  );
  return openSharp;
}
