/** The bus: topics, payloads, a device's connection, the embedded broker. Callers use `scenebus/client`. */
export { type EmbeddedBroker, type EmbeddedBrokerOptions, openEmbeddedBroker } from './broker/embedded-broker.js';
export type { WebSocketOptions } from './broker/web-socket.js';
export { type AccessRules, clientAccess, deviceAccess, groupAccess } from './contract/access.js';
export { type AsyncApiOptions, asyncApiDocument } from './contract/asyncapi.js';
export { CHANNELS, type Channel, type ChannelAction, FLEET_CHANNELS } from './contract/channels.js';
export { GROUP_VERBS, type GroupTopics, type GroupVerb, groupTopics } from './contract/group-topics.js';
export { busJsonSchema, busJsonSchemas, type JsonSchema, type JsonSchemaDialect } from './contract/json-schema.js';
export { contractReference } from './contract/reference.js';
export { contractFiles } from './contract/reference-files.js';
export * from './contract/schemas/index.js';
export { CAMERA_SETTINGS, type CameraSetting } from './contract/settings.js';
export * from './contract/topics.js';
export { isVerbName, type RequestOf, type ResponseOf, VERB_NAMES, VERBS, type VerbName } from './contract/verbs.js';
export { connectBus } from './device/bus.js';
export type { ClientLimitOptions } from './device/client-limits.js';
export type { GroupOptions, GroupStanding } from './device/group/groups.js';
export type * from './device/inputs.js';
export type { AnswerKeeper, KeptAnswer } from './device/kept-answer.js';
export type * from './device/types.js';
export type {
  AskResult,
  LocateResult,
  PictureResults,
  ResultOf,
  SettingHandler,
  SnapshotResult,
  VerbContext,
  VerbHandler,
} from './device/verb-results.js';
export { type BrokerAddress, type BrokerProtocol, parseBrokerUrl, redactUrl } from './transport/broker-url.js';
export { readTlsFiles } from './transport/tls-files.js';
export type * from './transport/types.js';
