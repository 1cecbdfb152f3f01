/**
 * Builds one ONNX graph. Values are names; every node gets a name of its own from its place in the model, so that
 * a profile or an error of the runtime can be read.
 */

import type { FunctionProto, Initializer, NodeProto, OperatorSet, TensorData, ValueInfo } from './onnx.js';
import { type AttributeValue, type Dimension, type ElementType, encodeModel, type GraphProto } from './onnx.js';

/** Name of a value in the graph. */
export type Value = string;

/** Contributed operators of ONNX Runtime. */
export const MICROSOFT = 'com.microsoft';
export const STANDARD: OperatorSet = { domain: '', version: 21 };
const OPERATOR_SETS: readonly OperatorSet[] = [STANDARD, { domain: MICROSOFT, version: 1 }];
const PRODUCER = 'scenebus';

export interface NodeOptions {
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  /** Names of the outputs in place of made ones: outputs of the graph that no node may stand before. */
  readonly names?: readonly (Value | undefined)[];
}

export interface EncodeOptions {
  readonly operatorSets?: readonly OperatorSet[];
  readonly functions?: readonly FunctionProto[];
}

export class GraphBuilder {
  readonly #name: string;
  readonly #nodes: NodeProto[] = [];
  readonly #initializers = new Map<string, Initializer>();
  readonly #inputs: ValueInfo[] = [];
  readonly #outputs: ValueInfo[] = [];
  readonly #uses = new Map<string, number>();
  #scope = '';

  constructor(name: string) {
    this.#name = name;
  }

  /** Names of nodes and values made inside `build` begin with `scope/`. */
  within<T>(scope: string, build: () => T): T {
    const outer = this.#scope;
    this.#scope = `${outer}${scope}/`;
    try {
      return build();
    } finally {
      this.#scope = outer;
    }
  }

  input(name: string, type: ElementType, shape: readonly Dimension[]): Value {
    this.#inputs.push({ name, type, shape });
    return name;
  }

  /** Gives `value` a public name. */
  output(value: Value, name: string, type: ElementType, shape: readonly Dimension[]): void {
    this.#nodes.push({ opType: 'Identity', domain: '', name, inputs: [value], outputs: [name], attributes: {} });
    this.declareOutput(name, type, shape);
  }

  /** A value that a node made under its public name. */
  declareOutput(name: Value, type: ElementType, shape: readonly Dimension[]): void {
    this.#outputs.push({ name, type, shape });
  }

  /** A tensor under a global name; asking again for the same name gives the same tensor. */
  initializer(name: string, type: ElementType, shape: readonly number[], data: TensorData): Value {
    if (!this.#initializers.has(name)) this.#initializers.set(name, { name, type, shape, data });
    return name;
  }

  hasInitializer(name: string): boolean {
    return this.#initializers.has(name);
  }

  ints(values: readonly number[]): Value {
    const bytes = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    return this.initializer(`int64:${values.join(',')}`, 'int64', [values.length], { kind: 'inline', bytes });
  }

  scalar(value: number): Value {
    const bytes = new Uint8Array(Float32Array.of(value).buffer);
    return this.initializer(`float32:${value}`, 'float32', [], { kind: 'inline', bytes });
  }

  node(opType: string, inputs: readonly Value[], options: NodeOptions = {}): Value {
    return this.multiNode(opType, inputs, [opType], options)[0]!;
  }

  /** A node with several outputs; an empty name in `outputs` leaves that output out. */
  multiNode(opType: string, inputs: readonly Value[], outputs: readonly string[], options: NodeOptions = {}): Value[] {
    const name = this.#unique(opType);
    const made = outputs.map((output, index) =>
      output === '' ? '' : outputs.length === 1 ? name : `${name}.${output}${index}`,
    );
    const values = made.map((value, index) => options.names?.[index] ?? value);
    this.#nodes.push({
      opType,
      domain: options.domain ?? '',
      name,
      inputs,
      outputs: values,
      attributes: options.attributes ?? {},
    });
    return values;
  }

  add(a: Value, b: Value): Value {
    return this.node('Add', [a, b]);
  }

  mul(a: Value, b: Value): Value {
    return this.node('Mul', [a, b]);
  }

  /** 0 keeps a dimension, -1 takes what is left. */
  reshape(x: Value, shape: readonly number[]): Value {
    return this.node('Reshape', [x, this.ints(shape)]);
  }

  transpose(x: Value, perm: readonly number[]): Value {
    return this.node('Transpose', [x], { attributes: { perm } });
  }

  concat(values: readonly Value[], axis: number): Value {
    return this.node('Concat', values, { attributes: { axis } });
  }

  gather(x: Value, indices: Value, axis = 0): Value {
    return this.node('Gather', [x, indices], { attributes: { axis } });
  }

  /** `start` and `end` are int64 [1]. */
  slice(x: Value, start: Value, end: Value, axis: number): Value {
    return this.node('Slice', [x, start, end, this.ints([axis])]);
  }

  /** The size of one dimension, int64 `[1]`. */
  dimension(x: Value, axis: number): Value {
    return this.node('Shape', [x], { attributes: { start: axis, end: axis + 1 } });
  }

  /** What was built so far. */
  get nodes(): readonly NodeProto[] {
    return this.#nodes;
  }

  get initializers(): ReadonlyMap<string, Initializer> {
    return this.#initializers;
  }

  get inputs(): readonly ValueInfo[] {
    return this.#inputs;
  }

  get outputs(): readonly ValueInfo[] {
    return this.#outputs;
  }

  encode({ operatorSets = OPERATOR_SETS, functions = [] }: EncodeOptions = {}): Uint8Array {
    const graph: GraphProto = {
      name: this.#name,
      nodes: this.#nodes,
      initializers: [...this.#initializers.values()],
      inputs: this.#inputs,
      outputs: this.#outputs,
    };
    return encodeModel(graph, operatorSets, PRODUCER, functions);
  }

  #unique(base: string): string {
    const scoped = `${this.#scope}${base}`;
    const uses = this.#uses.get(scoped) ?? 0;
    this.#uses.set(scoped, uses + 1);
    return uses === 0 ? scoped : `${scoped}_${uses}`;
  }
}
