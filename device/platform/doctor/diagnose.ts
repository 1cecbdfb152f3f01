import type { CallOptions } from 'scenebus';
import { type Machine, thisMachine } from '../machine.js';
import { checkCuda, checkTensorRt } from './accelerator-checks.js';
import { checkCaptureAddon, checkEngineAddon } from './addon-checks.js';
import { checkCameraDevices } from './camera-checks.js';
import type { Finding } from './finding.js';
import { checkModel } from './model-check.js';
import { checkBroker, checkOnnxRuntime } from './software-checks.js';
import { checkMemory, checkNode, checkProcessor, checkSharedMemory } from './system-checks.js';

export interface DiagnoseOptions extends CallOptions {
  /** Model folder to look at; the demo's when left out. */
  readonly modelDirectory?: string | undefined;
  readonly machine?: Machine | undefined;
}

type Check = (machine: Machine, options: DiagnoseOptions) => Finding | Promise<Finding>;

const CHECKS: readonly Check[] = [
  checkNode,
  checkProcessor,
  checkMemory,
  checkSharedMemory,
  checkEngineAddon,
  checkOnnxRuntime,
  checkCaptureAddon,
  checkCuda,
  checkTensorRt,
  checkCameraDevices,
  checkBroker,
  (_, { modelDirectory }) => checkModel(modelDirectory),
];

/** Looks at everything that SceneBus needs or can use. Changes nothing. */
export async function diagnose(options: DiagnoseOptions = {}): Promise<Finding[]> {
  options.signal?.throwIfAborted();
  return Promise.all(CHECKS.map((check) => check(options.machine ?? thisMachine, options)));
}
