/** How the device was and is: figures over time, connections, the log, messages of the bus. */

import { HttpError } from '../../http/http-error.js';
import {
  connectionsSchema,
  healthSchema,
  historyQuery,
  historySchema,
  messagesQuery,
  messagesSchema,
  topicsSchema,
} from '../api/health-schemas.js';
import { type Route, route } from '../api/route.js';
import { logSchema } from '../api/schemas.js';
import { channelOf } from '../mqtt/contract-check.js';
import { subscribeCommand } from '../mqtt/subscribe-command.js';
import type { ConsoleServices } from './services.js';

export function healthRoutes(services: ConsoleServices): Route[] {
  const { device, state, log, messages } = services;
  const subscribe = (topic: string) => subscribeCommand(device.config, device.broker().address, topic);
  return [
    route({
      method: 'GET',
      path: '/api/health',
      role: 'display',
      summary: 'State of the service',
      response: { type: 'json', schema: healthSchema },
      handle: async () => ({
        state: state.health?.state ?? 'starting',
        uptimeSeconds: state.health?.uptimeSeconds ?? 0,
      }),
    }),
    route({
      method: 'GET',
      path: '/api/health/history',
      role: 'display',
      summary: 'Figures over time, from the journal: least, mean and greatest of each span',
      query: historyQuery,
      response: { type: 'json', schema: historySchema },
      handle: async ({ query }) => await device.journal.healthSeries(query),
    }),
    route({
      method: 'GET',
      path: '/api/connections',
      role: 'operator',
      summary: 'Cameras and the broker in detail, without credentials',
      response: { type: 'json', schema: connectionsSchema },
      handle: async () => connections(services),
    }),
    route({
      method: 'GET',
      path: '/api/log',
      role: 'operator',
      summary: 'The last lines of the log',
      response: { type: 'json', schema: logSchema },
      handle: async () => ({ lines: log.lines }),
    }),
    route({
      method: 'GET',
      path: '/api/mqtt',
      role: 'operator',
      summary: 'Topics of the bus that this device sent to or received from',
      response: { type: 'json', schema: topicsSchema },
      handle: async () => {
        const { root, device: name } = device.config;
        const topics = messages.topics.map(({ topic, count, newest }) => ({
          topic,
          summary: channelOf(root, topic)?.summary ?? null,
          count,
          lastAtMs: newest.atMs,
          direction: newest.direction,
          schema: newest.schema,
          misses: newest.misses.length,
        }));
        return { root, topics, left: messages.left, subscribe: subscribe(`${root}/${name}/#`) };
      },
    }),
    route({
      method: 'GET',
      path: '/api/mqtt/messages',
      role: 'operator',
      summary: 'The last messages of a topic, checked against the contract',
      query: messagesQuery,
      response: { type: 'json', schema: messagesSchema },
      handle: async ({ query: { topic } }) => {
        const found = messages.messages(topic);
        if (found === undefined) throw new HttpError(404, 'TOPIC_UNKNOWN', 'No message of this topic is kept.');
        return { topic, messages: found, subscribe: subscribe(topic) };
      },
    }),
  ];
}

function connections({ device, state }: ConsoleServices) {
  const { address, state: brokerState, protocolVersion, counters } = device.broker();
  const { cameras: configs, broker, root } = device.config;
  const cameras = device.feeds().map(({ id, source: { info, status, newestSequence } }) => ({
    id,
    address: info.address,
    kind: info.kind,
    backend: info.backend ?? null,
    state: status.state,
    sinceMs: status.sinceMs,
    attempt: status.attempt ?? null,
    retryAtMs: status.retryAtMs ?? null,
    error: status.error === undefined ? null : { code: status.error.code, message: status.error.message },
    image: info.size ?? null,
    framesPerSecond: info.framesPerSecond ?? null,
    frames: newestSequence,
    masks: configs.find((config) => config.id === id)?.masks.length ?? 0,
    isPrivate: state.isPrivate(id),
  }));
  return {
    cameras,
    broker: {
      address,
      state: brokerState,
      isEmbedded: broker === undefined,
      protocolVersion: protocolVersion ?? null,
      root,
      counters: { ...counters },
    },
  };
}
