/** What a server has and can, found out before it is relied on. */
import { isSdkError, SdkError } from '../../core/errors.js';
import { modelsSchema } from './chunks.js';
import { invalidAnswer } from './failures.js';
import type { ResolvedRemote } from './options.js';
import { readAnswer } from './reading.js';
import type { RemoteServer } from './server.js';

/** What was found out of a server. */
export interface Found {
  /** Tokens; undefined: the server does not tell. */
  readonly contextLength: number | undefined;
  /** It sends boxes beside the text, as SceneBus does. */
  readonly sendsObjects: boolean;
  readonly logProbabilities: boolean;
  readonly notices: readonly string[];
}

const MODELS_BYTES = 4 * 2 ** 20;
const NAMES_SHOWN = 10;
const NO_SUCH_ROUTE = [404, 405, 501];

/** @throws SdkError ERR_MODEL_NOT_FOUND with the names that the server has; ERR_REMOTE_*; ERR_BUSY */
export async function probe(server: RemoteServer, remote: ResolvedRemote, signal: AbortSignal): Promise<Found> {
  const card = await cardOf(server, remote, signal);
  const sendsObjects = card?.owned_by === 'scenebus';
  const notices =
    card === undefined ? [`${server.where} lists no models: whether it has ${remote.model} is not known.`] : [];
  const contextLength = card?.max_model_len ?? undefined;
  const logProbabilities =
    remote.logProbabilities ?? (sendsObjects || (await tellsProbabilities(server, remote, signal)));
  return { contextLength, sendsObjects, logProbabilities, notices };
}

/** undefined: it has no list. */
async function cardOf(server: RemoteServer, { model }: ResolvedRemote, signal: AbortSignal) {
  let text: string;
  try {
    text = await server.readAll(await server.open({ method: 'GET', path: '/models', signal }), MODELS_BYTES, signal);
  } catch (error) {
    if (isSdkError(error, 'ERR_REMOTE_REJECTED') && NO_SUCH_ROUTE.includes(Number(error.details.status)))
      return undefined;
    throw error;
  }
  let list: ReturnType<typeof modelsSchema.safeParse> | undefined;
  try {
    list = modelsSchema.safeParse(JSON.parse(text));
  } catch {
    // Told below.
  }
  if (!list?.success) throw invalidAnswer(`${server.where}/models`, 'what it sends is no list of models');
  const card = list.data.data.find(({ id }) => id === model);
  if (card !== undefined) return card;
  const ids = list.data.data.map(({ id }) => id);
  const names = ids.slice(0, NAMES_SHOWN).map((id) => JSON.stringify(id.slice(0, 200)));
  throw new SdkError(
    'ERR_MODEL_NOT_FOUND',
    `Expected the model ${JSON.stringify(model)} at ${server.where} but it serves ${names.join(', ') || 'none'}${ids.length > NAMES_SHOWN ? ' …' : ''}.`,
    { details: { asked: model, models: ids.slice(0, NAMES_SHOWN) } },
  );
}

/** Costs one token. A server that refuses to tell, or passes over the wish, does not. */
async function tellsProbabilities(
  server: RemoteServer,
  { model }: ResolvedRemote,
  signal: AbortSignal,
): Promise<boolean> {
  const body = {
    model,
    messages: [{ role: 'user', content: 'Answer with yes.' }],
    max_tokens: 1,
    temperature: 0,
    logprobs: true,
    top_logprobs: 2,
  };
  try {
    const response = await server.open({ method: 'POST', path: '/chat/completions', body, signal });
    const answer = await readAnswer(response, {
      server,
      model,
      maxNewTokens: 16,
      sentMs: performance.now(),
      onText: () => {},
      signal,
    });
    return answer.tokens.length > 0;
  } catch (error) {
    if (isSdkError(error, 'ERR_REMOTE_REJECTED') && [400, 422].includes(Number(error.details.status))) return false;
    throw error;
  }
}
