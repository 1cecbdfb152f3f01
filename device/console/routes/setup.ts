/** Setting a device up, its terms, and what is sent to whoever helps. */
import { cameraDevices } from '../../platform/doctor/camera-checks.js';
import { thisMachine } from '../../platform/machine.js';
import { type Route, route } from '../api/route.js';
import {
  licencesSchema,
  setupCheckSchema,
  setupLeaveSchema,
  setupSchema,
  setupStepSchema,
} from '../api/setup-schemas.js';
import { diagnosticsBundle } from '../diagnostics/bundle.js';
import type { ConsoleServices } from './services.js';

export function setupRoutes(services: ConsoleServices): Route[] {
  const { device, setup } = services;
  return [
    route({
      method: 'GET',
      path: '/api/setup',
      role: 'admin',
      summary: 'How far this device is set up, and the cameras that are plugged in',
      response: { type: 'json', schema: setupSchema },
      handle: async () => ({ steps: setup.steps, isLeft: setup.isLeft, devices: await cameraDevices(thisMachine) }),
    }),
    route({
      method: 'POST',
      path: '/api/setup/check',
      role: 'admin',
      summary: 'Try a step for real: a picture, an answer of the model, a request over the broker and back',
      body: setupCheckSchema,
      maxPerMinute: 30,
      response: { type: 'json', schema: setupStepSchema },
      handle: async ({ body: { step } }) => await setup.check(step),
    }),
    route({
      method: 'PUT',
      path: '/api/setup',
      role: 'admin',
      summary: 'Leave the set-up for later, or go on with it',
      body: setupLeaveSchema,
      response: { type: 'empty' },
      handle: async ({ body: { isLeft } }) => {
        await setup.setLeft(isLeft);
        return undefined;
      },
    }),
    route({
      method: 'GET',
      path: '/api/licences',
      role: 'display',
      summary: 'The terms of this product and of its model',
      maxPerMinute: 60,
      response: { type: 'json', schema: licencesSchema },
      handle: async () => await device.licences(),
    }),
    route({
      method: 'GET',
      path: '/api/diagnostics',
      role: 'admin',
      summary: 'Configuration, versions, doctor, health and log in a zip, without secrets',
      maxPerMinute: 12,
      response: { type: 'bytes', mediaType: 'application/zip' },
      handle: async ({ reply }) => {
        const name = device.config.device.replace(/[^A-Za-z0-9_-]/g, '-');
        const day = new Date().toISOString().slice(0, 10);
        void reply.header('content-disposition', `attachment; filename="scenebus-${name}-${day}.zip"`);
        return await diagnosticsBundle(services);
      },
    }),
  ];
}
