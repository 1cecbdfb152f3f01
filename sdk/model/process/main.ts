/** Entry of the model process; started by `loadModel(directory, { isolation: 'process' })`. */
import { loadModel } from '../load-model.js';
import { serveModel } from './serve.js';

if (!serveModel((directory, options) => loadModel(directory, { ...options, isolation: 'none' }))) {
  console.error("This is the model process of SceneBus; it is started by loadModel(…, { isolation: 'process' }).");
  process.exitCode = 2;
}
