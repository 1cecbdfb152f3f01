/** The two products that the search spends its time in, on ONNX Runtime. */
import { GraphBuilder } from '#sdk/graph/index.js';
import type { Runtime, Session } from './runtime.js';

export class SearchKernels implements AsyncDisposable {
  readonly #runtime: Runtime;
  readonly #energy: Session;
  readonly #losses: Session;

  private constructor(runtime: Runtime, energy: Session, losses: Session) {
    this.#runtime = runtime;
    this.#energy = energy;
    this.#losses = losses;
  }

  static async open(runtime: Runtime): Promise<SearchKernels> {
    return new SearchKernels(runtime, await runtime.open(energyGraph()), await runtime.open(lossesGraph()));
  }

  /** Σ (x · dᵀ)² over `x [n, K]` and `d [rows, K]`. */
  async energy(x: Float32Array, d: Float32Array, columns: number): Promise<number> {
    const matrix = (data: Float32Array) => this.#runtime.float(data, [data.length / columns, columns]);
    return (await this.#energy.run({ x: matrix(x), d: matrix(d) })).sum!.data[0]!;
  }

  /** dᵀ·H·d of each row in each group: `d [groups, rows, size]`, `H [groups, size, size]` → `[groups, rows]`. */
  async groupLosses(d: Float32Array, gram: Float32Array, groups: number, size: number): Promise<Float32Array> {
    const shape = [groups, d.length / groups / size, size];
    const feeds = { d: this.#runtime.float(d, shape), gram: this.#runtime.float(gram, [groups, size, size]) };
    return (await this.#losses.run(feeds)).losses!.data;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#energy[Symbol.asyncDispose]();
    await this.#losses[Symbol.asyncDispose]();
  }
}

function energyGraph(): Uint8Array {
  const b = new GraphBuilder('energy');
  const x = b.input('x', 'float32', ['n', 'K']);
  const d = b.input('d', 'float32', ['rows', 'K']);
  const y = b.node('Gemm', [x, d], { attributes: { transB: 1 } });
  b.output(b.node('ReduceSumSquare', [y], { attributes: { keepdims: 0 } }), 'sum', 'float32', []);
  return b.encode();
}

function lossesGraph(): Uint8Array {
  const b = new GraphBuilder('group_losses');
  const d = b.input('d', 'float32', ['groups', 'rows', 'size']);
  const gram = b.input('gram', 'float32', ['groups', 'size', 'size']);
  const products = b.mul(b.node('MatMul', [d, gram]), d);
  const sums = b.node('ReduceSum', [products, b.ints([2])], { attributes: { keepdims: 0 } });
  b.output(sums, 'losses', 'float32', ['groups', 'rows']);
  return b.encode();
}
