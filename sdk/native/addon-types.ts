/**
 * Everything that the addons export, typed in one place. Nothing here checks arguments for humans: the SDK modules
 * around it do. The addons throw TypeError or Error on misuse and never let a C++ exception through.
 */

/** `native/addon/engine/mappedFileBindings.cpp` */
export interface NativeMappedFile {
  /** The mapped range; detached (length 0) after `unmap`. Writing to it changes private pages, never the file. */
  readonly bytes: ArrayBuffer;
  /** Idempotent. */
  unmap(): void;
}

export interface NativeProcessorOptions {
  readonly width: number;
  readonly height: number;
  readonly bgr: boolean;
  readonly tileSize: number;
  readonly maxTiles: number;
  /** `[rows0, cols0, rows1, cols1, …]` */
  readonly aspectRatios: Int32Array;
  readonly rescaleFactor: number;
  readonly mean: Float64Array;
  readonly std: Float64Array;
  /** Also return the canvas bytes cut into tiles, `[numTiles, 3, tileSize, tileSize]`; for tests and tools. */
  readonly wantTileBytes: boolean;
}

export interface NativeProcessedImage {
  readonly pixelValues: Float32Array;
  readonly tileBytes?: Uint8Array;
  readonly aspectRatioId: number;
  readonly numTiles: number;
  readonly resizedWidth: number;
  readonly resizedHeight: number;
  readonly canvasWidth: number;
  readonly canvasHeight: number;
}

export interface NativeDifference {
  /** Mean absolute difference of grey levels, 0–255. */
  readonly mean: number;
  /** Largest mean absolute difference of a block, 0–255. */
  readonly maxBlock: number;
}

/** `scenebus_engine.node`. The CPU engine adds its own members by declaration merging (sdk/engine/cpu). */
export interface EngineAddon {
  /** `sizeBytes` < 0: to the end of the file. */
  mapFile(path: string, offsetBytes: number, sizeBytes: number): NativeMappedFile;
  /** The pixels must not change until the promise settles; the addon holds a reference. */
  processImage(pixels: Uint8Array, options: NativeProcessorOptions): Promise<NativeProcessedImage>;
  /** `[gridHeight, gridWidth]` mean grey levels of the cells. Synchronous: well below a millisecond at 1080p. */
  greyThumbnail(
    pixels: Uint8Array,
    width: number,
    height: number,
    bgr: boolean,
    gridWidth: number,
    gridHeight: number,
  ): Uint8Array;
  compareThumbnails(
    a: Uint8Array,
    b: Uint8Array,
    gridWidth: number,
    gridHeight: number,
    blockSize: number,
  ): NativeDifference;

  // `native/addon/engine/processBindings.cpp`

  /** File descriptor of an empty memory file without a name; inherited only by children that are given it. */
  createSharedMemory(): number;
  /** Gives a range of pages back to the system; they read as zeros then. */
  releaseSharedMemory(descriptor: number, offsetBytes: number, sizeBytes: number): void;
  /** This process is killed when the thread that started it ends. */
  dieWithParent(): void;
  /** One message to a Unix datagram socket; `@` begins an abstract address. Never waits. Throws what the system says. */
  sendDatagram(address: string, message: string): void;
}

/** `scenebus_capture.node`. The capture part adds its members by declaration merging (sdk/capture). */
// biome-ignore lint/suspicious/noEmptyInterface: filled by declaration merging
export interface CaptureAddon {}

/** `scenebus_lens.node`. Calibration of cameras adds its members by declaration merging (calibration/camera). */
// biome-ignore lint/suspicious/noEmptyInterface: filled by declaration merging
export interface LensAddon {}
