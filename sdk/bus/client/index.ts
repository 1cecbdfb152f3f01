/**
 * `scenebus/client`: talk to SceneBus devices from a controller. Loads no native code and no model code.
 *
 * @example
 * import { connectClient } from 'scenebus/client';
 * await using client = await connectClient('mqtt://127.0.0.1:1883');
 * console.log((await client.ask('kitchen', 'Is the door open?')).text);
 */
export { type ErrorCode, isSdkError, SdkError } from '../../core/errors.js';
export type { Logger } from '../../core/logger.js';
export * from '../contract/schemas/index.js';
export * from '../contract/topics.js';
export { redactUrl } from '../transport/broker-url.js';
export { readTlsFiles } from '../transport/tls-files.js';
export type { BusState, ConnectionOptions, ProtocolVersion, TlsOptions } from '../transport/types.js';
export { connectClient } from './client.js';
export type { AskOptions, AskReply, BusClient, ClientOptions, Question, WatchOptions } from './client-types.js';
