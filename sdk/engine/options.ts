import type { ModelDescription } from '../architecture/architecture.js';
import type { Logger, OnProgress } from '../core/logger.js';
import type { CallOptions } from '../core/types.js';
import type { Engine, Numerics } from './engine.js';

/** What an engine needs of a checkpoint; `openCheckpoint` gives more. */
export interface EngineCheckpoint {
  readonly directory: string;
  readonly name: string;
  readonly model: ModelDescription;
  /** Changes whenever the weights or the configuration change. The key of prepared caches. */
  contentHash(): Promise<string>;
}

/** Options that every backend's open function takes. */
export interface OpenEngineOptions extends CallOptions {
  /** Default `meta`. */
  readonly numerics?: Numerics | undefined;
  /** Tokens of one sequence. Default: the smaller of 4096 and what the model was made for. */
  readonly contextLength?: number | undefined;
  /** Default: the number of physical cores. */
  readonly threads?: number | undefined;
  /**
   * How pictures are encoded; one word stands for `{ tokens }`.
   * `tokens`: `auto` (default): tokens of the vision tower that are copies of each other are computed once, where the
   * checkpoint allows it; the same features up to rounding. `full`: every token, always.
   * `precision`: `float` (default): ONNX Runtime in float32, or the plans of TensorRT. `int8`: own kernels, with a quarter
   * of the memory; features differ by some percent. Only of the cpu backend.
   */
  readonly vision?:
    | 'auto'
    | 'full'
    | { readonly tokens?: 'auto' | 'full' | undefined; readonly precision?: 'float' | 'int8' | undefined }
    | undefined;
  /**
   * Whether slices may ask for attention weights (`capabilities.attentionTaps`). `cpu` and `onnx` always give them;
   * `tensorrt` builds its decoder for it when this is true, with plans of their own. Default false.
   */
  readonly attentionTaps?: boolean | undefined;
  /** Where prepared files are kept. Default `$XDG_CACHE_HOME/scenebus`, `~/.cache/scenebus`. */
  readonly cacheDirectory?: string | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly logger?: Logger | undefined;
}

/** `openOnnxEngine` and `openCpuEngine` have this shape. */
export type OpenEngine = (checkpoint: EngineCheckpoint, options?: OpenEngineOptions) => Promise<Engine>;
