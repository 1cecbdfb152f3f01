/** ONNX Runtime for calibration: sessions that end, tensors by type. Calls block, as the rest of a quantiser does. */
import { SdkError } from '#sdk/core/errors.js';

type Ort = typeof import('onnxruntime-node');
export type Tensor = import('onnxruntime-node').Tensor;
export type Feeds = Record<string, Tensor>;

export interface FloatTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

export interface Session extends AsyncDisposable {
  run(feeds: Feeds): Promise<Record<string, FloatTensor>>;
}

export class Runtime {
  readonly #ort: Ort;
  readonly threads: number;

  private constructor(ort: Ort, threads: number) {
    this.#ort = ort;
    this.threads = threads;
  }

  /** @throws SdkError ERR_NATIVE_UNAVAILABLE */
  static async load(threads: number): Promise<Runtime> {
    try {
      return new Runtime((await import('onnxruntime-node')).default as unknown as Ort, threads);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new SdkError('ERR_NATIVE_UNAVAILABLE', `Expected onnxruntime-node to load for calibration: ${reason}.`, {
        cause,
      });
    }
  }

  /** @throws SdkError ERR_ENGINE_FAILED */
  async open(graph: Uint8Array, weightsRoot?: string): Promise<Session> {
    const folder = weightsRoot === undefined ? {} : { model_external_initializers_file_folder_path: weightsRoot };
    const session = await failing(
      this.#ort.InferenceSession.create(graph, {
        executionProviders: ['cpu'],
        executionMode: 'sequential',
        intraOpNumThreads: this.threads,
        interOpNumThreads: 1,
        logSeverityLevel: 4,
        // What a run held is given back at its end. Otherwise sizes seen before, and plans for them, stay and add up.
        enableCpuMemArena: false,
        enableMemPattern: false,
        // Calibration runs beside other work for long: threads without work sleep.
        extra: { session: { ...folder, intra_op: { allow_spinning: '0' } } },
      }),
    );
    return {
      run: async (feeds) => (await failing(session.run(feeds))) as unknown as Record<string, FloatTensor>,
      [Symbol.asyncDispose]: () => session.release(),
    };
  }

  float(data: Float32Array, dims: readonly number[]): Tensor {
    return new this.#ort.Tensor('float32', data, dims);
  }

  /** `[values.length]`. */
  int64(values: readonly number[]): Tensor {
    return new this.#ort.Tensor('int64', BigInt64Array.from(values, BigInt), [values.length]);
  }

  int32(values: readonly number[], dims: readonly number[]): Tensor {
    return new this.#ort.Tensor('int32', Int32Array.from(values), dims);
  }
}

async function failing<T>(work: Promise<T>): Promise<T> {
  return work.catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SdkError('ERR_ENGINE_FAILED', `Calibration failed in ONNX Runtime: ${reason}`, { cause });
  });
}
