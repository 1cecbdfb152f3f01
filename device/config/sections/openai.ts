import { z } from 'zod';
import { filePath } from './fields.js';

const host = z.string().regex(/^[A-Za-z0-9._-]{1,253}$/, 'Expected a host name such as robot.local, without a port');

export const openAiSchema = z
  .strictObject({
    host: z.string().min(1).max(255).default('127.0.0.1').meta({
      title: 'Interface',
      description: 'Any other than loopback needs a key',
    }),
    port: z.int().min(0).max(65_535).default(8_089).meta({ title: 'Port', description: '0: a free one' }),
    hosts: z
      .array(host)
      .max(16)
      .default([])
      .meta({ title: 'Names', description: 'That this device is reached by, besides `host` and localhost' }),
    name: z
      .string()
      .min(1)
      .max(200)
      .optional()
      .meta({ title: 'Model name', description: "What clients call the model. Left out: the model's own name" }),
    keyFile: filePath.optional().meta({
      title: 'File with the key',
      description: 'That clients send; relative to this file. SCENEBUS_SERVE_KEY wins',
    }),
    cameras: z.boolean().default(true).meta({
      title: 'Cameras as pictures',
      description: 'true: requests may ask about what a camera sees now, as camera:ID in the place of an address',
    }),
    pictures: z
      .strictObject({
        from: z
          .array(
            z
              .string()
              .regex(
                /^https?:\/\/((\*\.)?[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/,
                'Expected https://host, https://*.host or http://host:port',
              ),
          )
          .max(64)
          .default([])
          .meta({ title: 'Origins', description: 'Pictures are fetched from these. Left out: from nowhere' }),
        privateAddresses: z.boolean().default(false).meta({
          title: 'Private networks',
          description: 'true: names of `from` may lead to this machine and to private networks',
        }),
        maxMegabytes: z.int().min(1).max(64).default(16).meta({ title: 'Largest picture, MB' }),
        timeoutMs: z.int().min(100).max(60_000).default(10_000).meta({ title: 'Longest wait for one' }),
      })
      .prefault({})
      .meta({ title: 'Pictures at addresses' }),
  })
  .meta({
    title: "OpenAI's and Ollama's APIs",
    description: 'For tools that speak them, over the model of this device. Left out: not',
  });
