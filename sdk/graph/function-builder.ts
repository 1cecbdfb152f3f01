/**
 * Builds the body of an ONNX function: an operator of our own domain that a runtime without a kernel for it computes
 * in standard operators. A function has no initialisers; its constants are nodes.
 */
import { STANDARD, type Value } from './builder.js';
import type { ElementType, FunctionProto, OperatorSet, TensorData } from './onnx.js';
import { TypedBuilder } from './typed-builder.js';

export const SCENEBUS: OperatorSet = { domain: 'scenebus', version: 1 };
/** What models with our functions import. */
export const FUNCTION_OPERATOR_SETS: readonly OperatorSet[] = [STANDARD, SCENEBUS];

/**
 * All names begin with the function's, so that none equals a name of the graph around: the parser of TensorRT 10.0 to
 * 10.3 maps inputs of a function by name and leaves one out whose name is taken.
 */
export class FunctionBuilder extends TypedBuilder {
  readonly #function: string;
  readonly #inputs: Value[] = [];
  readonly #constants = new Map<string, Value>();

  constructor(name: string) {
    super(name);
    this.#function = name;
  }

  /** ONNX functions do not state types: this one is for the checks of the builder. */
  override input(name: string, type: ElementType): Value {
    const value = `${this.#function}.${name}`;
    this.#inputs.push(value);
    return this.note(value, type);
  }

  override initializer(name: string, type: ElementType, shape: readonly number[], data: TensorData): Value {
    const known = this.#constants.get(name);
    if (known !== undefined) return known;
    const value = this.node('Constant', [], { attributes: { value: { tensor: { type, shape, data } } } });
    this.#constants.set(name, value);
    return value;
  }

  override hasInitializer(name: string): boolean {
    return this.#constants.has(name);
  }

  /** `build` declares the inputs and returns the outputs. */
  static make(
    name: string,
    attributes: readonly string[],
    build: (b: FunctionBuilder) => readonly Value[],
  ): FunctionProto {
    const b = new FunctionBuilder(name);
    const outputs = b.within(name, () => build(b));
    return { name, domain: SCENEBUS.domain, inputs: b.#inputs, outputs, attributes, nodes: b.nodes };
  }
}
