/** The sole importer of sharp. */
import type { Sharp, SharpOptions } from 'sharp';
import { SdkError } from '../core/errors.js';

/**
 * libvips reads some thirty formats, several of them by other people's programs (SVG, PDF, ImageMagick's). Strangers'
 * bytes reach these few decoders only.
 */
const LOADERS = ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Tiff', 'Heif'];
const WEB_LOADERS = LOADERS.slice(0, 3);

type OpenSharp = (input: Uint8Array, options: SharpOptions) => Sharp;
let openSharp: Promise<OpenSharp> | undefined;
let onlyWebPictures = false;

/**
 * From now on this process decodes JPEG, PNG and WebP and nothing else, whatever asks for it: for programs that take
 * pictures from a network. It cannot be undone. Cameras, and folders of pictures as cameras, are read in a process of
 * their own, which goes on reading all formats.
 */
export function decodeOnlyWebPictures(): void {
  onlyWebPictures = true;
  // Whoever loads it next blocks the others; nothing is decoded without loading it.
  openSharp = undefined;
}

/** Whether `decodeOnlyWebPictures` was called. */
export function decodesOnlyWebPictures(): boolean {
  return onlyWebPictures;
}

/** Loaded on first use: programs that only look at cameras never pay for it. */
export function loadSharp(): Promise<OpenSharp> {
  openSharp ??= import('sharp').then(
    ({ default: sharp }) => {
      sharp.block({ operation: ['VipsForeignLoad'] });
      const loaders = onlyWebPictures ? WEB_LOADERS : LOADERS;
      sharp.unblock({ operation: loaders.map((name) => `VipsForeignLoad${name}`) });
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
