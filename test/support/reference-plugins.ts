/**
 * Stand-ins for the plugins of plugin mode: functions in standard operators that take what a plugin takes, weights as
 * they lie on disk above all. With them the rewritten graphs run, and must give what the graphs with bodies give.
 */
import { FUNCTION_OPERATOR_SETS, FunctionBuilder } from '#sdk/graph/function-builder.js';
import type { ElementType, FunctionProto } from '#sdk/graph/onnx.js';
import { encodeFunction, Message, readModel } from '#sdk/graph/onnx.js';
import {
  crossAttention,
  INT4_MATMUL,
  kvAttention,
  type LoweringManifest,
  toPluginMode,
} from '#sdk/graph/tensorrt/index.js';

/** The graph in plugin mode, with stand-ins. */
export function withReferencePlugins(graph: Uint8Array, manifest: LoweringManifest): Uint8Array {
  const rewritten = toPluginMode(graph);
  const { decoderType: type, text, capacity } = manifest;
  const functions = [packedMatMul(type), kvAttention(type, text, capacity), crossAttention(type, text)];
  const used = (each: FunctionProto) => Buffer.from(rewritten).includes(each.name);
  return readModel(rewritten).rewrite(
    (field) => field,
    functions.filter(used).map((each) => [25, encodeFunction(each, FUNCTION_OPERATOR_SETS).finish()]),
  );
}

/** Names and domains of the functions that a model brings along. */
export function functionsOf(model: Uint8Array): string[] {
  return readModel(model)
    .all(25)
    .map((field) => new Message(field.bytes()).string(1));
}

/** `x [rows, K]`, int32 `[N, K/8]` with value + 8 in four bits, lowest first, `scale [N, K/group]` → `[rows, N]`. */
function packedMatMul(type: ElementType): FunctionProto {
  return FunctionBuilder.make(INT4_MATMUL, ['K', 'N', 'group'], (b) => {
    const [x, packed, scale] = [b.input('x', type), b.input('packed', 'int32'), b.input('scale', type)];
    // Bits of int32 as a positive number; the 33rd bit is above all that is looked at.
    const words = b.node('Unsqueeze', [b.add(b.as(packed, 'int64'), b.ints([2 ** 32])), b.ints([2])]);
    const shifted = b.node('Div', [words, b.ints(Array.from({ length: 8 }, (_, i) => 16 ** i))]);
    const nibbles = b.as(b.node('Mod', [shifted, b.ints([16])]), 'float32'); // [N, K/8, 8]
    const values = b.node('Reshape', [
      b.node('Sub', [nibbles, b.scalar(8)]),
      b.concat([b.dimension(packed, 0), b.dimension(scale, 1), b.ints([-1])], 0),
    ]);
    const scaled = b.mul(values, b.node('Unsqueeze', [b.as(scale, 'float32'), b.ints([2])]));
    const weight = b.transpose(
      b.node('Reshape', [scaled, b.concat([b.dimension(packed, 0), b.ints([-1])], 0)]),
      [1, 0],
    );
    return [b.node('MatMul', [x, b.as(weight, type)])];
  });
}
