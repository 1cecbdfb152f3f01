import { z } from 'zod';
import { filePath } from './fields.js';

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
