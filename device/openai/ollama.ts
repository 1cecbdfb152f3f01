/** What tools made for llama3.2-vision on Ollama need of its API: answers as lines of JSON. */
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { version } from 'scenebus';
import { z } from 'zod';
import { ollamaError, toldRefusal } from './api-error.js';
import { openMessages } from './asked-messages.js';
import { requireModelName } from './chat-completions.js';
import { checked } from './chat-request.js';
import { type ApiServices, infoOf, modelNameOf, openExchange } from './exchange.js';
import { askedTurns, type OllamaAsk, readChat, readGenerate } from './ollama-request.js';
import { type Written, writtenByPieces, writtenWhole } from './writing.js';

const NANOSECONDS = 1e6;

export function addOllama(app: FastifyInstance, services: ApiServices): void {
  const modifiedAt = new Date(services.createdAtMs).toISOString();
  const told = () => {
    const { engine, contentHash } = infoOf(services);
    const name = modelNameOf(services);
    const tag = `${name}${name.includes(':') ? '' : ':latest'}`;
    const details = { format: 'scenebus', family: 'mllama', families: ['mllama'], quantization_level: engine.weights };
    return { name, tag, details, engine, contentHash };
  };

  app.get('/api/version', async () => ({ version }));
  app.get('/api/tags', async () => {
    const { tag, details, contentHash } = told();
    return { models: [{ name: tag, model: tag, modified_at: modifiedAt, digest: contentHash, details }] };
  });
  app.post('/api/show', async ({ body }) => {
    const asked = checked(z.looseObject({ model: z.string().optional(), name: z.string().optional() }), body);
    const { name, details, engine } = told();
    requireTag(asked.model ?? asked.name ?? '', name);
    return {
      modified_at: modifiedAt,
      details,
      model_info: { 'general.architecture': 'mllama', 'mllama.context_length': engine.contextLength },
      capabilities: ['completion', 'vision'],
    };
  });
  app.post('/api/generate', async (request, reply) =>
    answer(services, readGenerate(request.body), (text) => ({ response: text }), request, reply),
  );
  app.post('/api/chat', async (request, reply) =>
    answer(
      services,
      readChat(request.body),
      (text) => ({ message: { role: 'assistant', content: text } }),
      request,
      reply,
    ),
  );
}

async function answer(
  services: ApiServices,
  ask: OllamaAsk,
  form: (text: string) => object,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  const { model, logger } = services;
  requireTag(ask.model, modelNameOf(services));
  const line = (text: string, more: object) => ({
    model: ask.model,
    created_at: new Date().toISOString(),
    ...form(text),
    ...more,
  });
  if (ask.messages.length === 0) return line('', { done: true, done_reason: 'load' });
  const { signal, pictures, caller } = openExchange(services, request, reply);
  const { messages, warnings: aboutMessages } = await openMessages(askedTurns(ask, pictures), signal);
  const warnings = [...ask.warnings, ...aboutMessages];
  const stream = model.generate({ messages }, { ...ask.options, caller, signal });
  if (!ask.stream) {
    const written = await writtenWhole(stream);
    return line(written.text, lastOf(written, warnings));
  }
  const pieces = await writtenByPieces(stream);
  async function* lines() {
    try {
      let next = await pieces.next();
      for (; !next.done; next = await pieces.next()) yield lineOf(line(next.value, { done: false }));
      yield lineOf(line('', lastOf(next.value, warnings)));
    } catch (error) {
      if (signal.aborted) return;
      yield lineOf(ollamaError(toldRefusal(error, logger)));
    } finally {
      await pieces.return?.({ text: '', finishReason: 'stop' });
    }
  }
  void reply.type('application/x-ndjson');
  return reply.send(Readable.from(lines()));
}

function lastOf({ answer, finishReason }: Written, warnings: readonly string[]) {
  const all = [...warnings, ...(answer?.notices ?? [])];
  const more = all.length === 0 ? {} : { warnings: all };
  const end = { done: true, done_reason: finishReason };
  if (answer === undefined) return { ...end, scenebus: { objects: [], ...more } };
  const { timings, usage, objects, sentence } = answer;
  return {
    ...end,
    total_duration: Math.round(timings.totalMs * NANOSECONDS),
    load_duration: 0,
    prompt_eval_count: usage.promptTokens,
    prompt_eval_duration: Math.round((timings.imageMs + timings.prefillMs) * NANOSECONDS),
    eval_count: usage.generatedTokens,
    eval_duration: Math.round(timings.decodeMs * NANOSECONDS),
    scenebus: { objects, ...(sentence === undefined ? {} : { sentence }), ...more },
  };
}

/** Ollama's names may end with a tag; without one `latest` is meant. */
function requireTag(asked: string, served: string): void {
  requireModelName(served.includes(':') ? asked : asked.replace(/:latest$/, ''), served);
}

function lineOf(value: object): string {
  return `${JSON.stringify(value)}\n`;
}
