/**
 * The ONNX messages that our graphs use, with the field numbers of onnx.proto (IR version 10): written whole, and read
 * as far as a change to a finished file needs it.
 */
import { type Field, MessageWriter, ProtobufError, readFields } from './protobuf.js';

export const ELEMENT_TYPES = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
  /** Two to a byte, the first in the low half. */
  int4: 22,
} as const;
export type ElementType = keyof typeof ELEMENT_TYPES;

/** A number is a fixed size; a string names a size that is known at run time. */
export type Dimension = number | string;

export type AttributeValue =
  | number
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly tensor: Omit<Initializer, 'name'> }
  /** In the body of a function: the integer that the node which calls it carries under this name. */
  | { readonly integerOf: string };

export interface NodeProto {
  readonly opType: string;
  readonly domain: string;
  readonly name: string;
  /** An empty string leaves an optional input out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

export interface ValueInfo {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly Dimension[];
}

/** Bytes either inside the model or in another file, relative to a folder that the session is told. */
export type TensorData =
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }
  | { readonly kind: 'external'; readonly location: string; readonly offsetBytes: number; readonly sizeBytes: number };

export interface Initializer {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

export interface GraphProto {
  readonly name: string;
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly Initializer[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
}

/** An operator of a domain of its own, with a body in operators of other domains. Types follow from the inputs. */
export interface FunctionProto {
  readonly name: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Names that a node of this operator may carry; the body need not use them. */
  readonly attributes: readonly string[];
  readonly nodes: readonly NodeProto[];
}

export interface OperatorSet {
  readonly domain: string;
  readonly version: number;
}

/** Numbers of the fields that readers look at. */
export const FIELDS = {
  model: { irVersion: 1, graph: 7, operatorSets: 8, functions: 25 },
  graph: { node: 1, initializer: 5, input: 11, output: 12 },
  function: { name: 1, node: 7, domain: 10 },
  node: { input: 1, output: 2, opType: 4, attribute: 5, domain: 7 },
  attribute: { name: 1, int: 3, tensor: 5 },
  tensor: { dims: 1, type: 2, name: 8, raw: 9, external: 13 },
  valueInfo: { name: 1, type: 2 },
} as const;

const IR_VERSION = 10;
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, tensor: 4, ints: 7 } as const;
const DATA_LOCATION_EXTERNAL = 1;

/** The serialised ModelProto. */
export function encodeModel(
  graph: GraphProto,
  operatorSets: readonly OperatorSet[],
  producer: string,
  functions: readonly FunctionProto[] = [],
): Uint8Array {
  const model = new MessageWriter();
  model.varint(1, IR_VERSION).string(2, producer).message(7, encodeGraph(graph));
  for (const set of operatorSets) model.message(8, encodeOperatorSet(set));
  for (const each of functions) model.message(25, encodeFunction(each, operatorSets));
  return model.finish();
}

function encodeOperatorSet({ domain, version }: OperatorSet): MessageWriter {
  return new MessageWriter().string(1, domain).varint(2, version);
}

export function encodeFunction(each: FunctionProto, operatorSets: readonly OperatorSet[]): MessageWriter {
  const message = new MessageWriter().string(1, each.name);
  for (const input of each.inputs) message.string(4, input);
  for (const output of each.outputs) message.string(5, output);
  for (const attribute of each.attributes) message.string(6, attribute);
  for (const node of each.nodes) message.message(7, encodeNode(node));
  for (const set of operatorSets) message.message(9, encodeOperatorSet(set));
  return message.string(10, each.domain);
}

function encodeGraph(graph: GraphProto): MessageWriter {
  const message = new MessageWriter();
  for (const node of graph.nodes) message.message(1, encodeNode(node));
  message.string(2, graph.name);
  for (const initializer of graph.initializers) message.message(5, encodeTensor(initializer));
  for (const input of graph.inputs) message.message(11, encodeValueInfo(input));
  for (const output of graph.outputs) message.message(12, encodeValueInfo(output));
  return message;
}

function encodeNode(node: NodeProto): MessageWriter {
  const message = new MessageWriter();
  for (const input of node.inputs) message.string(1, input);
  for (const output of node.outputs) message.string(2, output);
  message.string(3, node.name).string(4, node.opType);
  for (const [name, value] of Object.entries(node.attributes)) message.message(5, encodeAttribute(name, value));
  if (node.domain !== '') message.string(7, node.domain);
  return message;
}

function encodeAttribute(name: string, value: AttributeValue): MessageWriter {
  const message = new MessageWriter().string(1, name);
  if (typeof value === 'number') return message.varint(3, value).varint(20, ATTRIBUTE_TYPE.int);
  if (typeof value === 'string') return message.string(4, value).varint(20, ATTRIBUTE_TYPE.string);
  if ('float' in value) return message.float(2, value.float).varint(20, ATTRIBUTE_TYPE.float);
  if ('integerOf' in value) return message.varint(20, ATTRIBUTE_TYPE.int).string(21, value.integerOf);
  if ('tensor' in value) {
    return message.message(5, encodeTensor({ name: '', ...value.tensor })).varint(20, ATTRIBUTE_TYPE.tensor);
  }
  for (const item of value) message.varint(8, item);
  return message.varint(20, ATTRIBUTE_TYPE.ints);
}

function encodeTensor(tensor: Initializer): MessageWriter {
  const message = new MessageWriter();
  for (const dimension of tensor.shape) message.varint(1, dimension);
  message.varint(2, ELEMENT_TYPES[tensor.type]);
  if (tensor.name !== '') message.string(8, tensor.name);
  if (tensor.data.kind === 'inline') return message.bytes(9, tensor.data.bytes);
  const entries = {
    location: tensor.data.location,
    offset: String(tensor.data.offsetBytes),
    length: String(tensor.data.sizeBytes),
  };
  for (const [key, value] of Object.entries(entries)) {
    message.message(13, new MessageWriter().string(1, key).string(2, value));
  }
  return message.varint(14, DATA_LOCATION_EXTERNAL);
}

export function encodeValueInfo(info: ValueInfo): MessageWriter {
  const shape = new MessageWriter();
  for (const dimension of info.shape) {
    const item = new MessageWriter();
    if (typeof dimension === 'number') item.varint(1, dimension);
    else item.string(2, dimension);
    shape.message(1, item);
  }
  const tensorType = new MessageWriter().varint(1, ELEMENT_TYPES[info.type]).message(2, shape);
  return new MessageWriter().string(1, info.name).message(2, new MessageWriter().message(1, tensorType));
}

/** Fields of a message by name, the last one of each number; further ones by `all`. */
export class Message {
  readonly fields: readonly Field[];

  constructor(bytes: Uint8Array) {
    this.fields = readFields(bytes);
  }

  all(number: number): Field[] {
    return this.fields.filter((field) => field.number === number);
  }

  string(number: number): string {
    return this.all(number).at(-1)?.string() ?? '';
  }

  number(number: number): number {
    return this.all(number).at(-1)?.varint() ?? 0;
  }

  numbers(number: number): number[] {
    return this.all(number).flatMap((field) => field.varints());
  }

  /** The same message with some fields changed: `edit` returns what stands in a field's place, itself or nothing. */
  rewrite(
    edit: (field: Field) => Uint8Array | Field | undefined,
    append: readonly [number, Uint8Array][] = [],
  ): Uint8Array {
    const writer = new MessageWriter();
    for (const field of this.fields) {
      const made = edit(field);
      if (made === field) writer.copy(field);
      else if (made instanceof Uint8Array) writer.bytes(field.number, made);
    }
    for (const [number, bytes] of append) writer.bytes(number, bytes);
    return writer.finish();
  }
}

/** @throws ProtobufError when the bytes are no ONNX model. */
export function readModel(bytes: Uint8Array): Message {
  const model = new Message(bytes);
  const { irVersion, graph, operatorSets } = FIELDS.model;
  if (model.number(irVersion) < 1 || model.all(graph).length !== 1 || model.all(operatorSets).length === 0) {
    throw new ProtobufError('expected an ONNX model: its version, one graph, the operators it is written in');
  }
  return model;
}
