/**
 * A builder that knows the element type of every value and refuses what a strongly typed runtime would: operands of
 * different types. TensorRT would say so on the device; here it is said when the graph is written.
 */
import { GraphBuilder, type NodeOptions, type Value } from './builder.js';
import { type Dimension, ELEMENT_TYPES, type ElementType, type TensorData } from './onnx.js';

/** Which inputs must agree. Operators that are not named take what comes. */
const ALIKE: Readonly<Record<string, readonly number[]>> = {
  Add: [0, 1],
  Sub: [0, 1],
  Mul: [0, 1],
  Div: [0, 1],
  Greater: [0, 1],
  MatMul: [0, 1],
  Gemm: [0, 1, 2],
  LayerNormalization: [0, 1, 2],
  Where: [1, 2],
  ScatterND: [0, 2],
};

/** Where an output's type comes from, if not from the first input. */
function typeOfOutput(opType: string, inputs: readonly ElementType[], options: NodeOptions): ElementType {
  if (opType === 'Cast') {
    const found = Object.entries(ELEMENT_TYPES).find(([, code]) => code === options.attributes!.to);
    return found![0] as ElementType;
  }
  if (opType === 'Constant')
    return (options.attributes!.value as { readonly tensor: { type: ElementType } }).tensor.type;
  if (opType === 'Shape') return 'int64';
  if (opType === 'Greater') return 'bool';
  return inputs[opType === 'Where' || opType === 'DequantizeLinear' ? 1 : 0]!;
}

export class TypedBuilder extends GraphBuilder {
  readonly #types = new Map<Value, ElementType>();
  readonly #casts = new Map<string, Value>();

  typeOf(value: Value): ElementType {
    const type = this.#types.get(value);
    if (type === undefined) throw new RangeError(`expected a value of this graph, got ${value}`);
    return type;
  }

  /** The value in another type; asked twice, cast once. */
  as(value: Value, type: ElementType): Value {
    if (this.typeOf(value) === type) return value;
    const key = `${type}:${value}`;
    const made = this.#casts.get(key) ?? this.node('Cast', [value], { attributes: { to: ELEMENT_TYPES[type] } });
    this.#casts.set(key, made);
    return made;
  }

  /** Notes the type of a value that is made elsewhere. */
  protected note(value: Value, type: ElementType): Value {
    this.#types.set(value, type);
    return value;
  }

  override input(name: string, type: ElementType, shape: readonly Dimension[]): Value {
    return this.note(super.input(name, type, shape), type);
  }

  override output(value: Value, name: string, type: ElementType, shape: readonly Dimension[]): void {
    this.#expect(this.typeOf(value), type, name);
    super.output(value, name, type, shape);
  }

  override declareOutput(name: Value, type: ElementType, shape: readonly Dimension[]): void {
    if (this.#types.has(name)) this.#expect(this.typeOf(name), type, name);
    super.declareOutput(name, type, shape);
  }

  override initializer(name: string, type: ElementType, shape: readonly number[], data: TensorData): Value {
    return this.note(super.initializer(name, type, shape, data), type);
  }

  override multiNode(
    opType: string,
    inputs: readonly Value[],
    outputs: readonly string[],
    options: NodeOptions = {},
  ): Value[] {
    const types = inputs.map((input) => this.typeOf(input));
    const alike =
      opType === 'Concat' ? types : (ALIKE[opType] ?? []).map((i) => types[i]).filter((t) => t !== undefined);
    const made = super.multiNode(opType, inputs, outputs, options);
    if (new Set(alike).size > 1) {
      throw new TypeError(`expected inputs of one type for ${made[0]}, got ${alike.join(', ')}`);
    }
    for (const value of made) this.note(value, typeOfOutput(opType, types, options));
    return made;
  }

  #expect(actual: ElementType, expected: ElementType, name: string): void {
    if (actual !== expected) throw new TypeError(`expected output ${name} as ${expected}, got ${actual}`);
  }
}
