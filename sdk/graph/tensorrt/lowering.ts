/** What the graphs of the TensorRT lowering share: typed values, weights, functions. */
import type { ModelDescription } from '../../architecture/architecture.js';
import type { Value } from '../builder.js';
import { FUNCTION_OPERATOR_SETS, SCENEBUS } from '../function-builder.js';
import type { AttributeValue, FunctionProto } from '../onnx.js';
import type { ShapedGraph } from '../shape-check.js';
import { TypedBuilder } from '../typed-builder.js';
import { ExternalFiles } from '../weights.js';
import { INT4_MATMUL, int4MatMul } from './functions.js';
import type { LoweredType, LoweringOptions } from './options.js';
import { LoweredWeights } from './weights.js';

/** Products in a type of 16 bits, all sums between them, norms and softmaxes in float32. */
export class Lowering {
  readonly b: TypedBuilder;
  readonly type: LoweredType;
  protected readonly weights: LoweredWeights;
  readonly #model: ModelDescription;
  readonly #files: ExternalFiles;
  readonly #functions = new Map<string, FunctionProto>();

  constructor(name: string, model: ModelDescription, options: LoweringOptions, type: LoweredType) {
    this.b = new TypedBuilder(name);
    this.type = type;
    this.weights = new LoweredWeights(model, options);
    this.#model = model;
    this.#files = new ExternalFiles(options.weightsRoot);
  }

  /** `x [tokens, in]` times the weight `[out, in]` of `name`, plus its bias if there is one, in the type of products. */
  linear(x: Value, name: string, bias = false): Value {
    const { b, type } = this;
    const half = b.as(x, type);
    const packed = this.weights.packed(name);
    if (packed?.bits === 4) {
      const { K, N, group } = packed;
      const inputs = [half, this.stored(`${name}.weight_int4`), this.stored(`${name}.weight_scale_transposed`)];
      return this.call(INT4_MATMUL, () => int4MatMul(type), inputs, [INT4_MATMUL], { K, N, group })[0]!;
    }
    const inputs = [half, b.as(this.stored(`${name}.weight`), type)];
    if (bias) inputs.push(b.as(this.stored(`${name}.bias`), type));
    return b.node('Gemm', inputs, { attributes: { transB: 1 } });
  }

  rmsNorm(x: Value, weight: string): Value {
    const { b } = this;
    const wide = b.as(x, 'float32');
    const mean = b.node('ReduceMean', [b.mul(wide, wide), b.ints([-1])]);
    const epsilon = b.scalar(this.#model.architecture.text.rmsNormEps);
    return b.mul(b.node('Div', [wide, b.node('Sqrt', [b.add(mean, epsilon)])]), this.float(weight));
  }

  /** A tensor as it is stored; `shape` when the graph wants another view of the same bytes. */
  stored(name: string, shape?: readonly number[]): Value {
    const weight = this.weights.locate(name);
    return this.b.initializer(name, weight.type, shape ?? weight.shape, this.#files.locate(weight));
  }

  float(name: string): Value {
    return this.b.as(this.stored(name), 'float32');
  }

  /** tanh of a gate `[1]`. */
  gate(name: string): Value {
    return this.b.node('Tanh', [this.float(name)]);
  }

  add(x: Value, y: Value): Value {
    return this.b.add(this.b.as(x, 'float32'), this.b.as(y, 'float32'));
  }

  mul(x: Value, y: Value): Value {
    return this.b.mul(this.b.as(x, 'float32'), this.b.as(y, 'float32'));
  }

  /** A node of our own domain; `body` once per graph. `names`: see `NodeOptions`. */
  protected call(
    name: string,
    body: () => FunctionProto,
    inputs: readonly Value[],
    outputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>>,
    names: readonly (Value | undefined)[] = [],
  ): Value[] {
    if (!this.#functions.has(name)) this.#functions.set(name, body());
    return this.b.multiNode(name, inputs, outputs, { domain: SCENEBUS.domain, attributes, names });
  }

  /** As the shape checker reads it. */
  get shapes(): ShapedGraph {
    const { nodes, inputs, outputs, initializers } = this.b;
    return { nodes, inputs, outputs, initializers, functions: this.#functions };
  }

  encode(): Uint8Array {
    return this.b.encode({ operatorSets: FUNCTION_OPERATOR_SETS, functions: [...this.#functions.values()] });
  }
}
