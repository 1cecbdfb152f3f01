import { LIMITS } from 'scenebus';
import { GROUP_DELIVERIES } from 'scenebus/bus';
import { z } from 'zod';
import { filePath, topicLevel } from './fields.js';

const brokerUrl = z
  .url({ protocol: /^(mqtts?|wss?)$/, error: 'Expected mqtt://, mqtts://, ws:// or wss:// and a host' })
  .refine((url) => !/^[a-z]+:\/\/[^/]*:[^/]*@/.test(url), {
    error: 'Expected no password in the file: put it into the environment variable SCENEBUS_MQTT_PASSWORD',
  });

export const brokerSchema = z
  .strictObject({
    url: brokerUrl.meta({ title: 'Broker address' }),
    alternatives: z
      .array(brokerUrl)
      .max(16)
      .optional()
      .meta({ title: 'Other nodes', description: 'Of the same broker cluster: tried in turn when one is lost' }),
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

/** Groups of devices of which any may answer. */
export const groupsSchema = z
  .array(
    z.strictObject({
      name: topicLevel.meta({ title: 'Name' }),
      busyAt: z.int().min(1).max(1_000).default(4).meta({
        title: 'Busy at',
        description: 'Questions being answered from which on this device leaves those of the group to others',
      }),
      delivery: z.enum(GROUP_DELIVERIES).optional().meta({
        title: 'Delivery',
        description:
          'members: every member gets each question, and they agree on one; shared: the broker gives it to one. Left out: a probe finds out what the broker really does',
      }),
    }),
  )
  .max(LIMITS.busGroups)
  .refine((groups) => new Set(groups.map(({ name }) => name)).size === groups.length, {
    error: 'Expected every group once',
  })
  .default([])
  .meta({
    title: 'Groups',
    description: 'A question to a group is answered by any one of its devices: <root>/group/<name>/request/ask',
  });
