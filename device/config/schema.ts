/**
 * The device's configuration: one schema is the source of the types, the defaults, the checks and the documentation.
 * Secrets have no place in the file: see `environment.ts`.
 */
import { hostname } from 'node:os';
import { LIMITS } from 'scenebus';
import { isTopicFilter, watchDefinitionSchema } from 'scenebus/bus';
import { cameraOptionsSchema } from 'scenebus/service';
import { z } from 'zod';

const TOPIC_LEVEL = /^[^/+#$\s]{1,64}$/;
const topicLevel = z.string().regex(TOPIC_LEVEL, 'Expected 1 to 64 characters without / + # $ and spaces');

/** The host's name with everything replaced that not every broker carries in a topic. */
export function defaultDeviceName(host: string = hostname()): string {
  return host.replace(/[^A-Za-z0-9_-]/g, '-').slice(0, 64) || 'device';
}

const filePath = z.string().min(1);

export const modelSchema = z
  .strictObject({
    directory: filePath.meta({ title: 'Model folder', description: 'Relative to this file' }),
    backend: z.enum(['auto', 'tensorrt', 'onnx', 'cpu']).default('auto').meta({
      title: 'Backend',
      description: 'auto: TensorRT where it is installed and passes its self-test, else the processor',
    }),
    numerics: z.enum(['meta', 'hf-4.45', 'hf-5']).default('meta').meta({
      title: 'Numerics',
      description:
        'meta: as trained by Meta; the others reproduce releases of transformers, for fine-tunes made with them',
    }),
    quantize: z
      .enum(['none', 'int4'])
      .default('none')
      .meta({ title: 'Quantise at first start', description: 'int4: into the cache folder, once; the source stays' }),
    acceptLlamaLicense: z.boolean().default(false).meta({
      title: 'Llama licence accepted',
      description: 'Needed to quantise a model under the Llama Community License: its owner has read and accepts it',
    }),
    isolation: z.enum(['process', 'none']).default('process').meta({
      title: 'Isolation',
      description:
        'process: the model runs in a process of its own, which is killed and restarted when it crashes or hangs; none: inside the service, which then crashes with it',
    }),
    grounder: z.enum(['auto', 'text', 'attention']).default('auto').meta({
      title: 'Boxes',
      description:
        'text: those that the model writes; attention: from where it looks, once scenebus calibrate-grounding has found its heads; auto: the first that the model has',
    }),
    contextLength: z.int().min(16).max(131_072).optional().meta({ title: 'Context length, tokens' }),
    threads: z.int().min(1).max(256).optional().meta({ title: 'Threads', description: 'Default: the physical cores' }),
    cacheDirectory: filePath.optional().meta({ title: 'Cache folder', description: 'Default: ~/.cache/scenebus' }),
  })
  .meta({ title: 'Model' });

const unit = z.number().min(0).max(1);
const prompt = z.string().trim().min(1).max(LIMITS.questionCharacters);

/** What can be said for all cameras and for one. */
const descriptionSettings = {
  minIntervalSeconds: z.number().min(0).max(86_400),
  maxSilenceSeconds: z.number().min(1).max(86_400),
  /** Grey levels. */
  level: z.number().min(0).max(255),
};

const angle = z.number().min(-180).max(180).default(0);
const metres = z.number().min(-1_000).max(1_000).default(0);

export const mountingSchema = z
  .strictObject({
    heightMetres: z.number().min(0.01).max(1_000).meta({ title: 'Height above the floor, metres' }),
    forwardMetres: metres.meta({ title: "Before the base's origin, metres" }),
    leftMetres: metres.meta({ title: "To the left of the base's origin, metres" }),
    pitchDegrees: angle.meta({ title: 'Tilt, degrees', description: 'Positive: looks down' }),
    rollDegrees: angle.meta({ title: 'Roll, degrees', description: 'Positive: its right side lower' }),
    yawDegrees: angle.meta({ title: 'Yaw, degrees', description: 'Positive: turned to the left' }),
    angleSigmaDegrees: z.number().min(0).max(45).default(0.5).meta({
      title: 'Uncertainty of the angles, degrees',
      description: 'Standard deviation',
    }),
    heightSigmaMetres: z.number().min(0).max(10).default(0.01).meta({
      title: 'Uncertainty of the height, metres',
      description: 'Standard deviation',
    }),
  })
  .meta({
    title: 'Mounting',
    description:
      'How the camera is mounted on its base (REP 103 and 105 of ROS). With `intrinsics` it gives bearings against the base, and where things stand on the floor',
  });

export const cameraSchema = cameraOptionsSchema
  .omit({ requireFirstFrame: true })
  .extend({
    id: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/, 'Expected letters, digits, _ and -, at most 64 characters')
      .meta({ title: 'Camera id', description: 'Its name in topics' }),
    address: z
      .string({
        error: ({ input }) =>
          typeof input === 'number' ? `Expected text, but received the number ${input}: write "${input}"` : undefined,
      })
      .min(1)
      .max(2_048)
      .meta({
        title: 'Address',
        description: '0, /dev/video0, csi:0, rtsp://…, http://…, a clip or a folder of images (relative to this file)',
      }),
    describe: z
      .boolean()
      .default(true)
      .meta({ title: 'Describe', description: 'false: this camera only answers questions' }),
    prompt: prompt
      .optional()
      .meta({ title: 'What a description is asked for', description: 'Left out: as in `describe`' }),
    minIntervalSeconds: descriptionSettings.minIntervalSeconds.optional().meta({
      title: 'Shortest pause between descriptions',
      description: 'Left out: as in `describe`',
    }),
    maxSilenceSeconds: descriptionSettings.maxSilenceSeconds
      .optional()
      .meta({ title: 'Longest silence', description: 'Left out: as in `describe`' }),
    change: z
      .strictObject({ mean: descriptionSettings.level.optional(), block: descriptionSettings.level.optional() })
      .optional()
      .meta({ title: 'Change that counts', description: 'What is left out: as in `describe`' }),
    schedule: watchDefinitionSchema.shape.schedule.meta({
      title: 'Hours',
      description:
        'In the local time of the device; outside of them this camera is not described. `to` before `from` reaches into the next day. Left out: always',
    }),
    masks: z
      .array(
        z
          .array(z.tuple([unit, unit]))
          .min(3)
          .max(64),
      )
      .max(32)
      .default([])
      .meta({
        title: 'Privacy masks',
        description:
          'Polygons of corners [x, y] from 0 to 1 (left, top to right, bottom of the picture after size and rotation): filled with grey before anything else sees a picture',
      }),
    intrinsics: filePath.optional().meta({
      title: 'Calibration',
      description:
        "ROS's camera_info, YAML or JSON, as scenebus calibrate-camera writes it; relative to this file. For pictures after size and rotation, or such of the same shape. Gives every box a bearing",
    }),
    mounting: mountingSchema.optional(),
  })
  .meta({ title: 'Camera' });

export const brokerSchema = z
  .strictObject({
    url: z
      .url({ protocol: /^(mqtts?|wss?)$/, error: 'Expected mqtt://, mqtts://, ws:// or wss:// and a host' })
      .refine((url) => !/^[a-z]+:\/\/[^/]*:[^/]*@/.test(url), {
        error: 'Expected no password in the file: put it into the environment variable SCENEBUS_MQTT_PASSWORD',
      })
      .meta({ title: 'Broker address' }),
    username: z.string().min(1).optional().meta({ title: 'User', description: 'SCENEBUS_MQTT_USERNAME wins' }),
    passwordFile: filePath.optional().meta({ title: 'File with the password', description: 'Relative to this file' }),
    protocolVersion: z
      .literal([4, 5])
      .optional()
      .meta({ title: 'MQTT version', description: '4 = 3.1.1; default: 5, else 4' }),
    keepaliveSeconds: z.int().min(5).max(3_600).default(30).meta({ title: 'Keep-alive, seconds' }),
    tls: z
      .strictObject({
        caFile: filePath.optional(),
        certFile: filePath.optional(),
        keyFile: filePath.optional(),
        servername: z.string().min(1).optional(),
      })
      .optional()
      .meta({ title: 'TLS files', description: 'PEM, relative to this file' }),
  })
  .meta({ title: 'MQTT broker' });

export const embeddedBrokerSchema = z
  .strictObject({
    host: z.string().min(1).default('127.0.0.1').meta({
      title: 'Interface',
      description: 'Any other than loopback needs SCENEBUS_MQTT_USERNAME and SCENEBUS_MQTT_PASSWORD',
    }),
    port: z.int().min(1).max(65_535).optional().meta({ title: 'Port', description: 'Default: 1883, else a free one' }),
    webSocket: z
      .strictObject({
        port: z.int().min(1).max(65_535).default(9_001).meta({ title: 'Port' }),
        origins: z
          .array(z.url({ protocol: /^https?$/, error: 'Expected an origin such as https://kiosk.example' }))
          .max(64)
          .default([])
          .meta({ title: 'Origins', description: 'Pages that may connect, besides those of this machine' }),
      })
      .optional()
      .meta({ title: 'WebSocket', description: 'For pages in a browser. Left out: none' }),
  })
  .meta({ title: 'Embedded broker', description: 'Only without `broker`' });

export const describeSchema = z
  .strictObject({
    prompt: prompt
      .optional()
      .meta({ title: 'What a description is asked for', description: "Left out: the model folder's own prompt" }),
    minIntervalSeconds: descriptionSettings.minIntervalSeconds
      .default(2)
      .meta({ title: 'Shortest pause between descriptions' }),
    maxSilenceSeconds: descriptionSettings.maxSilenceSeconds
      .default(60)
      .meta({ title: 'Longest silence', description: 'An unchanged scene is described again after it' }),
    change: z
      .strictObject({
        mean: descriptionSettings.level.default(4).meta({ title: 'Change of the whole picture' }),
        block: descriptionSettings.level.default(16).meta({ title: 'Change of some part of it' }),
      })
      .prefault({})
      .meta({ title: 'Change that counts', description: 'Mean difference in grey levels, 0–255' }),
    maxNewTokens: z.int().min(1).max(4_096).default(256).meta({ title: 'Longest description, tokens' }),
    objects: z.boolean().default(true).meta({
      title: 'Boxes in descriptions',
      description: 'true: where the model writes boxes, it also lists what it sees',
    }),
    verify: z.boolean().default(false).meta({
      title: 'Verify boxes',
      description: 'true: as in `ask`, for the boxes of every description',
    }),
    expirySeconds: z.int().min(1).max(86_400).default(300).meta({ title: 'Life of a description on the broker' }),
  })
  .meta({ title: 'Descriptions', description: 'For all cameras; each may have some of its own' });

export const askSchema = z
  .strictObject({
    timeoutMs: z.int().min(100).max(600_000).default(120_000).meta({ title: 'Deadline of a question that names none' }),
    queueLength: z.int().min(1).max(256).default(8).meta({ title: 'Questions that may wait' }),
    perCaller: z
      .strictObject({
        requestsPerSecond: z.number().min(0.1).max(1_000).default(20).meta({ title: 'Requests a second' }),
        burst: z.int().min(1).max(10_000).default(40).meta({ title: 'Requests at once' }),
      })
      .prefault({})
      .meta({ title: 'Limits of one caller', description: 'More is answered with ERR_BUSY' }),
    maxNewTokens: z.int().min(1).max(4_096).default(256).meta({ title: 'Longest answer, tokens' }),
    verify: z.boolean().default(false).meta({
      title: 'Verify boxes',
      description:
        'true: the model is asked about the cut-out of each box, unless the request says otherwise; each takes as long as a question about a new picture',
    }),
    staleSeconds: z
      .number()
      .min(0.1)
      .max(86_400)
      .default(10)
      .meta({ title: 'Age from which a picture is old', description: 'Answers about older ones say so in `notices`' }),
    stale: z.enum(['answer', 'refuse']).default('answer').meta({
      title: 'Questions about old pictures',
      description: 'answer: with the age in `notices`; refuse: ERR_CAPTURE_TIMEOUT, also for clips that have ended',
    }),
  })
  .meta({ title: 'Questions' });

export const journalSchema = z
  .strictObject({
    enabled: z.boolean().default(true).meta({
      title: 'Journal',
      description: 'false: nothing is written to a disk; what waits for the broker is lost with a restart',
    }),
    directory: filePath.optional().meta({
      title: 'Folder',
      description:
        'Relative to this file. Default: $STATE_DIRECTORY, $XDG_STATE_HOME/scenebus or ~/.local/state/scenebus',
    }),
    frames: z.boolean().default(false).meta({
      title: 'Pictures',
      description: 'true: keeps a JPEG of every frame that is described or asked about',
    }),
    maxAgeDays: z.number().min(0.01).max(3_650).default(30).meta({ title: 'Oldest event, days' }),
    maxMegabytes: z.int().min(1).max(1_000_000).default(512).meta({
      title: 'Largest file, MB',
      description: 'The oldest pictures go first, then the oldest events',
    }),
    waiting: z
      .strictObject({
        maxEvents: z.int().min(1).max(100_000).default(10_000),
        maxMegabytes: z.int().min(1).max(1_024).default(16),
        maxAgeHours: z.number().min(0.01).max(8_760).default(24),
        maxPerSecond: z.number().min(1).max(10_000).default(200).meta({ description: 'When the broker is back' }),
      })
      .prefault({})
      .meta({ title: 'What waits for the broker', description: 'Answers and events; what is dropped is counted' }),
  })
  .meta({ title: 'Journal of events' });

export const consoleSchema = z
  .strictObject({
    enabled: z.boolean().default(true).meta({ title: 'Console', description: 'A page and an HTTP API of this device' }),
    host: z.string().min(1).max(255).default('127.0.0.1').meta({
      title: 'Interface',
      description: 'Any other than loopback needs TLS and a password',
    }),
    port: z
      .int()
      .min(0)
      .max(65_535)
      .optional()
      .meta({ title: 'Port', description: '0: a free one. Default: 8088, else a free one' }),
    hosts: z
      .array(z.string().regex(/^[A-Za-z0-9._-]{1,253}$/, 'Expected a host name such as robot.local, without a port'))
      .max(16)
      .default([])
      .meta({ title: 'Names', description: 'That this device is reached by, besides `host` and localhost' }),
    tls: z
      .strictObject({ certFile: filePath, keyFile: filePath })
      .optional()
      .meta({ title: 'TLS files', description: 'PEM, relative to this file' }),
    networkHosts: z
      .array(z.string().regex(/^[A-Za-z0-9._:-]{1,253}$/, 'Expected a host name or an IP address, without a port'))
      .max(64)
      .default([])
      .meta({
        title: 'Hosts of cameras and brokers',
        description: 'That an admin may enter on the page. Left out: addresses in a network are changed in this file',
      }),
    liveFps: z.number().min(1).max(60).default(20).meta({
      title: 'Live pictures a second, at most',
      description: 'A page that paints slower is sent fewer',
    }),
  })
  .meta({ title: 'Console' });

export const metricsSchema = z
  .strictObject({
    host: z.string().min(1).default('127.0.0.1').meta({ title: 'Interface' }),
    port: z.int().min(1).max(65_535).default(9_464).meta({ title: 'Port' }),
  })
  .meta({ title: 'Metrics', description: 'For Prometheus, and /healthz. Left out: none' });

const topicLevels = z
  .string()
  .max(255)
  .regex(/^[^/+#$\s]{1,64}(\/[^/+#$\s]{1,64})*$/, 'Expected topic levels separated by /');

export const homeAssistantSchema = z
  .strictObject({
    discoveryPrefix: topicLevels
      .default('homeassistant')
      .meta({ title: 'Discovery prefix', description: 'As set in the MQTT integration of Home Assistant' }),
  })
  .meta({
    title: 'Home Assistant',
    description:
      'Announces cameras and watches to its MQTT integration. Left out: not, and what was announced is removed',
  });

export const onvifSchema = z
  .strictObject({
    topicPrefix: topicLevels.optional().meta({
      title: 'Topic prefix',
      description: 'Before /onvif-ej/…; unique among devices. Left out: the device name',
    }),
  })
  .meta({ title: 'ONVIF events', description: 'Events of watches as ONVIF JSON over MQTT as well. Left out: not' });

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
  };
}
