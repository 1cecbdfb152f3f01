/** What `scenebus_lens.node` exports (native/addon/lens). */
import type { DistortionModel } from '#sdk/geometry/lens.js';

/** See native/lens/board.h. */
export interface NativeBoard {
  readonly isCharuco: boolean;
  /** Squares. */
  readonly columns: number;
  readonly rows: number;
  readonly squareSize: number;
  readonly markerSize?: number | undefined;
  readonly dictionary?: string | undefined;
}

export type NativeLayout = 'current' | 'legacy';

/** Corners by their numbers on the board, and where they were seen: `points` holds x and y of each, pixels. */
export interface NativeView {
  readonly corners: Int32Array;
  readonly points: Float64Array;
}

export interface NativeSeenBoard extends NativeView {
  readonly layout: NativeLayout;
  readonly markers: number;
  readonly edgeWidthPixels: number;
}

export interface NativeLens {
  /** fx, fy, cx, cy in pixels, and their standard deviations. */
  readonly matrix: readonly number[];
  readonly sigma: readonly number[];
  readonly distortion: readonly number[];
  readonly rmsPixels: number;
  readonly viewRmsPixels: readonly number[];
  readonly tiltDegrees: readonly number[];
}

declare module '#sdk/native/addon-types.js' {
  interface LensAddon {
    /** The pixels must not change until the promise settles. Without a layout it is found out. */
    findBoard(
      pixels: Uint8Array,
      picture: { readonly width: number; readonly height: number; readonly bgr: boolean },
      board: NativeBoard,
      layout: NativeLayout | undefined,
    ): Promise<NativeSeenBoard>;
    solveLens(
      board: NativeBoard,
      views: readonly NativeView[],
      picture: { readonly width: number; readonly height: number },
      model: DistortionModel,
    ): Promise<NativeLens>;
    /** 8-bit grey. */
    drawBoard(
      board: NativeBoard,
      layout: NativeLayout,
      squarePixels: number,
    ): { readonly width: number; readonly height: number; readonly grey: Uint8Array };
  }
}
