/** The bus: topics, payloads, a device's connection, the embedded broker. Callers use `scenebus/client`. */
export { type EmbeddedBroker, type EmbeddedBrokerOptions, openEmbeddedBroker } from './broker/embedded-broker.js';
export { type AsyncApiOptions, asyncApiDocument } from './contract/asyncapi.js';
export * from './contract/schemas/index.js';
export * from './contract/topics.js';
export { connectBus } from './device/bus.js';
export type * from './device/types.js';
export { type BrokerAddress, parseBrokerUrl, redactUrl } from './transport/broker-url.js';
export { readTlsFiles } from './transport/tls-files.js';
export type * from './transport/types.js';
