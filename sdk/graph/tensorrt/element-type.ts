/**
 * A finished graph in another element type. ONNX Runtime on the CPU has no products in bfloat16, so a graph in bfloat16
 * is proven as this: the same file, node by node, with the type replaced everywhere it stands. Weights in files keep
 * their bytes and are cast when the runtime loads them.
 */
import { ELEMENT_TYPES, FIELDS, Message, readModel } from '../onnx.js';
import { type Field, MessageWriter } from '../protobuf.js';
import { bfloat16Value } from './half.js';

const FROM = ELEMENT_TYPES.bfloat16;
const TO = ELEMENT_TYPES.float32;
/** Names of initialisers in their own type. */
const STORED = '/stored';

/** @throws ProtobufError for bytes that are no ONNX model */
export function bfloat16ToFloat32(bytes: Uint8Array): Uint8Array {
  return readModel(bytes).rewrite((field) => {
    if (field.number === FIELDS.model.graph) return convertGraph(new Message(field.bytes()));
    if (field.number === FIELDS.model.functions) return convertNodes(new Message(field.bytes()), FIELDS.function.node);
    return field;
  });
}

function convertGraph(graph: Message): Uint8Array {
  const { node, initializer, input, output } = FIELDS.graph;
  const casts = new MessageWriter();
  const converted = graph.rewrite((field) => {
    if (field.number === node) return convertNode(field);
    if (field.number === input || field.number === output) return convertValueInfo(new Message(field.bytes()));
    if (field.number !== initializer) return field;
    const tensor = new Message(field.bytes());
    if (tensor.number(FIELDS.tensor.type) !== FROM) return field;
    if (tensor.all(FIELDS.tensor.external).length === 0) return convertTensor(tensor);
    const name = tensor.string(FIELDS.tensor.name);
    casts.message(node, castNode(`${name}${STORED}`, name));
    return tensor.rewrite((each) => {
      return each.number === FIELDS.tensor.name ? new TextEncoder().encode(`${name}${STORED}`) : each;
    });
  });
  // Before the nodes that use them.
  const before = casts.finish();
  const whole = new Uint8Array(before.length + converted.length);
  whole.set(before);
  whole.set(converted, before.length);
  return whole;
}

function convertNodes(message: Message, nodeField: number): Uint8Array {
  return message.rewrite((field) => (field.number === nodeField ? convertNode(field) : field));
}

/** Types stand in the attribute of a Cast, and in constants. */
function convertNode(field: Field): Uint8Array | Field {
  const node = new Message(field.bytes());
  const opType = node.string(FIELDS.node.opType);
  if (opType !== 'Cast' && opType !== 'Constant') return field;
  return node.rewrite((each) => {
    if (each.number !== FIELDS.node.attribute) return each;
    const attribute = new Message(each.bytes());
    const name = attribute.string(FIELDS.attribute.name);
    if (opType === 'Cast' && name === 'to' && attribute.number(FIELDS.attribute.int) === FROM) {
      return withNumber(attribute, FIELDS.attribute.int, TO);
    }
    return attribute.rewrite((part) => {
      if (part.number !== FIELDS.attribute.tensor) return part;
      const tensor = new Message(part.bytes());
      return tensor.number(FIELDS.tensor.type) === FROM ? convertTensor(tensor) : part;
    });
  });
}

/** Values that lie in the model. */
function convertTensor(tensor: Message): Uint8Array {
  const values = tensor.rewrite((field) => {
    if (field.number !== FIELDS.tensor.raw) return field;
    const raw = field.bytes();
    const bits = new Uint16Array(raw.slice().buffer);
    return new Uint8Array(Float32Array.from(bits, bfloat16Value).buffer);
  });
  return withNumber(new Message(values), FIELDS.tensor.type, TO);
}

function convertValueInfo(info: Message): Uint8Array {
  return info.rewrite((field) => {
    if (field.number !== FIELDS.valueInfo.type) return field;
    return new Message(field.bytes()).rewrite((each) => {
      const tensorType = new Message(each.bytes());
      return tensorType.number(1) === FROM ? withNumber(tensorType, 1, TO) : each;
    });
  });
}

function withNumber(message: Message, number: number, value: number): Uint8Array {
  const writer = new MessageWriter();
  for (const field of message.fields) {
    if (field.number === number) writer.varint(number, value);
    else writer.copy(field);
  }
  return writer.finish();
}

function castNode(from: string, to: string): MessageWriter {
  const attribute = new MessageWriter().string(1, 'to').varint(3, TO).varint(20, 2);
  return new MessageWriter()
    .string(1, from)
    .string(2, to)
    .string(3, `${to}/cast`)
    .string(4, 'Cast')
    .message(5, attribute);
}
