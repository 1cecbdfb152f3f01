/** An engine whose intermediate tensors are kept, for comparison. */
import type { Checkpoint } from '#sdk/checkpoint/index.js';
import type { Engine, Numerics } from '#sdk/engine/engine.js';
import { type OpenEngine, openOnnxEngine } from '#sdk/engine/index.js';
import type { ProcessedImage } from '#sdk/image/processed-image.js';

export interface ReferenceEngineOptions {
  readonly numerics: Numerics;
  readonly contextLength: number;
  /** Another backend; intermediate tensors are then not seen. */
  readonly openEngine?: OpenEngine | undefined;
  readonly threads?: number | undefined;
  readonly cacheDirectory?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export class ReferenceEngine implements AsyncDisposable {
  readonly engine: Engine;
  readonly #parts: Map<string, Float32Array[]>;

  private constructor(engine: Engine, parts: Map<string, Float32Array[]>) {
    this.engine = engine;
    this.#parts = parts;
  }

  static async open(checkpoint: Checkpoint, options: ReferenceEngineOptions): Promise<ReferenceEngine> {
    const { openEngine, ...engineOptions } = options;
    const parts = new Map<string, Float32Array[]>();
    const onTensor = (name: string, data: Float32Array) => {
      const before = parts.get(name) ?? [];
      before.push(data);
      parts.set(name, before);
    };
    const engine = await (openEngine === undefined
      ? openOnnxEngine(checkpoint, { ...engineOptions, accuracyLevel: 1, onTensor })
      : openEngine(checkpoint, engineOptions));
    return new ReferenceEngine(engine, parts);
  }

  /** The tensors of everything computed since the last call; steps of a long prompt are joined. */
  takeTensors(): Map<string, Float32Array> {
    const joined = new Map<string, Float32Array>();
    for (const [name, parts] of this.#parts) {
      const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
      let offset = 0;
      for (const part of parts) {
        whole.set(part, offset);
        offset += part.length;
      }
      joined.set(name, whole);
    }
    this.#parts.clear();
    return joined;
  }

  encode(image: Omit<ProcessedImage, 'geometry'>, signal: AbortSignal | undefined) {
    // Boxes are not mapped here: the geometry is not looked at by engines.
    const none = {
      sourceWidth: 0,
      sourceHeight: 0,
      resizedWidth: 0,
      resizedHeight: 0,
      canvasWidth: 0,
      canvasHeight: 0,
    };
    return this.engine.encodeImage({ ...image, geometry: { ...none, tileSize: 0 } }, { signal });
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.engine[Symbol.asyncDispose]();
  }
}
