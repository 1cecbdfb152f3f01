/** The bus: topics, payloads, a device's connection, the embedded broker. Callers use `scenebus/client`. */
export { type AsyncApiOptions, asyncApiDocument } from './asyncapi.js';
export { type BrokerAddress, parseBrokerUrl, readTlsFiles, redactUrl } from './broker-url.js';
export { connectBus } from './bus.js';
export { type EmbeddedBroker, type EmbeddedBrokerOptions, openEmbeddedBroker } from './embedded-broker.js';
export * from './schemas/index.js';
export * from './topics.js';
export type * from './types.js';
