/** Node, processor, memory: what every run stands on. */

import type { Machine } from '../machine.js';
import type { Finding } from './finding.js';

const GIB = 2 ** 30;
const MINIMUM_NODE_MAJOR = 20;
/** The 11B model at int4 with its cross-attention cache. */
const LARGE_MODEL_BYTES = 11 * GIB;
/** Three 1280×720 frames with room to spare. */
const SMALL_SHARED_MEMORY_BYTES = 32 * 2 ** 20;

const gigabytes = (bytes: number) => `${(bytes / GIB).toFixed(1)} GiB`;

export function checkNode({ nodeVersion, architecture }: Machine): Finding {
  const base = { id: 'node', title: 'Node', value: `${nodeVersion}, linux ${architecture}` };
  if (Number.parseInt(nodeVersion.slice(1), 10) < MINIMUM_NODE_MAJOR)
    return { ...base, status: 'problem', remedy: `install Node ${MINIMUM_NODE_MAJOR} or newer` };
  if (architecture !== 'x64' && architecture !== 'arm64')
    return { ...base, status: 'problem', meaning: 'ONNX Runtime has binaries for x64 and arm64 only' };
  return { ...base, status: 'ok' };
}

/** Names as Linux writes them in /proc/cpuinfo, fastest first. */
const INSTRUCTION_SETS = [
  ['avx512_vnni', 'AVX-512 VNNI'],
  ['avx_vnni', 'AVX-VNNI'],
  ['avx2', 'AVX2'],
  ['asimddp', 'NEON dot product'],
] as const;

export async function checkProcessor(machine: Machine): Promise<Finding> {
  const info = (await machine.readText('/proc/cpuinfo')) ?? '';
  const flags = new Set(/^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1]?.split(/\s+/) ?? []);
  const found = INSTRUCTION_SETS.filter(([flag]) => flags.has(flag)).map(([, name]) => name);
  const { model, count } = machine.processors;
  const base = { id: 'cpu', title: 'Processor', value: `${model}, ${count} × ${found.join(', ') || 'no vector set'}` };
  if (found.length > 0) return { ...base, status: 'ok' };
  return { ...base, status: 'absent', meaning: 'int4 products fall back to plain code: right, but many times slower' };
}

export async function checkMemory(machine: Machine): Promise<Finding> {
  // os.freemem() counts the page cache as used; MemAvailable is what a model can really have.
  const info = (await machine.readText('/proc/meminfo')) ?? '';
  const available = Number(/^MemAvailable:\s*(\d+) kB/m.exec(info)?.[1] ?? Number.NaN) * 1024;
  const { totalBytes, availableBytes } = machine.memory;
  const free = Number.isNaN(available) ? availableBytes : available;
  const base = {
    id: 'memory',
    title: 'Memory',
    value: `${gigabytes(free)} available of ${gigabytes(totalBytes)}`,
  };
  if (free >= LARGE_MODEL_BYTES) return { ...base, status: 'ok' };
  return { ...base, status: 'absent', meaning: 'an 11B model at int4 needs about 11 GiB; smaller models run' };
}

export async function checkSharedMemory(machine: Machine): Promise<Finding> {
  const free = await machine.freeBytes('/dev/shm');
  const base = { id: 'shared-memory', title: 'Shared memory' };
  if (free === null)
    return {
      ...base,
      status: 'problem',
      value: '/dev/shm is not there',
      meaning: 'frames come from the capture process through it: no camera can be opened',
      remedy: 'mount a tmpfs on /dev/shm (containers: --shm-size=256m)',
    };
  const value = `${gigabytes(free)} free in /dev/shm`;
  if (free >= SMALL_SHARED_MEMORY_BYTES) return { ...base, status: 'ok', value };
  return {
    ...base,
    status: 'problem',
    value,
    meaning: 'too little for the frames of one camera',
    remedy: 'enlarge it (containers: --shm-size=256m)',
  };
}
