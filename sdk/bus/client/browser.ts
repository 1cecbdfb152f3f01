/**
 * `scenebus/client` in a browser: the same, over `ws://` or `wss://`, and without files.
 *
 * @example
 * import { connect } from 'scenebus/client';
 * const client = await connect('ws://192.168.1.10:9001');
 * client.onEvent('kitchen', ({ watch, type }) => console.log(watch, type));
 */
export * from './shared.js';
