/** Every payload of the bus: validation, TypeScript types and JSON Schema from one source. */
import type { z } from 'zod';
import { cameraSettingSchema, cameraStatusSchema, sceneSchema, settingCommandSchema } from './camera.js';
import type { SchemaName } from './common.js';
import { availabilitySchema, healthSchema, infoSchema, rollCallSchema } from './device.js';
import { groupCallSchema, groupClaimSchema, groupHeardSchema, groupMemberSchema, groupProbeSchema } from './group.js';
import {
  askRequestSchema,
  describeRequestSchema,
  findRequestSchema,
  healthRequestSchema,
  locateRequestSchema,
  snapshotRequestSchema,
  watchAddRequestSchema,
  watchChangeRequestSchema,
  watchListRequestSchema,
  watchRemoveRequestSchema,
} from './requests.js';
import { responseSchema } from './responses.js';
import { eventSchema, watchStateSchema } from './watch.js';

/** The zod schema of every payload by name; ids are in `SCHEMA_IDS`. */
export const busSchemas = {
  availability: availabilitySchema,
  info: infoSchema,
  health: healthSchema,
  cameraStatus: cameraStatusSchema,
  cameraSetting: cameraSettingSchema,
  scene: sceneSchema,
  event: eventSchema,
  watchState: watchStateSchema,
  settingCommand: settingCommandSchema,
  ask: askRequestSchema,
  describe: describeRequestSchema,
  locate: locateRequestSchema,
  snapshot: snapshotRequestSchema,
  find: findRequestSchema,
  healthRequest: healthRequestSchema,
  watchAdd: watchAddRequestSchema,
  watchChange: watchChangeRequestSchema,
  watchRemove: watchRemoveRequestSchema,
  watchList: watchListRequestSchema,
  groupMember: groupMemberSchema,
  groupCall: groupCallSchema,
  groupClaim: groupClaimSchema,
  groupProbe: groupProbeSchema,
  groupHeard: groupHeardSchema,
  rollCall: rollCallSchema,
  response: responseSchema,
} as const satisfies Record<SchemaName, z.ZodType>;

export * from './camera.js';
export {
  ANSWER_TYPES,
  type AnswerType,
  type AnswerValue,
  BOX_CONVENTION,
  SCHEMA_IDS,
  type SchemaName,
} from './common.js';
export * from './device.js';
export {
  GROUP_DELIVERIES,
  type GroupCall,
  type GroupClaim,
  type GroupDelivery,
  type GroupHeard,
  type GroupMember,
  type GroupProbe,
  groupCallSchema,
  groupClaimSchema,
  groupHeardSchema,
  groupMemberSchema,
  groupProbeSchema,
} from './group.js';
export * from './requests.js';
export * from './responses.js';
export * from './watch.js';
