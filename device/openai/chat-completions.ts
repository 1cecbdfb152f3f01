/** POST /v1/chat/completions and GET /v1/models. https://platform.openai.com/docs/api-reference/chat */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { Answer } from 'scenebus';
import { ApiError, openAiError, toldRefusal } from './api-error.js';
import { openMessages } from './asked-messages.js';
import { askedMessages, optionsOf, readChatBody } from './chat-request.js';
import { type ApiServices, infoOf, modelNameOf, openExchange } from './exchange.js';
import { logprobsOf } from './log-probabilities.js';
import { type Written, writtenByPieces, writtenWhole } from './writing.js';

export function addChatCompletions(app: FastifyInstance, services: ApiServices): void {
  const { model, createdAtMs, logger } = services;
  const card = () => ({
    id: modelNameOf(services),
    object: 'model',
    created: Math.floor(createdAtMs / 1_000),
    owned_by: 'scenebus',
    // As vLLM tells it; clients that fit prompts to the context read it.
    max_model_len: infoOf(services).engine.contextLength,
  });
  app.get('/v1/models', async () => ({ object: 'list', data: [card()] }));
  app.get<{ Params: { id: string } }>('/v1/models/:id', async ({ params }) => {
    requireModelName(params.id, modelNameOf(services));
    return card();
  });

  app.post('/v1/chat/completions', async (request, reply) => {
    const { body, warnings: aboutBody } = readChatBody(request.body);
    const modelName = modelNameOf(services);
    requireModelName(body.model, modelName);
    const { signal, pictures, caller } = openExchange(services, request, reply);
    const { messages, warnings: aboutMessages } = await openMessages(askedMessages(body, pictures), signal);
    const warnings = [...aboutBody, ...aboutMessages];
    const stream = model.generate({ messages }, { ...optionsOf(body), caller, signal });
    const head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1_000), model: modelName };
    if (!body.stream) {
      const written = await writtenWhole(stream);
      return {
        ...head,
        object: 'chat.completion',
        choices: [
          {
            index: 0,
            message: { role: 'assistant', content: written.text, refusal: null },
            logprobs: logprobsOf(written.answer),
            finish_reason: written.finishReason,
          },
        ],
        ...(written.answer === undefined ? {} : { usage: usageOf(written.answer) }),
        scenebus: extensionOf(written, warnings),
      };
    }
    const pieces = await writtenByPieces(stream);
    const chunk = (delta: object, end?: Written, more: object = {}) => {
      // Which text became certain and which tokens wrote it are two things: the tokens come together, at the end.
      const [logprobs, finish_reason] = end === undefined ? [null, null] : [logprobsOf(end.answer), end.finishReason];
      const choices = [{ index: 0, delta, logprobs, finish_reason }];
      return event({ ...head, object: 'chat.completion.chunk', choices, ...more });
    };
    async function* events() {
      try {
        yield chunk({ role: 'assistant', content: '' });
        let next = await pieces.next();
        for (; !next.done; next = await pieces.next()) yield chunk({ content: next.value });
        const written = next.value;
        yield chunk({}, written, { scenebus: extensionOf(written, warnings) });
        if (body.stream_options?.include_usage && written.answer !== undefined)
          yield event({ ...head, object: 'chat.completion.chunk', choices: [], usage: usageOf(written.answer) });
        yield 'data: [DONE]\n\n';
      } catch (error) {
        if (signal.aborted) return;
        // The status has gone out already: clients take this for an error, and no [DONE] follows.
        yield event(openAiError(toldRefusal(error, logger)));
      } finally {
        await pieces.return?.({ text: '', finishReason: 'stop' });
      }
    }
    void reply.type('text/event-stream; charset=utf-8');
    return reply.send(Readable.from(events()));
  });
}

/** @throws ApiError 404 */
export function requireModelName(asked: string, served: string): void {
  if (asked === served) return;
  const message = `The model ${JSON.stringify(asked.slice(0, 200))} is not served here; ${JSON.stringify(served)} is.`;
  throw new ApiError(404, 'model_not_found', message, 'model');
}

export function usageOf({ usage }: Answer) {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.generatedTokens,
    total_tokens: usage.promptTokens + usage.generatedTokens,
    prompt_tokens_details: { cached_tokens: usage.reusedTokens },
  };
}

/** What OpenAI's form has no place for. */
export function extensionOf({ answer }: Written, warnings: readonly string[]) {
  const all = [...warnings, ...(answer?.notices ?? [])];
  return {
    objects: answer?.objects ?? [],
    ...(answer?.sentence === undefined ? {} : { sentence: answer.sentence }),
    ...(all.length === 0 ? {} : { warnings: all }),
  };
}

function event(value: object): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}
