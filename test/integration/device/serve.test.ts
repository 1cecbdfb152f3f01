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

/** As the README of the client asks about a picture, with the picture itself. */
const askedResponses = () => ({
  model: modelName,
  temperature: 0,
  input: [
    {
      role: 'user' as const,
      content: [
        { type: 'input_text' as const, text: question },
        { type: 'input_image' as const, detail: 'auto' as const, image_url: `data:image/jpeg;base64,${base64}` },
      ],
    },
  ],
});

describe('the client of OpenAI, by responses', () => {
  test('gets the answer about a picture', async () => {
    const response = await client.responses.create(askedResponses());
    // Text before the picture is another prompt than `expected` has; the model sees the same.
    expect(response.output_text).not.toBe('');
    expect(response).toMatchObject({ status: 'completed', error: null, incomplete_details: null });
    expect(response.usage?.total_tokens).toBe(
      Number(response.usage?.input_tokens) + Number(response.usage?.output_tokens),
    );
    const again = [...askedResponses().input, ...response.output, { role: 'user' as const, content: 'And the cup?' }];
    const next = await client.responses.create({
      ...askedResponses(),
      input: again as OpenAI.Responses.ResponseInput,
      max_output_tokens: 8,
    });
    expect(next.output_text).not.toBe('');
  });

  test('gets it event by event, to the same end', async () => {
    const whole = await client.responses.create({ ...askedResponses(), instructions: 'Be brief.' });
    const stream = client.responses.stream({ ...askedResponses(), instructions: 'Be brief.' });
    const events: string[] = [];
    const numbers: number[] = [];
    let text = '';
    for await (const event of stream) {
      events.push(event.type);
      numbers.push(event.sequence_number);
      if (event.type === 'response.output_text.delta') text += event.delta;
    }
    const final = await stream.finalResponse();
    expect(text).toBe(whole.output_text);
    expect(final.output_text).toBe(whole.output_text);
    expect(final.usage?.output_tokens).toBe(whole.usage?.output_tokens);
    expect(numbers).toEqual(numbers.map((_, index) => index));
    expect([...new Set(events)]).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ]);
  });

  test('gets JSON by a schema, probabilities, and half an answer as incomplete', async () => {
    const schema = {
      type: 'object',
      properties: { cups: { type: 'integer', minimum: 0, maximum: 20 } },
      required: ['cups'],
      additionalProperties: false,
    };
    const format = { type: 'json_schema' as const, name: 'scene', strict: true, schema };
    const { output_text } = await client.responses.create({ ...askedResponses(), text: { format } });
    expect(JSON.parse(output_text)).toEqual({ cups: expect.any(Number) });
    const cut = await client.responses.create({
      ...askedResponses(),
      max_output_tokens: 4,
      include: ['message.output_text.logprobs'],
      top_logprobs: 2,
    });
    expect(cut).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } });
    const [item] = cut.output;
    const [part] = item?.type === 'message' ? item.content : [];
    const logprobs = part?.type === 'output_text' ? (part.logprobs ?? []) : [];
    expect(logprobs.map(({ token }) => token).join('')).toBe(cut.output_text);
    expect(logprobs[0]?.top_logprobs).toHaveLength(2);
  });

  test('is told by name what needs a memory or tools', async () => {
    const refused = (more: object) => client.responses.create({ ...askedResponses(), ...more });
    await expect(refused({ previous_response_id: 'resp_1' })).rejects.toMatchObject({
      status: 400,
      param: 'previous_response_id',
    });
    await expect(refused({ tools: [{ type: 'web_search' }] })).rejects.toMatchObject({ status: 400, param: 'tools' });
    const image = { type: 'input_image', detail: 'auto', image_url: 'https://images.example/front.jpg' };
    const input = [{ role: 'user', content: [image] }];
    await expect(refused({ input })).rejects.toMatchObject({ status: 400, code: 'invalid_image_url' });
  });
});

describe('requests of tools', () => {
  // home-assistant/core, components/openai_conversation/entity.py at 0150749: a stream of responses, the system as
  // developer, attachments behind the text, structures of AI tasks as a format.
  test("Home Assistant's, to OpenAI", async () => {
    const { input } = askedResponses();
    const [user] = input;
    const stream = await client.responses.create({
      model: modelName,
      input: [
        { type: 'message', role: 'developer', content: 'You are a voice assistant for Home Assistant.' },
        { type: 'message', ...user! },
      ],
      max_output_tokens: 150,
      top_p: 1,
      temperature: 1,
      user: '01JABCDEF',
      store: false,
      stream: true,
      text: {
        format: {
          type: 'json_schema',
          name: 'front_door',
          schema: {
            type: 'object',
            properties: { cups: { type: 'integer', description: 'How many cups there are' } },
            required: ['cups'],
            additionalProperties: false,
          },
        },
      },
    });
    let text = '';
    let end: OpenAI.Responses.Response | undefined;
    for await (const event of stream) {
      if (event.type === 'response.output_text.delta') text += event.delta;
      if (event.type === 'response.completed') end = event.response;
    }
    expect(JSON.parse(text)).toEqual({ cups: expect.any(Number) });
    expect(end?.usage?.output_tokens).toBeGreaterThan(0);
  });

  // home-assistant/core, components/ollama/entity.py at 0d0db90: always a stream, keep_alive as a duration, one option.
  test("Home Assistant's, to Ollama", async () => {
    const stream = await ollama.chat({
      model: modelName,
      messages: [
        { role: 'system', content: 'You are a voice assistant for Home Assistant.' },
        { role: 'user', content: 'What is on the table?', images: [base64] },
      ],
      stream: true,
      keep_alive: '300s',
      options: { num_ctx: 8_192 },
      think: false,
    });
    let text = '';
    for await (const { message } of stream) text += message.content;
    expect(text).not.toBe('');
  });

  // NVIDIA-AI-IOT/live-vlm-webui, src/live_vlm_webui/vlm_service.py and server.py at ecc9fc6: it lists models, then asks
  // with text first and no key but a placeholder.
  test("live-vlm-webui's", async () => {
    const [first] = (await client.models.list()).data;
    const answer = await client.chat.completions.create({
      model: first!.id,
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Describe what you see in this image in one sentence.' },
            { type: 'image_url', image_url: { url: `data:image/jpeg;base64,${base64}` } },
          ],
        },
      ],
      max_tokens: 512,
      temperature: 0.7,
    });
    expect(answer.choices[0]?.message.content).not.toBe('');
  });

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
