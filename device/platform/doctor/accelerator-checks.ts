/** NVIDIA hardware and libraries. None of it is needed: every model runs on the processor. */
import type { TensorRtStatus } from 'scenebus/tensorrt';
import { describeBoard, describePair, powerModeAdvice, readJetsonBoard, releaseAdvice } from '../jetson/board.js';
import type { Machine } from '../machine.js';
import { BUILD_REMEDY, inspectEngineAddon } from './addon-checks.js';
import type { Finding } from './finding.js';

export async function checkCuda(machine: Machine): Promise<Finding> {
  const base = { id: 'cuda', title: 'NVIDIA GPU' };
  const board = await readJetsonBoard(machine);
  if (board !== null) {
    const value = describeBoard(board);
    if (board.release.problem !== null) return { ...base, status: 'absent', value, meaning: board.release.problem };
    const advice = [releaseAdvice(board), powerModeAdvice(board)].filter((each) => each !== undefined);
    return { ...base, status: 'ok', value, remedy: advice.length === 0 ? undefined : advice.join('; ') };
  }
  const query = await machine.run('nvidia-smi', ['--query-gpu=name,driver_version', '--format=csv,noheader']);
  if (query?.code === 0) return { ...base, status: 'ok', value: query.output.trim().replaceAll('\n', '; ') };
  return { ...base, status: 'absent', value: 'none', meaning: 'models run on the processor' };
}

const ON_PROCESSOR = 'models run on the processor';

/** What the addon itself says: what it was compiled for, which library it found, whether the two fit. */
export async function checkTensorRt(machine: Machine): Promise<Finding> {
  const base = { id: 'tensorrt', title: 'TensorRT' };
  // In a process of its own, as the addon is: a library that does not fit can end the process that loads it.
  const asked = await inspectEngineAddon(machine, 'addon.tensorRtStatus?.() ?? null');
  if (asked?.code !== 0) {
    return { ...base, status: 'absent', value: 'not asked: the engine addon does not load', meaning: ON_PROCESSOR };
  }
  const status = JSON.parse(asked.output.trim().split('\n').at(-1) ?? 'null') as TensorRtStatus | null;
  if (status === null || status.compiledFor === null) {
    return {
      ...base,
      status: 'absent',
      value: 'the engine addon was built without TensorRT',
      meaning: `${ON_PROCESSOR}; on a Jetson TensorRT comes with JetPack 6.1 or later`,
      remedy: `on a Jetson: sudo apt install tensorrt-dev, then ${BUILD_REMEDY}`,
    };
  }
  const library = status.library === null ? 'no library' : `${status.library.version} at ${status.library.path}`;
  const board = await readJetsonBoard(machine);
  const pair = board === null || status.library === null ? '' : ` (${describePair(board, status.library.version)})`;
  const value = `compiled for ${status.compiledFor}, found ${library}${pair}`;
  if (status.problem !== null) {
    return { ...base, status: 'absent', value, meaning: `${ON_PROCESSOR}: ${oneLine(status.problem.message)}` };
  }
  if (status.device?.hasKernels === true) {
    return { ...base, status: 'ok', value: `${value}, on ${status.device.name}` };
  }
  return {
    ...base,
    status: 'absent',
    value,
    meaning: 'the addon has none of our CUDA kernels: slower, and int4 weights are repacked once, on disk',
    remedy: `install nvcc (a Jetson: cuda-nvcc of JetPack), then ${BUILD_REMEDY}`,
  };
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, '; ');
}
