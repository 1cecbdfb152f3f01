/** Pieces that the self- and the cross-attention layers of the text decoder share. */
import { type GraphBuilder, MICROSOFT, type Value } from './builder.js';
import type { Weights } from './weights.js';

export function rmsNorm(b: GraphBuilder, w: Weights, x: Value, weight: string, epsilon: number): Value {
  return b.node('SimplifiedLayerNormalization', [x, w.float(b, weight)], {
    attributes: { axis: -1, epsilon: { float: epsilon } },
  });
}

/** The residual stream: additions wait until the next norm, so that both become one operator. */
export class Residual {
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

  /** RMSNorm of the sum so far. */
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

  /** The sum so far, for inspection. */
  value(): Value {
    this.#flush();
    return this.#sum;
  }

  #flush(): void {
    if (this.#pending !== undefined) this.#sum = this.#b.add(this.#sum, this.#pending);
    this.#pending = undefined;
  }
}

/** `down(silu(gate(x)) · up(x))`: `[R, hidden]`. */
export function gatedMlp(b: GraphBuilder, w: Weights, x: Value, prefix: string): Value {
  // QuickGelu with alpha 1 is SiLU: x · sigmoid(x).
  const gate = b.node('QuickGelu', [w.linear(b, x, `${prefix}.gate_proj`)], {
    domain: MICROSOFT,
    attributes: { alpha: { float: 1 } },
  });
  return w.linear(b, b.mul(gate, w.linear(b, x, `${prefix}.up_proj`)), `${prefix}.down_proj`);
}
