/** The page itself: files that were built, and nothing else. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'scenebus';
import { HttpError } from '../../http/http-error.js';
import { loadAssets } from '../assets.js';

export async function addPage(app: FastifyInstance, logger: Logger): Promise<void> {
  const assets = await loadAssets();
  if (!assets.has('/'))
    logger.log('warn', 'the page of the console is not built: run `npm run build`; its API is served');
  const send = async (request: FastifyRequest, reply: FastifyReply) => {
    const path = request.url.replace(/\?.*$/s, '');
    const asset = assets.get(path);
    if (asset === undefined) {
      if (path !== '/') return reply.callNotFound();
      throw new HttpError(
        503,
        'PAGE_NOT_BUILT',
        'The page is not built: run `npm run build`. The API is at /api/openapi.json.',
      );
    }
    if (asset.isImmutable) void reply.header('cache-control', 'public, max-age=31536000, immutable');
    return reply.type(asset.mediaType).send(asset.bytes);
  };
  for (const url of ['/', '/*']) app.route({ method: 'GET', url, config: { role: 'public' }, handler: send });
}
