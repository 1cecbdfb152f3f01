import type { PixelFormat } from './types.js';

/** 8-bit pixels, row-major, 3 bytes a pixel, no row padding: `[height, width, 3]`. A `Frame` is one. */
export interface PixelImage {
  readonly width: number;
  readonly height: number;
  readonly format: PixelFormat;
  readonly data: Uint8Array;
}

/** What the image processor does to a picture: `preprocessor_config.json`, checked against `config.json`. */
export interface ImageProcessorConfig {
  /** Side of a square tile in pixels. */
  readonly tileSize: number;
  readonly maxTiles: number;
  /** Pairs [tiles high, tiles wide]; the aspect ratio id is index + 1. */
  readonly supportedAspectRatios: readonly (readonly [number, number])[];
  /** Bytes are multiplied by this (1/255), then normalised per channel. */
  readonly rescaleFactor: number;
  /** R, G, B. */
  readonly mean: readonly [number, number, number];
  /** R, G, B. */
  readonly std: readonly [number, number, number];
}
