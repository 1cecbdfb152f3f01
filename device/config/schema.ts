/**
 * The device's configuration: one schema is the source of the types, the defaults, the checks and the documentation.
 * Secrets have no place in the file: see `environment.ts`.
 */
import { hostname } from 'node:os';
import { LIMITS } from 'scenebus';
import { isTopicFilter, watchDefinitionSchema } from 'scenebus/bus';
import { z } from 'zod';
import { brokerSchema, embeddedBrokerSchema, groupsSchema } from './sections/brokers.js';
import { cameraSchema } from './sections/camera.js';
import { consoleSchema } from './sections/console.js';
import { askSchema, describeSchema } from './sections/features.js';
import { topicLevel, topicLevels } from './sections/fields.js';
import { journalSchema } from './sections/journal.js';
import { modelSchema } from './sections/model.js';
import { openAiSchema } from './sections/openai.js';
import { homeAssistantSchema, metricsSchema, onvifSchema } from './sections/sinks.js';

/** The host's name with everything replaced that not every broker carries in a topic. */
export function defaultDeviceName(host: string = hostname()): string {
  return host.replace(/[^A-Za-z0-9_-]/g, '-').slice(0, 64) || 'device';
}

export const deviceConfigSchema = z
  .strictObject({
    version: z.literal(1).meta({ title: 'Version of this format' }),
    device: topicLevel
      .prefault(() => defaultDeviceName())
      .meta({ title: 'Device name', description: 'Default: the host name' }),
    root: topicLevels.default('scenebus').meta({ title: 'Topic root' }),
    model: modelSchema,
    cameras: z
      .array(cameraSchema)
      .min(1)
      .max(16)
      .refine((cameras) => new Set(cameras.map(({ id }) => id)).size === cameras.length, {
        error: 'Expected every camera to have an id of its own',
      })
      .meta({ title: 'Cameras' }),
    broker: brokerSchema.optional().meta({ description: 'Left out: an embedded broker on loopback' }),
    embeddedBroker: embeddedBrokerSchema.optional(),
    responseTopics: z
      .array(
        z.string().max(LIMITS.busTopicBytes).refine(isTopicFilter, {
          error: 'Expected a topic filter such as robots/+/answers, with + or # as whole levels',
        }),
      )
      .min(1)
      .max(64)
      .optional()
      .meta({
        title: 'Response topics',
        description: 'Filters of the topics that callers may have their answers on. Left out: all below the topic root',
      }),
    groups: groupsSchema,
    watches: z
      .array(watchDefinitionSchema)
      .max(64)
      .refine((watches) => new Set(watches.map(({ id }) => id)).size === watches.length, {
        error: 'Expected every watch to have an id of its own',
      })
      .default([])
      .meta({ title: 'Watches', description: 'Standing questions; more can be added over the bus' }),
    describe: describeSchema.prefault({}),
    ask: askSchema.prefault({}),
    snapshots: z.boolean().default(false).meta({
      title: 'Snapshots',
      description: 'true: whoever may ask over the bus also gets pictures, as JPEG',
    }),
    journal: journalSchema.prefault({}),
    console: consoleSchema.prefault({}),
    homeAssistant: homeAssistantSchema.optional(),
    onvif: onvifSchema.optional(),
    metrics: metricsSchema.optional(),
    openai: openAiSchema.optional(),
    healthIntervalSeconds: z.int().min(1).max(3_600).default(30).meta({ title: 'Pause between health messages' }),
    log: z.enum(['debug', 'info', 'warn', 'error']).default('info').meta({ title: 'Log level' }),
  })
  .refine(({ broker, embeddedBroker }) => broker === undefined || embeddedBroker === undefined, {
    error: 'Expected settings of the embedded broker or the address of another one, not both',
    path: ['embeddedBroker'],
  })
  .superRefine(({ root, device, homeAssistant, onvif }, context) => {
    const outward = [
      { path: ['homeAssistant', 'discoveryPrefix'], place: homeAssistant?.discoveryPrefix },
      { path: ['onvif', 'topicPrefix'], place: onvif && (onvif.topicPrefix ?? device) },
    ];
    for (const { path, place } of outward) {
      if (place === undefined || (place !== root && !place.startsWith(`${root}/`))) continue;
      const message = `Expected topics outside of the topic root ${root}, which is the device's own`;
      context.addIssue({ code: 'custom', path, message });
    }
  })
  .superRefine(({ cameras }, context) => {
    for (const [i, { intrinsics, mounting }] of cameras.entries()) {
      if (mounting === undefined || intrinsics !== undefined) continue;
      const message =
        'Expected `intrinsics` beside it: without a calibration of the lens a mounting says nothing (scenebus calibrate-camera makes one)';
      context.addIssue({ code: 'custom', path: ['cameras', i, 'mounting'], message });
    }
  })
  .superRefine(({ watches, cameras }, context) => {
    const known = new Set(cameras.map(({ id }) => id));
    for (const [i, watch] of watches.entries()) {
      for (const [j, camera] of (watch.cameras ?? []).entries()) {
        if (known.has(camera)) continue;
        const message = `Expected a camera of this file (${[...known].join(', ')}), but received ${JSON.stringify(camera)}`;
        context.addIssue({ code: 'custom', path: ['watches', i, 'cameras', j], message });
      }
    }
  })
  .meta({ title: 'SceneBus device' });

/** What a file may say: defaults left out. */
export type DeviceConfigInput = z.input<typeof deviceConfigSchema>;
type ParsedConfig = z.output<typeof deviceConfigSchema>;
export type CameraConfig = ParsedConfig['cameras'][number];

/** What the service is given: complete and frozen, secrets joined from the environment. */
export interface DeviceConfig extends Readonly<ParsedConfig> {
  readonly secrets: {
    readonly mqttUsername?: string | undefined;
    readonly mqttPassword?: string | undefined;
    /** The admin's of the console. */
    readonly consolePassword?: string | undefined;
    /** Of the API in OpenAI's form. */
    readonly serveKey?: string | undefined;
  };
}
