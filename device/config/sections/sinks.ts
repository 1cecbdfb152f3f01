import { z } from 'zod';
import { topicLevels } from './fields.js';

export const metricsSchema = z
  .strictObject({
    host: z.string().min(1).default('127.0.0.1').meta({ title: 'Interface' }),
    port: z.int().min(1).max(65_535).default(9_464).meta({ title: 'Port' }),
  })
  .meta({ title: 'Metrics', description: 'For Prometheus, and /healthz. Left out: none' });

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
