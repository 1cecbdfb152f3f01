/** Where the model looks in a picture when it is asked for a thing. */
import { LIMITS } from 'scenebus';
import { z } from 'zod';
import { HttpError } from '../../http/http-error.js';
import { type Route, route } from '../api/route.js';
import { idSchema } from '../api/schemas.js';
import { chooseFrame } from './asked-frames.js';
import { requireModel } from './require-model.js';
import type { ConsoleServices } from './services.js';

/** As many characters as the model looks for as one name. */
const LABEL_CHARACTERS = Math.min(200, LIMITS.questionCharacters);

const heatMapSchema = z.strictObject({
  label: z.string().trim().min(1).max(LABEL_CHARACTERS),
  /** Its newest frame, unless `frame` names another. Left out with one camera: that one. */
  camera: idSchema.optional(),
  frame: z.strictObject({ id: idSchema, run: idSchema.optional() }).optional(),
});

export function heatMapRoutes(services: ConsoleServices): Route[] {
  return [
    route({
      method: 'POST',
      path: '/api/heat-maps',
      role: 'operator',
      summary:
        'Where the model looks for a thing in a picture: a PNG to stretch over it; how sure it is that the thing is there (0–1) in the header x-scenebus-presence',
      body: heatMapSchema,
      maxPerMinute: 120,
      response: { type: 'bytes', mediaType: 'image/png' },
      handle: async ({ body: { label, ...about }, principal, request, reply }) => {
        const access = requireModel(services);
        const { frame } = await chooseFrame(services, about);
        const gone = new AbortController();
        reply.raw.once('close', () => gone.abort());
        const { signal } = gone;
        const { heatMaps = [] } = await access.use(
          (model) =>
            model.ask(
              frame,
              model.info.prompts.locate.replace('{label}', () => label),
              // The map comes from the prompt: nothing has to be written.
              {
                heatMap: true,
                maxNewTokens: 1,
                deadlineMs: services.device.config.ask.timeoutMs,
                caller: principal?.session?.id ?? `console ${request.ip}`,
                signal,
              },
            ),
          signal,
        );
        const [map] = heatMaps;
        if (map === undefined)
          throw new HttpError(400, 'LABEL_INVALID', 'Expected the name of a thing, such as red cup.');
        if (map.presence !== undefined) void reply.header('x-scenebus-presence', map.presence.toFixed(4));
        return map.png;
      },
    }),
  ];
}
