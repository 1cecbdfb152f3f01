/** Parts that SceneBus loads: ONNX Runtime, the broker beside it. */
import { createRequire } from 'node:module';
import type { Machine } from '../machine.js';
import type { Finding } from './finding.js';

const require = createRequire(import.meta.url);
const MQTT_PORT = 1883;

export async function checkOnnxRuntime(machine: Machine): Promise<Finding> {
  const base = { id: 'onnxruntime', title: 'ONNX Runtime' };
  const remedy = 'run `ONNXRUNTIME_NODE_INSTALL=skip npm ci` (the variable keeps npm from fetching a GPU build)';
  let path: string;
  try {
    path = require.resolve('onnxruntime-node');
  } catch {
    return { ...base, status: 'problem', value: 'not installed', meaning: 'no model can run', remedy };
  }
  // In a process of its own: a library that does not fit the machine can end the process that loads it.
  const script = 'console.log(require(process.argv[1]).env.versions.node)';
  const loaded = await machine.run(process.execPath, ['-e', script, path]);
  if (loaded?.code === 0) return { ...base, status: 'ok', value: `onnxruntime-node ${loaded.output.trim()}` };
  const reason = loaded?.output.split('\n').find((line) => /Error/.test(line)) ?? 'the process ended';
  return { ...base, status: 'problem', value: `does not load: ${reason.trim()}`, meaning: 'no model can run', remedy };
}

export async function checkBroker(machine: Machine): Promise<Finding> {
  const base = { id: 'broker', title: 'MQTT broker' };
  if (await machine.isListening('127.0.0.1', MQTT_PORT))
    return { ...base, status: 'ok', value: `something listens on 127.0.0.1:${MQTT_PORT}` };
  return {
    ...base,
    status: 'absent',
    value: `none on 127.0.0.1:${MQTT_PORT}`,
    meaning: 'without a configured broker SceneBus starts its own on loopback (MQTT 3.1.1, this machine only)',
    remedy: 'for a fleet install one (Debian: mosquitto) and name it in the configuration',
  };
}
