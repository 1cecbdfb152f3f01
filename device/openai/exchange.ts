/** One request to the API while it is answered: ends when it is answered, or when its client has gone. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Logger, type ModelInfo, SdkError } from 'scenebus';
import type { PictureStore, RequestPictures } from './pictures.js';
import type { ServedModel } from './served-model.js';

/** What all routes share. */
export interface ApiServices {
  readonly model: ServedModel;
  /** What clients call the model; undefined: by its own name. */
  readonly name: string | undefined;
  /** When the model was made ready. */
  readonly createdAtMs: number;
  readonly pictures: PictureStore;
  readonly logger: Logger;
}

/** @throws SdkError ERR_ENGINE_DIED while the model is being loaded */
export function infoOf({ model }: Pick<ApiServices, 'model'>): ModelInfo {
  if (model.info !== undefined) return model.info;
  throw new SdkError('ERR_ENGINE_DIED', 'The model is being loaded. Ask again later.');
}

/** What clients call the model. @throws as `infoOf` */
export function modelNameOf(services: Pick<ApiServices, 'model' | 'name'>): string {
  return services.name ?? infoOf(services).name;
}

export interface Exchange {
  readonly signal: AbortSignal;
  readonly pictures: RequestPictures;
  /**
   * For fairness, and because requests of one caller run one after another: a connection, for clients open one for each
   * request that they want answered at the same time.
   */
  readonly caller: string;
}

export function openExchange({ pictures }: ApiServices, request: FastifyRequest, reply: FastifyReply): Exchange {
  const gone = new AbortController();
  const held = pictures.open();
  reply.raw.once('close', () => {
    held[Symbol.dispose]();
    gone.abort(new DOMException('The client has gone.', 'AbortError'));
  });
  if (reply.raw.destroyed) gone.abort();
  const { remoteAddress, remotePort } = request.socket;
  return { signal: gone.signal, pictures: held, caller: `api ${remoteAddress}:${remotePort}` };
}
