import { tmpdir } from 'node:os';
import { describe, expect, test } from 'vitest';
import { makeSyntheticModel, SELF_TEST_ARCHITECTURE } from '#sdk/engine/tensorrt/self-test/synthetic-model.js';
import { checkShapes, type ShapedGraph, ShapeError } from '#sdk/graph/shape-check.js';
import { askedSizes, checkEngineShapes } from '#sdk/graph/tensorrt/engine-shapes.js';
import { DEFAULT_LOWERING, LOWERED_GRAPHS, type LoweredGraphName, lowerModel } from '#sdk/graph/tensorrt/index.js';
import { TypedBuilder } from '#sdk/graph/typed-builder.js';
import { publishedModel } from '../../support/published-model.js';
import { temporaryFolder } from '../checkpoint/checkpoint-folder.js';

const NO_FUNCTIONS = new Map();
const graphOf = ({ nodes, inputs, outputs, initializers }: TypedBuilder): ShapedGraph => ({
  nodes,
  inputs,
  outputs,
  initializers,
  functions: NO_FUNCTIONS,
});

/** Tokens as an input of its own beside the real and the padding ones, which a Reshape claims to be their sum. */
function claimedTokens(): ShapedGraph {
  const b = new TypedBuilder('claimed');
  const x = b.input('x', 'float32', ['R', 8]);
  const real = b.gather(x, b.input('real_rows', 'int64', ['Q']));
  const padding = b.gather(x, b.input('padding_rows', 'int64', ['P']));
  const joined = b.concat([real, padding], 0);
  const claimed = b.node('Reshape', [joined, b.concat([b.dimension(x, 0), b.ints([8])], 0)]);
  b.output(b.add(x, claimed), 'y', 'float32', ['R', 8]);
  return graphOf(b);
}

describe('a profile that contradicts itself', () => {
  const profile = {
    R: { min: 3204, opt: 6408, max: 6432 },
    Q: { min: 1601, opt: 6404, max: 6404 },
    P: { min: 1, opt: 4, max: 4831 },
  };
  const at = (bound: 'min' | 'opt' | 'max') => ({ R: profile.R[bound], Q: profile.Q[bound], P: profile.P[bound] });

  test('is told at its bounds, with node and shapes; its usual sizes are well', () => {
    expect(() => checkShapes(claimedTokens(), at('opt'))).not.toThrow();
    expect(() => checkShapes(claimedTokens(), at('min'))).toThrow(
      'Reshape of [1602, 8], [2]: [3204, 8] holds 25632 values, not 12816',
    );
    expect(() => checkShapes(claimedTokens(), at('max'))).toThrow('Reshape of [11235, 8]');
  });

  test('names the engine and the bound', () => {
    const graphs = Object.fromEntries(LOWERED_GRAPHS.map((name) => [name, claimedTokens()])) as Record<
      LoweredGraphName,
      ShapedGraph
    >;
    const check = () =>
      checkEngineShapes(
        { ...SELF_TEST_ARCHITECTURE, vision: { ...SELF_TEST_ARCHITECTURE.vision, maxNumTiles: 0 } },
        options(SELF_TEST_ARCHITECTURE.text.maxPositionEmbeddings),
        [{ name: 'vision', graph: 'vision', profile }],
        graphs,
      );
    expect(check).toThrow(ShapeError);
    expect(check).toThrow('engine vision at the min of its profile: R 3204, Q 1601, P 1');
  });
});

test('a shape that is asked for must lie in the profile', () => {
  const graphs = {} as Record<LoweredGraphName, ShapedGraph>;
  const profile = { K: { min: 10, opt: 20, max: 15 } };
  const check = () =>
    checkEngineShapes(SELF_TEST_ARCHITECTURE, options(64), [{ name: 'cross-kv', graph: 'cross-kv', profile }], graphs);
  expect(check).toThrow('cross-kv: K of 5 will be asked for, but the profile allows 10 to 15');
});

test.each([
  ['11B', async () => publishedModel(`${tmpdir()}/model.safetensors`)],
  ['self-test', async () => (await makeSyntheticModel(temporaryFolder())).model],
])('all engines of the %s model at all shapes', { timeout: 60_000 }, async (_, make) => {
  const model = await make();
  // Writing the graphs checks them; here it is made sure that the check looked at something.
  const { manifest } = lowerModel(model, options(512));
  for (const engine of manifest.engines) {
    expect(askedSizes(model.architecture, options(512), engine).length).toBeGreaterThanOrEqual(3);
  }
});

describe('operators', () => {
  const build = (make: (b: TypedBuilder) => void, sizes = { R: 3 }) => {
    const b = new TypedBuilder('small');
    make(b);
    return () => checkShapes(graphOf(b), sizes);
  };
  const x = (b: TypedBuilder, ...shape: (number | string)[]) => b.input(`x${b.inputs.length}`, 'float32', shape);

  test.each<[string, (b: TypedBuilder) => void, string]>([
    [
      'operands that do not go together',
      (b) => b.add(x(b, 'R', 2), x(b, 4, 2)),
      '[3, 2] and [4, 2] do not go together',
    ],
    ['inner sizes', (b) => b.node('MatMul', [x(b, 'R', 2), x(b, 3, 2)]), 'the inner sizes 2 and 3 differ'],
    ['a reshape that is left over', (b) => b.reshape(x(b, 'R', 2), [-1, 4]), '[-1, 4] cannot be made of it'],
    ['a kept side that is not there', (b) => b.reshape(x(b, 'R'), [0, 0]), 'no side 1 to keep'],
    ['joined sides', (b) => b.concat([x(b, 'R', 2), x(b, 'R', 3)], 0), 'they differ beside side 0'],
    ['a slice behind the end', (b) => b.slice(x(b, 'R'), b.ints([0]), b.ints([4]), 0), '0 to 4 lies outside of side 0'],
    [
      'a shape that data decides',
      (b) => b.node('Reshape', [x(b, 'R'), b.input('s', 'int64', [1])]),
      'must be known without data',
    ],
    ['an operator without a rule', (b) => b.node('Conv', [x(b, 'R')]), 'no rule for the shapes of Conv'],
    [
      'an output of another shape',
      (b) => b.output(x(b, 'R', 2), 'y', 'float32', ['R', 3]),
      'declared as [3, 3], but its node makes [3, 2]',
    ],
    ['a size that is not given', (b) => x(b, 'S'), 'no size is given for S'],
  ])('%s', (_, make, message) => {
    expect(build(make)).toThrow(message);
  });

  test('arithmetic of shapes', () => {
    const check = build((b) => {
      const tokens = b.dimension(x(b, 'R', 4), 0);
      const twice = b.mul(tokens, b.ints([2]));
      b.output(b.node('Expand', [x(b, 1, 1), b.concat([twice, b.ints([5])], 0)]), 'y', 'float32', [6, 5]);
    });
    expect(check).not.toThrow();
  });
});

function options(capacity: number) {
  const folder = tmpdir(); // nothing is written, and nothing there is read
  const files = { convertedFile: `${folder}/converted.bin`, transposedFile: `${folder}/transposed.bin` };
  return { ...DEFAULT_LOWERING, ...files, capacity, maxImages: 2, weightsRoot: '/' };
}
