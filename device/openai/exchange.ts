/** One request to the API while it is answered: ends when it is answered, or when its client has gone. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger, VisionLanguageModel } from 'scenebus';
import type { PictureStore, RequestPictures } from './pictures.js';

/** What all routes share. */
export interface ApiServices {
  readonly model: VisionLanguageModel;
  /** What clients call the model. */
  readonly modelName: string;
  /** When the model was made ready. */
  readonly createdAtMs: number;
  readonly pictures: PictureStore;
  readonly logger: Logger;
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
