/**
 * The form of a graph in which plugins do the hot parts: the functions' bodies go, so that the parser of TensorRT 10.3
 * looks for plugins of their names (it tries built-in operators, then functions, then plugins), and int4 weights become
 * inputs of the engine, in the layout of the checkpoint. Plans are then small and quick to build, and one copy of the
 * weights in device memory serves all engines.
 *
 * Works on the bytes of a finished file; what it does not change stays as it was, byte by byte.
 */

import { SCENEBUS } from '../function-builder.js';
import { ELEMENT_TYPES, type ElementType, encodeValueInfo, FIELDS, Message, readModel } from '../onnx.js';
import { MessageWriter, ProtobufError } from '../protobuf.js';
import { INT4_MATMUL } from './functions.js';
import { LM_HEAD } from './weights.js';

/** Initialisers of float weights that become inputs too: the largest, which prefill and decode would each hold. */
const FLOAT_INPUTS: ReadonlySet<string> = new Set([`${LM_HEAD}.weight`]);
const INT4_SUFFIX = '.weight_int4';

/** A weight that was an initialiser and becomes an input. */
interface Promotion {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
}

/**
 * Doing it again changes nothing. Weights are named, typed and shaped as in the manifest's `weights`: int32
 * `X.weight_packed [N, K/8]`, `X.weight_scale [N, K/group]`. The type is int32 as on disk: TensorRT takes int8 for a
 * quantised activation, and uint8 nowhere inside a network.
 *
 * @throws ProtobufError for bytes that are no ONNX model, or whose int4 products are not as this package writes them
 */
export function toPluginMode(bytes: Uint8Array): Uint8Array {
  const model = readModel(bytes);
  return model.rewrite((field) => {
    if (field.number === FIELDS.model.functions) {
      return new Message(field.bytes()).string(FIELDS.function.domain) === SCENEBUS.domain ? undefined : field;
    }
    return field.number === FIELDS.model.graph ? graphToPluginMode(new Message(field.bytes())) : field;
  });
}

function graphToPluginMode(graph: Message): Uint8Array {
  const { node, initializer, input } = FIELDS.graph;
  const initializers = new Map<string, Message>();
  for (const field of graph.all(initializer)) {
    const tensor = new Message(field.bytes());
    initializers.set(tensor.string(FIELDS.tensor.name), tensor);
  }
  const inputs = new Map<string, Promotion>();
  const gone = new Set<string>();
  for (const [name, tensor] of initializers) {
    if (!FLOAT_INPUTS.has(name)) continue;
    gone.add(name);
    inputs.set(name, { name, type: typeOf(tensor), shape: tensor.numbers(FIELDS.tensor.dims) });
  }
  const renamed = new Map<Message['fields'][number], Uint8Array>();
  for (const field of graph.all(node)) {
    const message = new Message(field.bytes());
    const isProduct =
      message.string(FIELDS.node.opType) === INT4_MATMUL && message.string(FIELDS.node.domain) === SCENEBUS.domain;
    const [x, weight, scale] = message.all(FIELDS.node.input).map((each) => each.string());
    if (!isProduct || !initializers.has(weight ?? '')) continue;
    const promoted = promote(message, weight!, initializers.get(weight!)!, initializers.get(scale ?? ''));
    for (const each of promoted) inputs.set(each.name, each);
    gone.add(weight!).add(scale!);
    renamed.set(field, withInputs(message, [x!, ...promoted.map((each) => each.name)]));
  }
  const added = [...inputs.values()].map((each): [number, Uint8Array] => [input, encodeValueInfo(each).finish()]);
  return graph.rewrite((field) => {
    if (field.number === node) return renamed.get(field) ?? field;
    const isGone = field.number === initializer && gone.has(new Message(field.bytes()).string(FIELDS.tensor.name));
    return isGone ? undefined : field;
  }, added);
}

function promote(node: Message, weightName: string, weight: Message, scale: Message | undefined): Promotion[] {
  const attributes = new Map(
    node.all(FIELDS.node.attribute).map((field) => {
      const attribute = new Message(field.bytes());
      return [attribute.string(FIELDS.attribute.name), attribute.number(FIELDS.attribute.int)];
    }),
  );
  const [K, N, group] = ['K', 'N', 'group'].map((name) => attributes.get(name) ?? 0) as [number, number, number];
  const sizes = (tensor: Message | undefined) => tensor?.numbers(FIELDS.tensor.dims).join(' × ') ?? 'nothing';
  const found = `${sizes(weight)}, ${sizes(scale)}`;
  const expected = `${K} × ${N}, ${K / group} × ${N}`;
  if (!weightName.endsWith(INT4_SUFFIX) || typeOf(weight) !== 'int4' || found !== expected) {
    throw new ProtobufError(`expected ${weightName} as an int4 weight and scales of ${expected}, got ${found}`);
  }
  const name = weightName.slice(0, -INT4_SUFFIX.length);
  return [
    { name: `${name}.weight_packed`, type: 'int32', shape: [N, K / 8] },
    { name: `${name}.weight_scale`, type: typeOf(scale!), shape: [N, K / group] },
  ];
}

function typeOf(tensor: Message): ElementType {
  const code = tensor.number(FIELDS.tensor.type);
  const found = Object.entries(ELEMENT_TYPES).find(([, each]) => each === code);
  if (found === undefined) throw new ProtobufError(`expected a tensor of a known type, got type ${code}`);
  return found[0] as ElementType;
}

function withInputs(node: Message, inputs: readonly string[]): Uint8Array {
  const writer = new MessageWriter();
  for (const input of inputs) writer.string(FIELDS.node.input, input);
  for (const field of node.fields) if (field.number !== FIELDS.node.input) writer.copy(field);
  return writer.finish();
}
