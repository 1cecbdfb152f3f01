/** The clients that people have, and the requests of their tools, against a server over the demo model. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Ollama } from 'ollama';
import OpenAI from 'openai';
import type { VisionLanguageModel } from 'scenebus';
import { decodeImage, silentLogger } from 'scenebus';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ModelServer } from '#device/openai/server.js';
import { makeTemporaryFolder } from '../../support/temporary-folder.js';
import { loadDemoModel } from './demo-device.js';

const photo = fileURLToPath(new URL('../../../examples/demo-model/evaluation/00000.jpg', import.meta.url));
const question = 'List all objects with their boxes.';
const modelName = 'llama3.2-vision';

let model: VisionLanguageModel;
let server: ModelServer;
let client: OpenAI;
let ollama: Ollama;
let base64: string;
/** What the SDK answers. */
let expected: Awaited<ReturnType<VisionLanguageModel['ask']>>;
beforeAll(async () => {
  model = await loadDemoModel(await makeTemporaryFolder('scenebus-serve-'));
  server = await ModelServer.start({ model, modelName, port: 0, logger: silentLogger });
  client = new OpenAI({ baseURL: `${server.address}/v1`, apiKey: 'none', maxRetries: 0 });
  ollama = new Ollama({ host: server.address });
  base64 = (await readFile(photo)).toString('base64');
  const image = await decodeImage(photo);
  const content = [{ type: 'image', image } as const, { type: 'text', text: question } as const];
  expected = await model.generate({ messages: [{ role: 'user', content }] }, { temperature: 0 }).collect();
}, 120_000);
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await model?.[Symbol.asyncDispose]();
});

const asked = () => ({
  model: modelName,
  temperature: 0,
  messages: [
    {
      role: 'user' as const,
      content: [
        { type: 'image_url' as const, image_url: { url: `data:image/jpeg;base64,${base64}` } },
        { type: 'text' as const, text: question },
      ],
    },
  ],
});

describe('the client of OpenAI', () => {
  test('gets the answer that the SDK gives, with boxes and usage', async () => {
    const answer = await client.chat.completions.create(asked());
    expect(answer.choices[0]).toMatchObject({ message: { content: expected.text }, finish_reason: 'stop' });
    expect(answer.usage).toMatchObject({
      prompt_tokens: expected.usage.promptTokens,
      completion_tokens: expected.usage.generatedTokens,
    });
    expect(expected.objects.length).toBeGreaterThan(0);
    expect((answer as unknown as { scenebus: object }).scenebus).toMatchObject({ objects: expected.objects });
  });

  test('gets the probability of every token, whole and as a stream', async () => {
    const probabilities = { logprobs: true, top_logprobs: 3 };
    const { choices } = await client.chat.completions.create({ ...asked(), ...probabilities });
    const tokens = choices[0]?.logprobs?.content ?? [];
    expect(tokens.map(({ token }) => token).join('')).toBe(expected.text);
    for (const { token, logprob, bytes, top_logprobs: likeliest } of tokens) {
      expect(Buffer.from(bytes ?? []).toString()).toBe(token);
      // Greedy: what was written is the likeliest.
      expect(likeliest).toHaveLength(3);
      expect(likeliest[0]).toMatchObject({ token, logprob });
      expect(likeliest.reduce((sum, each) => sum + Math.exp(each.logprob), 0)).toBeLessThanOrEqual(1 + 1e-6);
    }
    const stream = await client.chat.completions.create({ ...asked(), ...probabilities, stream: true });
    const streamed: OpenAI.ChatCompletionTokenLogprob[] = [];
    for await (const chunk of stream) streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
    expect(streamed.map(({ token }) => token)).toEqual(tokens.map(({ token }) => token));
  });

  test('gets it piece by piece, with usage behind it', async () => {
    const stream = await client.chat.completions.create({
      ...asked(),
      stream: true,
      stream_options: { include_usage: true },
    });
    const pieces: string[] = [];
    let usage: OpenAI.CompletionUsage | null | undefined;
    let last: string | null | undefined;
    for await (const chunk of stream) {
      const [choice] = chunk.choices;
      if (choice?.delta.content) pieces.push(choice.delta.content);
      last = choice?.finish_reason ?? last;
      usage = chunk.usage ?? usage;
    }
    expect(pieces.length).toBeGreaterThan(3);
    expect(pieces.join('')).toBe(expected.text);
    expect(last).toBe('stop');
    expect(usage?.total_tokens).toBe(expected.usage.promptTokens + expected.usage.generatedTokens);
  });

  test('gets JSON by a schema, and half of it with the reason length where the limit comes first', async () => {
    const schema = {
      type: 'object',
      properties: { cups: { type: 'integer', minimum: 0, maximum: 20 }, tidy: { type: 'boolean' } },
      required: ['cups', 'tidy'],
      additionalProperties: false,
    };
    const response_format = { type: 'json_schema' as const, json_schema: { name: 'scene', strict: true, schema } };
    const answer = await client.chat.completions.create({ ...asked(), response_format });
    expect(JSON.parse(answer.choices[0]?.message.content ?? '')).toEqual({
      cups: expect.any(Number),
      tidy: expect.any(Boolean),
    });
    const cut = await client.chat.completions.create({ ...asked(), response_format, max_tokens: 3 });
    expect(cut.choices[0]?.finish_reason).toBe('length');
    const unsupported = { name: 'scene', schema: { type: 'string', pattern: '(?=a)b' } };
    await expect(
      client.chat.completions.create({
        ...asked(),
        response_format: { type: 'json_schema', json_schema: unsupported },
      }),
    ).rejects.toMatchObject({ status: 400, code: expect.stringMatching(/^ERR_SCHEMA_/) });
  });

  test('gets an object by json_object', async () => {
    const answer = await client.chat.completions.create({
      ...asked(),
      response_format: { type: 'json_object' },
      max_tokens: 200,
    });
    const content = answer.choices[0]?.message.content ?? '';
    expect(content).toMatch(/^\{/);
    if (answer.choices[0]?.finish_reason === 'stop') expect(JSON.parse(content)).toBeTypeOf('object');
  });

  test('draws the same again with the same seed', async () => {
    const draw = async (seed: number) =>
      (await client.chat.completions.create({ ...asked(), temperature: 1.5, seed, max_tokens: 12 })).choices[0]?.message
        .content;
    expect(await draw(7)).toBe(await draw(7));
  });
});

describe('requests of tools', () => {
  // frigate/genai/openai.py, OpenAIClient._send: text first, pictures as data URLs with a detail.
  test("Frigate's, to OpenAI", async () => {
    const image = {
      type: 'image_url' as const,
      image_url: { url: `data:image/jpeg;base64,${base64}`, detail: 'low' as const },
    };
    const answer = await client.chat.completions.create({
      model: modelName,
      messages: [{ role: 'user', content: [{ type: 'text', text: 'Describe the scene.' }, image, image] }],
      max_tokens: 24,
    });
    expect(answer.choices[0]?.message.content).not.toBe('');
    const models = await client.models.list();
    expect(models.data[0]).toMatchObject({ id: modelName, max_model_len: model.info.engine.contextLength });
  });

  // frigate/genai/ollama.py, OllamaClient: show() first, then generate() with these options and without a stream.
  test("Frigate's, to Ollama", async () => {
    const shown = await ollama.show({ model: modelName });
    expect(shown.capabilities).toContain('vision');
    const options = { temperature: 0.5, repeat_penalty: 1.05, presence_penalty: 0.3, num_ctx: 8_192, num_predict: 24 };
    const { response, done, eval_count } = await ollama.generate({
      model: modelName,
      prompt: 'Describe the scene.',
      images: [base64],
      options,
      keep_alive: -1,
    });
    expect({ done, isWritten: (response ?? '').length > 0, isBounded: Number(eval_count) <= 24 }).toEqual({
      done: true,
      isWritten: true,
      isBounded: true,
    });
  });
});

describe('the client of Ollama', () => {
  test('lists the model, with a tag', async () => {
    expect((await ollama.list()).models.map(({ name }) => name)).toEqual([`${modelName}:latest`]);
  });

  test('chats about a picture, piece by piece', async () => {
    const stream = await ollama.chat({
      model: `${modelName}:latest`,
      messages: [{ role: 'user', content: question, images: [base64] }],
      options: { temperature: 0 },
      stream: true,
    });
    let written = '';
    let end: object | undefined;
    for await (const part of stream) {
      written += part.message.content;
      if (part.done) end = part;
    }
    expect(written).toBe(expected.text);
    expect(end).toMatchObject({ done_reason: 'stop', eval_count: expected.usage.generatedTokens });
  });

  test('gets JSON by a schema', async () => {
    const format = {
      type: 'object',
      properties: { cups: { type: 'integer', minimum: 0, maximum: 9 } },
      required: ['cups'],
      additionalProperties: false,
    };
    const { message } = await ollama.chat({
      model: modelName,
      messages: [{ role: 'user', content: 'How many cups?', images: [base64] }],
      format,
    });
    expect(JSON.parse(message.content)).toEqual({ cups: expect.any(Number) });
  });

  test('is told in its own form what is refused', async () => {
    await expect(ollama.chat({ model: 'moondream', messages: [] })).rejects.toThrow('is not served here');
    await expect(ollama.generate({ model: modelName, prompt: 'a', images: ['<html>'] })).rejects.toThrow('base64');
    await expect(ollama.generate({ model: modelName, prompt: 'a', raw: true })).rejects.toThrow('raw');
  });
});
