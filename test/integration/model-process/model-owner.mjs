// Loads a model in a process of its own and tells its pid: `stay` until it is killed, `leave` without disposing it.
import { loadModelInProcess } from '../../../dist/sdk/model/process/process-model.js';

const [how, action] = process.argv.slice(2);
const checkpoint = new URL('../../../examples/demo-model/checkpoint', import.meta.url).pathname;
const entry = new URL('../../../dist/test/support/staged-model-process.js', import.meta.url);
const spins = action === 'spin';
let spinning = () => {};
const reached = new Promise((resolve) => (spinning = resolve));
const logger = { log: (_level, message) => message === 'stage encode' && spinning() };
const model = await loadModelInProcess(spins ? `${checkpoint}#encode=spin` : checkpoint, { logger }, { entry });
if (spins) {
  model.ask({ width: 2, height: 2, format: 'rgb8', data: new Uint8Array(12) }, 'What?').catch(() => {});
  await reached;
}
process.send(model.process.pid);
if (how === 'leave') process.disconnect();
else setInterval(() => {}, 1000);
