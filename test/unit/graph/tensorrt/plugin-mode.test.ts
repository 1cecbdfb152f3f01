import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { ModelDescription } from '#sdk/architecture/architecture.js';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { weightsRoot } from '#sdk/graph/index.js';
import { ELEMENT_TYPES, FIELDS, Message, readModel } from '#sdk/graph/onnx.js';
import { MessageWriter, ProtobufError } from '#sdk/graph/protobuf.js';
import {
  bfloat16ToFloat32,
  DEFAULT_LOWERING,
  INT4_MATMUL,
  type LoweredModelFiles,
  lowerModel,
  toPluginMode,
} from '#sdk/graph/tensorrt/index.js';
import { makeInt4Checkpoint } from '../../../support/int4-checkpoint.js';
import { functionsOf } from '../../../support/reference-plugins.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';
import { GOLDEN } from '../../checkpoint/checkpoint-folder.js';

let lowered: LoweredModelFiles;
let float: LoweredModelFiles;

beforeAll(async () => {
  const folder = await makeTemporaryFolder('scenebus-plugin-mode-');
  const { int4 } = makeInt4Checkpoint(path.join(GOLDEN, 'tiny-a'), path.join(folder, 'int4'), 32, { head: 'float' });
  const emit = (model: ModelDescription) =>
    lowerModel(model, {
      ...DEFAULT_LOWERING,
      capacity: 64,
      weightsRoot: weightsRoot(model),
      convertedFile: path.join(folder, 'converted.bin'),
      transposedFile: path.join(folder, 'transposed.bin'),
    });
  lowered = emit((await openCheckpoint(int4)).model);
  float = emit((await openCheckpoint(path.join(GOLDEN, 'tiny-a'))).model);
});

const graphOf = (model: Uint8Array) => new Message(readModel(model).all(FIELDS.model.graph)[0]!.bytes());
const namesOf = (graph: Message, field: number, name: number) =>
  graph.all(field).map((each) => new Message(each.bytes()).string(name));
const inputsOf = (model: Uint8Array) => namesOf(graphOf(model), FIELDS.graph.input, FIELDS.valueInfo.name);
const initializersOf = (model: Uint8Array) => namesOf(graphOf(model), FIELDS.graph.initializer, FIELDS.tensor.name);

test('functions go; what plugins are told stays', () => {
  const { decoder } = lowered.graphs;
  expect(functionsOf(decoder).sort()).toEqual(['CrossAttention', 'Int4MatMul', 'KvAttention']);
  const rewritten = toPluginMode(decoder);
  expect(functionsOf(rewritten)).toEqual([]);
  const nodes = (model: Uint8Array) =>
    graphOf(model)
      .all(FIELDS.graph.node)
      .map((field) => new Message(field.bytes()));
  expect(nodes(rewritten)).toHaveLength(nodes(decoder).length);
  const products = nodes(rewritten).filter((node) => node.string(FIELDS.node.opType) === INT4_MATMUL);
  // Seven linears of each of three self layers, five of each of two cross layers; K and V are of another graph.
  expect(products).toHaveLength(3 * 7 + 2 * 5);
  for (const node of products) {
    const [, weight, scale] = node.all(FIELDS.node.input).map((each) => each.string());
    expect(weight).toMatch(/\.weight_packed$/);
    expect(scale).toBe(weight!.replace('_packed', '_scale'));
    const attributes = node
      .all(FIELDS.node.attribute)
      .map((each) => new Message(each.bytes()).string(FIELDS.attribute.name));
    expect(attributes.sort()).toEqual(['K', 'N', 'group']);
  }
});

test('int4 weights become the inputs that the manifest lists, and no initialiser is left behind', () => {
  for (const [name, graph] of Object.entries(lowered.graphs)) {
    const rewritten = toPluginMode(graph);
    const added = inputsOf(rewritten).filter((input) => !inputsOf(graph).includes(input));
    const listed = new Map(lowered.manifest.weights.map((weight) => [weight.name, weight]));
    for (const input of added) expect(listed.has(input), `${input} of ${name}`).toBe(true);
    expect(added.length > 0).toBe(!name.startsWith('vision'));
    expect(initializersOf(rewritten).filter((each) => /weight_int4|weight_scale|lm_head/.test(each))).toEqual([]);
    // Whatever else was an initialiser is one still.
    const kept = initializersOf(graph).filter((each) => !/weight_int4|weight_scale|lm_head\.weight/.test(each));
    expect(initializersOf(rewritten)).toEqual(kept);
  }
});

test('types and shapes of the inputs are those of the checkpoint', () => {
  const rewritten = graphOf(toPluginMode(lowered.graphs.decoder));
  const types = new Map(
    rewritten.all(FIELDS.graph.input).map((field) => {
      const info = new Message(field.bytes());
      const tensor = new Message(new Message(info.all(FIELDS.valueInfo.type)[0]!.bytes()).all(1)[0]!.bytes());
      const sizes = new Message(tensor.all(2)[0]!.bytes()).all(1).map((each) => new Message(each.bytes()).number(1));
      return [info.string(FIELDS.valueInfo.name), { type: tensor.number(1), sizes }];
    }),
  );
  const name = 'language_model.model.layers.0.mlp.down_proj';
  expect(types.get(`${name}.weight_packed`)).toEqual({ type: ELEMENT_TYPES.int32, sizes: [64, 16] });
  expect(types.get(`${name}.weight_scale`)).toEqual({ type: ELEMENT_TYPES.float16, sizes: [64, 4] });
});

test('a graph without bfloat16 is not changed by taking it out; one with it has none left', () => {
  const { decoder, vision } = lowered.graphs;
  expect(Buffer.from(bfloat16ToFloat32(decoder)).equals(decoder)).toBe(true);
  const float = bfloat16ToFloat32(vision);
  expect(Buffer.from(float).equals(vision)).toBe(false);
  expect(Buffer.from(bfloat16ToFloat32(float)).equals(float)).toBe(true);
});

test('doing it again changes nothing', () => {
  for (const graph of Object.values(lowered.graphs)) {
    const once = toPluginMode(graph);
    expect(Buffer.from(toPluginMode(once)).equals(once)).toBe(true);
  }
});

test('a float model keeps its linears; the head alone becomes an input', () => {
  const rewritten = toPluginMode(float.graphs.decoder);
  expect(functionsOf(rewritten)).toEqual([]);
  const added = inputsOf(rewritten).filter((input) => !inputsOf(float.graphs.decoder).includes(input));
  expect(added).toEqual(['language_model.lm_head.weight']);
});

describe('bytes that are no graph of ours', () => {
  test('cut anywhere', () => {
    const { decoder } = lowered.graphs;
    for (const share of [0.001, 0.1, 0.5, 0.9, 0.999]) {
      expect(() => toPluginMode(decoder.subarray(0, Math.floor(decoder.length * share)))).toThrow(ProtobufError);
    }
  });

  test.each([
    ['nothing', new Uint8Array()],
    ['text', new TextEncoder().encode('{"not": "onnx"}')],
    ['zeros', new Uint8Array(64)],
    ['a message of another kind', new MessageWriter().varint(1, 3).string(2, 'x').finish()],
  ])('%s', (_, bytes) => {
    expect(() => toPluginMode(bytes)).toThrow(ProtobufError);
  });

  test('an int4 product of other sizes than it says', () => {
    const model = readModel(lowered.graphs.decoder);
    const wrong = model.rewrite((field) => {
      if (field.number !== FIELDS.model.graph) return field;
      return new Message(field.bytes()).rewrite((each) => {
        if (each.number !== FIELDS.graph.initializer) return each;
        const tensor = new Message(each.bytes());
        if (!tensor.string(FIELDS.tensor.name).endsWith('0.mlp.down_proj.weight_int4')) return each;
        let first = true;
        return tensor.rewrite((part) => {
          if (part.number !== FIELDS.tensor.dims || !first) return part;
          first = false;
          return undefined;
        });
      });
    });
    expect(() => toPluginMode(wrong)).toThrow(/down_proj\.weight_int4.*128 × 64/s);
  });
});
