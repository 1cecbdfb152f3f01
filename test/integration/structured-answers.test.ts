/** Answers under a schema by the demo model, which was never trained to write them. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  choice,
  count,
  decodeImage,
  loadModel,
  type ModelImage,
  number,
  type VisionLanguageModel,
  yesNo,
} from 'scenebus';
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';

const demoModel = fileURLToPath(new URL('../../examples/demo-model', import.meta.url));
const checkpoint = join(demoModel, 'checkpoint');
const WHERE = 'Where is the red cup?';
const seen = z.object({
  label: z.enum(['red cup', 'blue book', 'green ball', 'nothing']),
  box: z.array(z.int().min(0).max(99)).length(4).nullable(),
  sure: z.number().min(0).max(1),
});

let model: VisionLanguageModel;
let picture: ModelImage;
beforeAll(async () => {
  model = await loadModel(checkpoint, { backend: 'cpu' });
  const { cases } = JSON.parse(await readFile(join(demoModel, 'evaluation', 'parity.json'), 'utf8'));
  picture = await decodeImage(join(demoModel, 'evaluation', cases[0].image));
});
afterAll(() => model[Symbol.asyncDispose]());

describe('ask with a schema', () => {
  test('gives a parsed, typed value', async () => {
    const { value, text } = await model.ask(picture, WHERE, { schema: seen });
    expectTypeOf(value).toEqualTypeOf<z.infer<typeof seen>>();
    expect(seen.parse(JSON.parse(text))).toEqual(value);
    expect(Object.keys(value)).toEqual(['label', 'box', 'sure']);
  });

  test('takes JSON Schema, of strangers too, compiled in a thread of its own', async () => {
    const schema = {
      type: 'object',
      properties: { count: { type: 'integer', minimum: 2, maximum: 7 } },
      required: ['count'],
      additionalProperties: false,
    };
    const answer = await model.ask(picture, 'How many things are there?', { schema, schemaFrom: 'stranger' });
    expect(answer.value).toEqual({ count: expect.toSatisfy((count: number) => count >= 2 && count <= 7) });
  });

  test('streams, at any temperature, what parses in the end', async () => {
    for (let seed = 0; seed < 5; seed++) {
      const request = {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'image', image: picture },
              { type: 'text', text: WHERE },
            ],
          },
        ],
      } as const;
      const stream = model.generate(request, { schema: seen, temperature: 2, topP: 1, seed, maxNewTokens: 200 });
      let text = '';
      for await (const piece of stream) text += piece;
      const answer = await stream.collect();
      expect(answer.text).toBe(text);
      expect(seen.parse(answer.value)).toEqual(JSON.parse(text));
    }
  });

  test('drafts from an earlier answer, to the same end', async () => {
    const plain = await model.ask(picture, 'Where is the blue book?', { schema: seen, drafting: 'off' });
    let drafted = plain;
    for (let i = 0; i < 6; i++) drafted = await model.ask(picture, 'Where is the blue book?', { schema: seen });
    expect(drafted.text).toBe(plain.text);
    // Without the schema the same prompt has another answer; what was drafted from it is not verified in vain.
    await model.ask(picture, 'Where is the blue book?');
    expect((await model.ask(picture, 'Where is the blue book?', { schema: seen })).text).toBe(plain.text);
  });

  test('keeps several answers apart', async () => {
    const schemas = [z.boolean(), z.int().min(10).max(20), z.enum(['left', 'right']), seen];
    const answers = await Promise.all(
      schemas.map((schema, i) => model.ask(picture, WHERE, { schema, caller: `caller ${i}` })),
    );
    for (const [i, schema] of schemas.entries()) expect(schema.safeParse(answers[i]!.value).success).toBe(true);
  });

  test('carries the text of an answer that maxNewTokens cut', async () => {
    await expect(model.ask(picture, WHERE, { schema: seen, maxNewTokens: 4 })).rejects.toMatchObject({
      code: 'ERR_ANSWER_INCOMPLETE',
      details: { text: expect.stringMatching(/^\{/), maxNewTokens: 4 },
    });
    // What is whole when the end comes is an answer.
    expect(await model.ask(picture, WHERE, { schema: z.int().min(5).max(9), maxNewTokens: 1 })).toMatchObject({
      value: expect.any(Number),
    });
  });

  test('carries the text of an answer that only zod refuses', async () => {
    const schema = z
      .int()
      .min(1)
      .max(9)
      .refine(() => false, 'never right');
    await expect(model.ask(picture, WHERE, { schema })).rejects.toMatchObject({
      code: 'ERR_ANSWER_INVALID',
      details: { text: expect.stringMatching(/^\d/) },
    });
  });

  test('chooses among 10 000 values of a stranger', async () => {
    const values = Array.from({ length: 10_000 }, (_, i) => `value ${i}`);
    const { value } = await model.ask(picture, WHERE, { schema: { enum: values }, schemaFrom: 'stranger' });
    expect(values).toContain(value);
  });

  test('refuses before it generates', async () => {
    await expect(model.ask(picture, WHERE, { schema: z.never() })).rejects.toMatchObject({
      code: 'ERR_SCHEMA_UNSATISFIABLE',
    });
    await expect(model.ask(picture, WHERE, { schema: { type: 'array', uniqueItems: true } })).rejects.toMatchObject({
      code: 'ERR_SCHEMA_UNSUPPORTED',
      details: { path: '#/uniqueItems' },
    });
    await expect(model.ask(picture, WHERE, { schema: z.boolean(), stop: 'e' })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT_INVALID',
    });
  });

  test('decides without writing where few answers are possible', async () => {
    const door = await model.ask(picture, 'Is there a red cup?', { schema: yesNo() });
    expectTypeOf(door.value).toEqualTypeOf<boolean>();
    expect(door).toMatchObject({ text: door.value ? 'yes' : 'no', finishReason: 'stop', objects: [] });
    expect(door.usage.generatedTokens).toBe(0);
    expect(door.timings.engineCalls).toBe(1);
    expect(door.options.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 6);
    const where = await model.ask(picture, WHERE, { schema: choice(['left', 'right']) });
    expectTypeOf(where.value).toEqualTypeOf<'left' | 'right'>();
    expect(where.options.map(({ value }) => value).sort()).toEqual(['left', 'right']);
    const many = await model.ask(picture, 'How many things are there?', { schema: count(9) });
    expect(many.value).toBe(many.options[0]!.value);
    expect(many.options).toHaveLength(10);
    expect((await model.ask(picture, 'How many?', { schema: number(5, 7) })).value).toSatisfy(
      (n: number) => n >= 5 && n <= 7,
    );
    // What only writing has is refused.
    const options = { schema: yesNo(), temperature: 1 };
    await expect(model.ask(picture, WHERE, options)).rejects.toMatchObject({ code: 'ERR_ARGUMENT_INVALID' });
  });

  test('works across a process', async () => {
    await using there = await loadModel(checkpoint, { backend: 'cpu', isolation: 'process' });
    const schema = seen.transform(({ label }) => ({ name: label }));
    const { value } = await there.ask(picture, WHERE, { schema });
    const here = await model.ask(picture, WHERE, { schema });
    expect(value).toEqual(here.value);
    const decided = await there.ask(picture, WHERE, { schema: choice(['left', 'right']) });
    expect(decided.value).toBe((await model.ask(picture, WHERE, { schema: choice(['left', 'right']) })).value);
    await expect(there.ask(picture, WHERE, { schema: { type: 'float' } })).rejects.toMatchObject({
      code: 'ERR_SCHEMA_INVALID',
    });
  });
});
