/** The configuration: seen and changed by admins. */
import { z } from 'zod';
import { HttpError } from '../../http/http-error.js';
import { type Route, route } from '../api/route.js';
import {
  configChangesSchema,
  configOverviewSchema,
  configPreviewSchema,
  configSavedSchema,
  newSecretSchema,
  revisionSchema,
} from '../api/settings-schemas.js';
import type { ConfigEditor } from '../settings/config-editor.js';
import type { ConsoleServices } from './services.js';

/** Each writes a file. */
const CHANGES_PER_MINUTE = 60;

export function settingsRoutes({ settings }: ConsoleServices): Route[] {
  const editor = (): ConfigEditor => {
    if (settings !== undefined) return settings;
    throw new HttpError(
      409,
      'CONFIG_ELSEWHERE',
      'The program that runs this device gave it no configuration file: change its settings there.',
    );
  };
  return [
    route({
      method: 'GET',
      path: '/api/config',
      role: 'admin',
      summary: 'The configuration file without its secrets, its schema, and what may be changed here',
      response: { type: 'json', schema: configOverviewSchema },
      handle: async () => await editor().overview(),
    }),
    route({
      method: 'POST',
      path: '/api/config/preview',
      role: 'admin',
      summary: 'What a change would do: problems, lines of the file, what holds at once and what after a restart',
      body: configChangesSchema,
      response: { type: 'json', schema: configPreviewSchema },
      handle: async ({ body }) => await editor().preview(body),
    }),
    route({
      method: 'PUT',
      path: '/api/config',
      role: 'admin',
      summary: 'Write changes into the configuration file and apply what can be applied at once',
      body: configChangesSchema,
      maxPerMinute: CHANGES_PER_MINUTE,
      response: { type: 'json', schema: configSavedSchema },
      handle: async ({ body }) => await editor().save(body),
    }),
    route({
      method: 'POST',
      path: '/api/config/undo',
      role: 'admin',
      summary: 'Go back to the version before the last change',
      body: revisionSchema,
      maxPerMinute: CHANGES_PER_MINUTE,
      response: { type: 'json', schema: configSavedSchema },
      handle: async ({ body }) => await editor().undo(body.revision),
    }),
    route({
      method: 'PUT',
      path: '/api/config/secrets/:secret',
      role: 'admin',
      summary: 'Replace a secret; it is never shown',
      params: z.strictObject({ secret: z.string().min(1).max(100) }),
      body: newSecretSchema,
      maxPerMinute: CHANGES_PER_MINUTE,
      response: { type: 'json', schema: configSavedSchema },
      handle: async ({ params, body }) => await editor().replaceSecret(params.secret, body),
    }),
  ];
}
