/** The form of the vision tower's attention in the file that TensorRT gets, which decides whether one kernel is made of it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { FIELDS, Message, readModel } from '#sdk/graph/onnx.js';
import { writeLoweredFiles } from '../../../support/lowered-graphs.js';
import { GOLDEN } from '../../checkpoint/checkpoint-folder.js';

interface GraphNode {
  readonly type: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-attention-form-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const { model } = await openCheckpoint(path.join(GOLDEN, 'tiny-a'));
const { graphs } = await writeLoweredFiles(model, folder, { visionType: 'bfloat16' });
const { vision } = model.architecture;

function nodesOf(bytes: Uint8Array): GraphNode[] {
  const graph = new Message(readModel(bytes).all(FIELDS.model.graph)[0]!.bytes());
  return graph.all(FIELDS.graph.node).map((field) => {
    const node = new Message(field.bytes());
    const names = (number: number) => node.all(number).map((each) => each.string());
    return {
      type: node.string(FIELDS.node.opType),
      inputs: names(FIELDS.node.input),
      outputs: names(FIELDS.node.output),
    };
  });
}

describe.each([
  ['vision', 1],
  ['vision-grouped', Math.min(4, vision.attentionHeads)],
] as const)('%s', (name, groups) => {
  const nodes = nodesOf(graphs[name]);
  const maker = new Map(nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const softmaxes = nodes.filter(({ type }) => type === 'Softmax');

  test('each layer attends for real tokens and for padding', () => {
    expect(groups).toBeGreaterThan(name === 'vision' ? 0 : 1);
    expect(softmaxes).toHaveLength((vision.localLayers + vision.globalLayers) * 2 * groups);
  });

  test('nothing but a bias lies between the products, no change of type', () => {
    let biased = 0;
    for (const softmax of softmaxes) {
      const users = nodes.filter(({ inputs }) => inputs.includes(softmax.outputs[0]!));
      expect(users.map(({ type }) => type)).toEqual(['MatMul']);
      let scores = maker.get(softmax.inputs[0]!)!;
      if (scores.type === 'Add') {
        biased += 1;
        scores = maker.get(scores.inputs[0]!)!;
      }
      expect(scores.type).toBe('MatMul');
      // The key is turned around last, as the product wants it; the query is scaled before.
      expect(maker.get(scores.inputs[1]!)!.type).toBe('Transpose');
    }
    expect(biased).toBe(softmaxes.length / 2);
  });
});
