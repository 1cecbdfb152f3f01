/** Output of the image processor for one image. */
export interface ProcessedImage {
  /** `[maxTiles, 3, tileSize, tileSize]` float32; slots that are not used hold 0. */
  readonly pixelValues: Float32Array;
  /** 1-based index into the supported arrangements; 0 = no image. */
  readonly aspectRatioId: number;
  /** Used slots: the first `numTiles` of `maxTiles`. */
  readonly numTiles: number;
  readonly geometry: ImageGeometry;
}

/** How source pixels were laid on the canvas; maps boxes back. All in pixels. */
export interface ImageGeometry {
  readonly sourceWidth: number;
  readonly sourceHeight: number;
  /** Size after the resize; the picture sits at the canvas's top left, the rest is padding. */
  readonly resizedWidth: number;
  readonly resizedHeight: number;
  readonly canvasWidth: number;
  readonly canvasHeight: number;
  readonly tileSize: number;
}
