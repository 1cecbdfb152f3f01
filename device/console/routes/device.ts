/** How the device is. */
import { diagnose } from '../../platform/doctor/diagnose.js';
import { type Route, route } from '../api/route.js';
import { deviceSchema, doctorSchema, stateSchema } from '../api/schemas.js';
import type { ConsoleServices } from './services.js';

const PRESETS = ['What is in the picture?', 'List all objects with their boxes.', 'Is there a person?'];

export function deviceRoutes({ device, state, signal }: ConsoleServices): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/state',
      role: 'display',
      summary: 'Camera, model and broker in plain words',
      response: { type: 'json', schema: stateSchema },
      handle: async () => state.now(device),
    }),
    route({
      method: 'GET',
      path: '/api/device',
      role: 'display',
      summary: 'Versions and the model',
      response: { type: 'json', schema: deviceSchema },
      handle: async () => ({
        device: device.config.device,
        versions: state.info?.versions ?? {},
        model: state.info?.model ?? null,
        attribution: state.info?.attribution ?? null,
        presets: PRESETS,
      }),
    }),
    route({
      method: 'GET',
      path: '/api/doctor',
      role: 'operator',
      summary: 'What this machine has, what is missing, and what each absence means',
      maxPerMinute: 12,
      response: { type: 'json', schema: doctorSchema },
      handle: async () => ({ findings: await diagnose({ modelDirectory: device.config.model.directory, signal }) }),
    }),
  ];
}
