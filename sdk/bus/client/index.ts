/**
 * `scenebus/client`: talk to SceneBus devices from a controller. Loads no native code and no model code. Bundlers for
 * browsers get `browser.ts` instead, which lacks only `readTlsFiles`.
 *
 * @example
 * import { connect } from 'scenebus/client';
 * await using client = await connect('mqtt://127.0.0.1:1883');
 * console.log((await client.ask('kitchen', 'Is the door open?')).text);
 */
export { readTlsFiles } from '../transport/tls-files.js';
export * from './shared.js';
