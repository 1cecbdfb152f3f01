/** Camera devices of this machine. */

import type { Machine } from '../machine.js';
import type { Finding } from './finding.js';

export async function checkCameraDevices(machine: Machine): Promise<Finding> {
  const base = { id: 'cameras', title: 'Camera devices' };
  const devices = (await machine.list('/dev')).filter((name) => /^video\d+$/.test(name)).sort();
  if (devices.length === 0)
    return {
      ...base,
      status: 'absent',
      value: 'no /dev/video*',
      meaning: 'clips, folders of images and network cameras (rtsp://, http://) work all the same',
    };
  const described: string[] = [];
  const closed: string[] = [];
  for (const device of devices) {
    const name = (await machine.readText(`/sys/class/video4linux/${device}/name`))?.trim() ?? 'unnamed';
    described.push(`/dev/${device} (${name})`);
    if (!(await machine.isAccessible(`/dev/${device}`))) closed.push(`/dev/${device}`);
  }
  const value = described.join(', ');
  if (closed.length === 0) return { ...base, status: 'ok', value };
  return {
    ...base,
    status: 'problem',
    value,
    meaning: `this user may not open ${closed.join(', ')}`,
    remedy: 'sudo usermod -aG video $USER, then log in again',
  };
}
