/**
 * Works out the shape of every value of a graph for given sizes, as a runtime does before it runs: integer tensors
 * that shapes are made of are computed, everything else is known by its shape alone. A runtime says what does not fit
 * late and far from its cause (TensorRT of a profile's bounds not before the first run); here it is said when the graph
 * is written, with the node and its shapes.
 */
import type { AttributeValue, FunctionProto, Initializer, NodeProto, ValueInfo } from './onnx.js';

export interface ShapedGraph {
  readonly nodes: readonly NodeProto[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly initializers: ReadonlyMap<string, Initializer>;
  /** Bodies of operators that are not standard ones, by name. */
  readonly functions: ReadonlyMap<string, FunctionProto>;
}

export type Sizes = Readonly<Record<string, number>>;

/** Shapes that do not fit, with the node that they meet in. */
export class ShapeError extends RangeError {
  override readonly name = 'ShapeError';
  readonly node: string;
  readonly problem: string;

  constructor(node: string, problem: string) {
    super(`${node}: ${problem}`);
    this.node = node;
    this.problem = problem;
  }
}

interface Known {
  readonly shape: readonly number[];
  /** Of integer tensors whose values follow from shapes and constants. */
  readonly values?: readonly number[] | undefined;
}

/** What a rule sees of its node. */
interface Place {
  readonly inputs: readonly (Known | undefined)[];
  /** The input at an index, which must be there. */
  at(index: number): Known;
  /** Values of an integer input, which must be known. */
  integers(index: number): readonly number[];
  integer(attribute: string, fallback?: number): number;
  list(attribute: string): readonly number[] | undefined;
  tensor(attribute: string): Omit<Initializer, 'name'>;
  fail(message: string): never;
}

type Rule = (place: Place) => Known;

/** Longer ones are data, such as positions, not shapes. */
const MOST_VALUES = 64;

/**
 * Shapes of all values, by name.
 * @param sizes of the names in the shapes of inputs and outputs
 * @throws ShapeError operands that do not fit, an output of another shape than it is declared with
 */
export function checkShapes(graph: ShapedGraph, sizes: Sizes): ReadonlyMap<string, readonly number[]> {
  const known = new Map<string, Known>();
  const resolve = ({ name, shape }: ValueInfo): number[] =>
    shape.map((side) => {
      const size = typeof side === 'number' ? side : sizes[side];
      if (size === undefined) throw new ShapeError(name, `no size is given for ${side}`);
      return size;
    });
  for (const input of graph.inputs) known.set(input.name, { shape: resolve(input) });
  for (const [name, tensor] of graph.initializers) known.set(name, constantOnce(tensor));
  run(graph.nodes, known, graph.functions, '');
  for (const output of graph.outputs) {
    const expected = resolve(output);
    const found = known.get(output.name)?.shape;
    if (found === undefined) throw new ShapeError(output.name, 'no node makes this output');
    if (!equal(found, expected)) {
      throw new ShapeError(output.name, `declared as ${text(expected)}, but its node makes ${text(found)}`);
    }
  }
  return new Map([...known].map(([name, { shape }]) => [name, shape]));
}

function run(
  nodes: readonly NodeProto[],
  known: Map<string, Known>,
  functions: ShapedGraph['functions'],
  within: string,
): void {
  for (const node of nodes) {
    const inputs = node.inputs.map((input) => {
      const found = known.get(input);
      if (found === undefined && input !== '') throw new ShapeError(node.name, `its input ${input} is not there yet`);
      return found;
    });
    const body = node.domain === '' ? undefined : functions.get(node.opType);
    if (body !== undefined) {
      const inner = new Map(body.inputs.map((name, index) => [name, inputs[index]!]));
      run(body.nodes, inner, functions, `${within}${node.name} → `);
      node.outputs.forEach((output, index) => {
        const made = inner.get(body.outputs[index]!);
        if (made === undefined) throw new ShapeError(node.name, `its body does not make ${body.outputs[index]}`);
        known.set(output, made);
      });
      continue;
    }
    const rule = node.domain === '' ? RULES[node.opType] : undefined;
    if (rule === undefined) throw new ShapeError(node.name, `no rule for the shapes of ${node.opType}`);
    known.set(node.outputs[0]!, rule(placeOf(node, inputs, `${within}${node.name}`)));
  }
}

function placeOf(node: NodeProto, inputs: readonly (Known | undefined)[], name: string): Place {
  const fail = (message: string): never => {
    const shapes = inputs.map((input) => (input === undefined ? '–' : text(input.shape))).join(', ');
    throw new ShapeError(name, `${node.opType} of ${shapes}: ${message}`);
  };
  const attribute = (key: string): AttributeValue | undefined => node.attributes[key];
  const at = (index: number) => inputs[index] ?? fail(`input ${index} is missing`);
  return {
    inputs,
    at,
    integers: (index) => at(index).values ?? fail(`input ${index} must be known without data`),
    integer(key, fallback) {
      const value = attribute(key) ?? fallback;
      return typeof value === 'number' ? value : fail(`expected ${key} as an integer`);
    },
    list(key) {
      const value = attribute(key);
      return Array.isArray(value) ? value : undefined;
    },
    tensor(key) {
      const value = attribute(key);
      if (value === undefined || typeof value !== 'object' || !('tensor' in value)) return fail(`expected ${key}`);
      return value.tensor;
    },
    fail,
  };
}

const same: Rule = ({ at }) => at(0);
const sameShape: Rule = ({ at }) => ({ shape: at(0).shape });

/** Operators of two or three operands, element by element; `compute` on integers whose values are known. */
function elementwise(compute?: (a: number, b: number) => number): Rule {
  return ({ inputs, at, fail }) => {
    const shape = inputs.map((_, index) => at(index).shape).reduce((a, b) => broadcast(a, b, fail));
    if (compute === undefined || inputs.length !== 2) return { shape };
    const [a, b] = [at(0), at(1)];
    if (a.values === undefined || b.values === undefined) return { shape };
    const length = Math.max(a.values.length, b.values.length);
    const of = (values: readonly number[], index: number) => values[values.length === 1 ? 0 : index]!;
    return { shape, values: Array.from({ length }, (_, i) => compute(of(a.values!, i), of(b.values!, i))) };
  };
}

const RULES: Readonly<Record<string, Rule>> = {
  Identity: same,
  Cast: same,
  Sqrt: sameShape,
  Tanh: sameShape,
  Sigmoid: sameShape,
  Gelu: sameShape,
  Softmax: sameShape,
  Add: elementwise((a, b) => a + b),
  Sub: elementwise((a, b) => a - b),
  Mul: elementwise((a, b) => a * b),
  Div: elementwise((a, b) => Math.trunc(a / b)),
  Greater: elementwise(),
  Where: elementwise(),
  Constant: ({ tensor }) => constant(tensor('value')),
  Shape({ at, integer }) {
    const { shape } = at(0);
    const part = shape.slice(integer('start', 0), integer('end', shape.length));
    return { shape: [part.length], values: part };
  },
  MatMul({ at, fail }) {
    const [a, b] = [at(0).shape, at(1).shape];
    if (a.length < 2 || b.length < 2) fail('expected matrices');
    if (a.at(-1) !== b.at(-2)) fail(`the inner sizes ${a.at(-1)} and ${b.at(-2)} differ`);
    return { shape: [...broadcast(a.slice(0, -2), b.slice(0, -2), fail), a.at(-2)!, b.at(-1)!] };
  },
  Gemm({ inputs, at, integer, fail }) {
    const [a, b] = [at(0).shape, at(1).shape];
    if (a.length !== 2 || b.length !== 2) fail('expected two matrices');
    const [rows, inner] = integer('transA', 0) === 1 ? [a[1]!, a[0]!] : [a[0]!, a[1]!];
    const [other, columns] = integer('transB', 0) === 1 ? [b[1]!, b[0]!] : [b[0]!, b[1]!];
    if (inner !== other) fail(`the inner sizes ${inner} and ${other} differ`);
    const shape = [rows, columns];
    if (inputs[2] !== undefined && !equal(broadcast(shape, inputs[2].shape, fail), shape)) fail('the bias is larger');
    return { shape };
  },
  LayerNormalization({ inputs, at, fail }) {
    const { shape } = at(0);
    for (const weight of inputs.slice(1)) if (!equal(weight!.shape, [shape.at(-1)!])) fail('weights of another size');
    return { shape };
  },
  DequantizeLinear({ at, integer, fail }) {
    const [x, scale] = [at(0).shape, at(1).shape];
    // Inside a function the block is the caller's attribute; what it must be follows from both shapes.
    const axis = integer('axis', 1);
    const isBlocked =
      x.length === scale.length && x.every((side, i) => (i === axis ? side % scale[i]! === 0 : side === scale[i]));
    if (!isBlocked) fail('scales do not divide the weight into blocks');
    return { shape: x };
  },
  ReduceMean({ inputs, at, integer, integers }) {
    const { shape } = at(0);
    const axes = inputs.length > 1 ? integers(1).map((axis) => positive(axis, shape.length)) : [...shape.keys()];
    const keeps = integer('keepdims', 1) === 1;
    return { shape: shape.flatMap((side, i) => (axes.includes(i) ? (keeps ? [1] : []) : [side])) };
  },
  Reshape({ at, integers, fail }) {
    const { shape, values } = at(0);
    const wanted = integers(1);
    const made = wanted.map((side, i) => (side === 0 ? (shape[i] ?? fail(`there is no side ${i} to keep`)) : side));
    const count = product(shape);
    const left = made.indexOf(-1);
    if (left >= 0) {
      const rest = product(made.filter((side) => side !== -1));
      if (made.indexOf(-1, left + 1) >= 0 || rest === 0 || count % rest !== 0)
        fail(`${text(wanted)} cannot be made of it`);
      made[left] = count / rest;
    }
    if (product(made) !== count) fail(`${text(made)} holds ${product(made)} values, not ${count}`);
    return { shape: made, values };
  },
  Transpose({ at, list, fail }) {
    const { shape } = at(0);
    const perm = list('perm') ?? [...shape.keys()].reverse();
    if (
      !equal(
        [...perm].sort((a, b) => a - b),
        [...shape.keys()],
      )
    )
      fail(`${text(perm)} does not permute it`);
    return { shape: perm.map((axis) => shape[axis]!) };
  },
  Concat({ inputs, at, integer, fail }) {
    const [first] = [at(0).shape];
    const axis = positive(integer('axis'), first.length);
    for (const input of inputs) {
      const fits =
        input!.shape.length === first.length && input!.shape.every((side, i) => i === axis || side === first[i]);
      if (!fits) fail(`they differ beside side ${axis}`);
    }
    const values = inputs.every((input) => input!.values !== undefined)
      ? inputs.flatMap((input) => input!.values!)
      : undefined;
    const joined = inputs.reduce((sum, input) => sum + input!.shape[axis]!, 0);
    return { shape: first.map((side, i) => (i === axis ? joined : side)), values };
  },
  Gather({ at, integer, fail }) {
    const { shape, values } = at(0);
    const indices = at(1);
    const axis = positive(integer('axis', 0), shape.length);
    for (const index of indices.values ?? [])
      if (index >= shape[axis]! || index < -shape[axis]!) fail(`no index ${index}`);
    const picked = shape.length === 1 && values !== undefined ? indices.values?.map((i) => values.at(i)!) : undefined;
    return { shape: [...shape.slice(0, axis), ...indices.shape, ...shape.slice(axis + 1)], values: picked };
  },
  Slice({ inputs, at, integers, fail }) {
    const { shape, values } = at(0);
    const [starts, ends] = [integers(1), integers(2)];
    const axes = inputs[3] === undefined ? [...starts.keys()] : integers(3);
    if (inputs[4] !== undefined && integers(4).some((step) => step !== 1)) fail('only steps of 1 are known here');
    const made = [...shape];
    let part = values;
    axes.forEach((each, i) => {
      const axis = positive(each, shape.length);
      const side = shape[axis]!;
      const clamp = (at: number) => Math.min(Math.max(at < 0 ? at + side : at, 0), side);
      const [start, end] = [clamp(starts[i]!), clamp(ends[i]!)];
      // Runtimes cut quietly at the end; our graphs never mean that.
      if (ends[i]! > side || end < start) fail(`${starts[i]} to ${ends[i]} lies outside of side ${axis}`);
      made[axis] = end - start;
      part = shape.length === 1 ? values?.slice(start, end) : undefined;
    });
    return { shape: made, values: part };
  },
  Expand({ at, integers, fail }) {
    const wanted = integers(1);
    return { shape: broadcast(at(0).shape, wanted, fail) };
  },
  Unsqueeze({ at, integers }) {
    const { shape, values } = at(0);
    const axes = integers(1);
    const rank = shape.length + axes.length;
    const added = new Set(axes.map((axis) => positive(axis, rank)));
    const rest = [...shape];
    return { shape: Array.from({ length: rank }, (_, i) => (added.has(i) ? 1 : rest.shift()!)), values };
  },
  Squeeze({ inputs, at, integers, fail }) {
    const { shape, values } = at(0);
    const axes = inputs[1] === undefined ? undefined : integers(1).map((axis) => positive(axis, shape.length));
    if (axes?.some((axis) => shape[axis] !== 1)) fail('a side that is not 1 cannot go');
    return { shape: shape.filter((side, i) => (axes === undefined ? side !== 1 : !axes.includes(i))), values };
  },
  ScatterND({ at, fail }) {
    const [data, indices, updates] = [at(0).shape, at(1).shape, at(2).shape];
    const depth = indices.at(-1)!;
    if (!equal(updates, [...indices.slice(0, -1), ...data.slice(depth)])) fail('updates do not fit the indices');
    return { shape: data };
  },
};

/** A graph is checked at many sizes; its constants stay. */
const CONSTANTS = new WeakMap<Initializer, Known>();

function constantOnce(tensor: Initializer): Known {
  const made = CONSTANTS.get(tensor) ?? constant(tensor);
  CONSTANTS.set(tensor, made);
  return made;
}

function constant({ type, shape, data }: Omit<Initializer, 'name'>): Known {
  const isShort = data.kind === 'inline' && product(shape) <= MOST_VALUES;
  if (!isShort || (type !== 'int64' && type !== 'int32')) return { shape };
  const bytes = data.bytes.slice().buffer;
  return {
    shape,
    values: Array.from<number | bigint, number>(
      type === 'int64' ? new BigInt64Array(bytes) : new Int32Array(bytes),
      Number,
    ),
  };
}

function broadcast(a: readonly number[], b: readonly number[], fail: (message: string) => never): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [x, y] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    if (x !== y && x !== 1 && y !== 1) fail(`${text(a)} and ${text(b)} do not go together`);
    return x === 1 ? y : x;
  });
}

function positive(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

function product(shape: readonly number[]): number {
  return shape.reduce((count, side) => count * side, 1);
}

function equal(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((side, i) => side === b[i]);
}

function text(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}
