/** NVIDIA hardware and libraries. None of it is needed: every model runs on the processor. */
import type { Finding } from './finding.js';
import type { Machine } from './machine.js';

export async function checkCuda(machine: Machine): Promise<Finding> {
  const base = { id: 'cuda', title: 'NVIDIA GPU' };
  const tegra = await machine.readText('/etc/nv_tegra_release');
  if (tegra !== null) {
    const release = /R(\d+).*?REVISION: ([\d.]+)/.exec(tegra);
    return { ...base, status: 'ok', value: `Jetson, L4T ${release ? `${release[1]}.${release[2]}` : 'unknown'}` };
  }
  const query = await machine.run('nvidia-smi', ['--query-gpu=name,driver_version', '--format=csv,noheader']);
  if (query?.code === 0) return { ...base, status: 'ok', value: query.output.trim().replaceAll('\n', '; ') };
  return { ...base, status: 'absent', value: 'none', meaning: 'models run on the processor' };
}

export async function checkTensorRt(machine: Machine): Promise<Finding> {
  const base = { id: 'tensorrt', title: 'TensorRT' };
  const folders = ['/usr/lib/aarch64-linux-gnu', '/usr/lib/x86_64-linux-gnu', '/usr/local/tensorrt/lib', '/usr/lib64'];
  for (const folder of folders) {
    const library = (await machine.list(folder)).find((name) => /^libnvinfer\.so\.\d+/.test(name));
    if (library === undefined) continue;
    return {
      ...base,
      status: 'ok',
      value: `${folder}/${library}`,
      meaning: 'this version of SceneBus has no TensorRT backend yet: models run on the processor all the same',
    };
  }
  return {
    ...base,
    status: 'absent',
    value: 'libnvinfer was not found',
    meaning: 'models run on the processor through ONNX Runtime; on a Jetson TensorRT comes with JetPack',
  };
}
