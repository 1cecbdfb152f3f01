/** What `scenebus/client` exports in Node and in browsers alike. */
export { type ErrorCode, isSdkError, SdkError } from '../../core/errors.js';
export type { Logger } from '../../core/logger.js';
export { GROUP_VERBS, type GroupTopics, type GroupVerb, groupTopics } from '../contract/group-topics.js';
export * from '../contract/schemas/index.js';
export { CAMERA_SETTINGS, type CameraSetting } from '../contract/settings.js';
export * from '../contract/topics.js';
export { isVerbName, type RequestOf, type ResponseOf, VERB_NAMES, VERBS, type VerbName } from '../contract/verbs.js';
export { redactUrl } from '../transport/broker-url.js';
export type { Backoff, BusState, ConnectionOptions, ProtocolVersion, TlsOptions } from '../transport/types.js';
export { connectClient as connect, connectClient } from './client.js';
export type {
  AskOptions,
  AskReply,
  BusClient,
  BusGroup,
  ClientOptions,
  DescribeReply,
  EventOptions,
  FindReply,
  GroupQuery,
  ListenOptions,
  LocateReply,
  ModelReply,
  Query,
  Question,
  RequestOptions,
  SnapshotReply,
  WatchOptions,
} from './client-types.js';
export type { FleetDevice, FleetOptions } from './fleet.js';
