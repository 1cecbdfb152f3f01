import { expect, test } from 'vitest';
import { FunctionBuilder } from '#sdk/graph/function-builder.js';
import { TypedBuilder } from '#sdk/graph/typed-builder.js';

function inputs() {
  const b = new TypedBuilder('test');
  return { b, half: b.input('half', 'float16', [2, 3]), wide: b.input('wide', 'float32', [2, 3]) };
}

test('operands of two types are refused where they meet', () => {
  const { b, half, wide } = inputs();
  expect(() => b.add(half, wide)).toThrow(/one type.*float16, float32/);
  expect(() => b.concat([wide, wide, half], 0)).toThrow(/one type/);
  expect(() => b.node('Where', [b.node('Greater', [wide, wide]), half, wide])).toThrow(/one type/);
  expect(() => b.output(half, 'y', 'float32', [2, 3])).toThrow(/output y as float32, got float16/);
  expect(() => b.add(half, 'elsewhere')).toThrow(/a value of this graph/);
});

test('types follow the operators', () => {
  const { b, half, wide } = inputs();
  expect(b.typeOf(b.as(half, 'float32'))).toBe('float32');
  expect(b.typeOf(b.dimension(half, 0))).toBe('int64');
  expect(b.typeOf(b.gather(half, b.ints([0])))).toBe('float16');
  expect(b.typeOf(b.node('Greater', [wide, wide]))).toBe('bool');
  const weight = b.input('weight', 'int4', [4, 2]);
  expect(b.typeOf(b.node('DequantizeLinear', [weight, half]))).toBe('float16');
});

test('a cast is made once, and none to the same type', () => {
  const { b, half } = inputs();
  expect(b.as(half, 'float16')).toBe(half);
  expect(b.as(half, 'float32')).toBe(b.as(half, 'float32'));
  expect(b.nodes.map((node) => node.opType)).toEqual(['Cast']);
});

test('a function has constants as nodes, and no name that a graph around it could have', () => {
  const made = FunctionBuilder.make('Twice', ['factor'], (b) => {
    const x = b.input('x', 'float32');
    return [b.mul(b.mul(x, b.scalar(2)), b.scalar(2))];
  });
  expect(made).toMatchObject({ domain: 'scenebus', inputs: ['Twice.x'], attributes: ['factor'] });
  expect(made.nodes.map((node) => node.opType)).toEqual(['Constant', 'Mul', 'Mul']);
  for (const name of made.nodes.flatMap((node) => [...node.outputs, node.name])) expect(name).toMatch(/^Twice\//);
});
