/** POST /v1/responses. https://platform.openai.com/docs/api-reference/responses */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { toldRefusal } from './api-error.js';
import { openMessages } from './asked-messages.js';
import { extensionOf, requireModelName } from './chat-completions.js';
import { type ApiServices, modelNameOf, openExchange } from './exchange.js';
import { tokenLogprobs } from './log-probabilities.js';
import { askedInput, type ResponsesBody, readResponsesBody, responsesOptions } from './responses-request.js';
import { type Written, writtenByPieces, writtenWhole } from './writing.js';

export function addResponses(app: FastifyInstance, services: ApiServices): void {
  const { model, logger } = services;
  app.post('/v1/responses', async (request, reply) => {
    const { body, warnings: aboutBody } = readResponsesBody(request.body);
    requireModelName(body.model, modelNameOf(services));
    const { signal, pictures, caller } = openExchange(services, request, reply);
    const { messages, warnings: aboutMessages } = await openMessages(askedInput(body, pictures), signal);
    const warnings = [...aboutBody, ...aboutMessages];
    const stream = model.generate({ messages }, { ...responsesOptions(body), caller, signal });
    const form = new ResponseForm(body, modelNameOf(services), warnings);
    if (!body.stream) return form.ended(await writtenWhole(stream));
    const pieces = await writtenByPieces(stream);
    async function* events() {
      try {
        yield* form.opening();
        let next = await pieces.next();
        for (; !next.done; next = await pieces.next()) yield form.delta(next.value);
        yield* form.closing(next.value);
      } catch (error) {
        if (signal.aborted) return;
        const { message } = toldRefusal(error, logger);
        yield form.failure(message);
      } finally {
        await pieces.return?.({ text: '', finishReason: 'stop' });
      }
    }
    void reply.type('text/event-stream; charset=utf-8');
    return reply.send(Readable.from(events()));
  });
}

/** One response in all the forms that it goes through. */
class ResponseForm {
  readonly #id = `resp_${randomUUID().replaceAll('-', '')}`;
  readonly #itemId = `msg_${randomUUID().replaceAll('-', '')}`;
  readonly #body: ResponsesBody;
  readonly #modelName: string;
  readonly #warnings: readonly string[];
  readonly #createdAt = Math.floor(Date.now() / 1_000);
  #sequenceNumber = 0;

  constructor(body: ResponsesBody, modelName: string, warnings: readonly string[]) {
    this.#body = body;
    this.#modelName = modelName;
    this.#warnings = warnings;
  }

  ended(written: Written): object {
    const isCut = written.finishReason === 'length';
    const { answer } = written;
    return this.#response(isCut ? 'incomplete' : 'completed', {
      output: [this.#item(written)],
      incomplete_details: isCut ? { reason: 'max_output_tokens' } : null,
      usage: answer && {
        input_tokens: answer.usage.promptTokens,
        input_tokens_details: { cached_tokens: answer.usage.reusedTokens },
        output_tokens: answer.usage.generatedTokens,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: answer.usage.promptTokens + answer.usage.generatedTokens,
      },
      scenebus: extensionOf(written, this.#warnings),
    });
  }

  *opening() {
    const response = this.#response('in_progress', {});
    yield this.#event('response.created', { response });
    yield this.#event('response.in_progress', { response });
    const item = { id: this.#itemId, type: 'message', status: 'in_progress', role: 'assistant', content: [] };
    yield this.#event('response.output_item.added', { output_index: 0, item });
    const part = { type: 'output_text', text: '', annotations: [], logprobs: [] };
    yield this.#event('response.content_part.added', { ...this.#place, part });
  }

  delta(text: string): string {
    return this.#event('response.output_text.delta', { ...this.#place, delta: text, logprobs: [] });
  }

  *closing(written: Written) {
    const item = this.#item(written);
    const [part] = item.content;
    const { text, logprobs } = part!;
    yield this.#event('response.output_text.done', { ...this.#place, text, logprobs });
    yield this.#event('response.content_part.done', { ...this.#place, part });
    yield this.#event('response.output_item.done', { output_index: 0, item });
    const type = written.finishReason === 'length' ? 'response.incomplete' : 'response.completed';
    yield this.#event(type, { response: this.ended(written) });
  }

  failure(message: string): string {
    const response = this.#response('failed', { error: { code: 'server_error', message } });
    return this.#event('response.failed', { response });
  }

  get #place() {
    return { item_id: this.#itemId, output_index: 0, content_index: 0 };
  }

  #item({ text, answer, finishReason }: Written) {
    const logprobs = answer === undefined ? [] : tokenLogprobs(answer);
    return {
      id: this.#itemId,
      type: 'message',
      status: finishReason === 'length' ? 'incomplete' : 'completed',
      role: 'assistant',
      content: [{ type: 'output_text', text, annotations: [], logprobs }],
    };
  }

  #response(status: string, more: object): object {
    const { instructions = null, max_output_tokens = null, temperature = null, top_p = null, metadata } = this.#body;
    return {
      id: this.#id,
      object: 'response',
      created_at: this.#createdAt,
      status,
      error: null,
      incomplete_details: null,
      instructions,
      max_output_tokens,
      metadata,
      model: this.#modelName,
      output: [],
      parallel_tool_calls: false,
      previous_response_id: null,
      store: false,
      temperature,
      text: { format: this.#body.text.format },
      tool_choice: 'none',
      tools: [],
      top_p,
      truncation: 'disabled',
      usage: null,
      ...more,
    };
  }

  #event(type: string, fields: object): string {
    const data = { type, sequence_number: this.#sequenceNumber++, ...fields };
    return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
  }
}
