/** Pieces of the text decoder in operators of ONNX Runtime. */
import { type GraphBuilder, MICROSOFT, type Value } from './builder.js';
import type { ResidualStream } from './decoder-layers.js';
import type { Weights } from './weights.js';

export function rmsNorm(b: GraphBuilder, w: Weights, x: Value, weight: string, epsilon: number): Value {
  return b.node('SimplifiedLayerNormalization', [x, w.float(b, weight)], {
    attributes: { axis: -1, epsilon: { float: epsilon } },
  });
}

/** The residual stream: additions wait until the next norm, so that both become one operator. */
export class Residual implements ResidualStream {
  readonly #b: GraphBuilder;
  readonly #w: Weights;
  readonly #epsilon: number;
  #sum: Value;
  #pending: Value | undefined;

  constructor(b: GraphBuilder, w: Weights, epsilon: number, start: Value) {
    this.#b = b;
    this.#w = w;
    this.#epsilon = epsilon;
    this.#sum = start;
  }

  add(delta: Value): void {
    this.#flush();
    this.#pending = delta;
  }

  norm(weight: string): Value {
    if (this.#pending === undefined) return rmsNorm(this.#b, this.#w, this.#sum, weight, this.#epsilon);
    const inputs = [this.#sum, this.#pending, this.#w.float(this.#b, weight)];
    const [normed, , , sum] = this.#b.multiNode('SkipSimplifiedLayerNormalization', inputs, ['y', '', '', 'sum'], {
      domain: MICROSOFT,
      attributes: { epsilon: { float: this.#epsilon } },
    });
    this.#sum = sum!;
    this.#pending = undefined;
    return normed!;
  }

  value(): Value {
    this.#flush();
    return this.#sum;
  }

  #flush(): void {
    if (this.#pending !== undefined) this.#sum = this.#b.add(this.#sum, this.#pending);
    this.#pending = undefined;
  }
}
