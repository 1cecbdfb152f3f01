/** Camera devices of this machine. */

import type { Machine } from '../machine.js';
import type { Finding } from './finding.js';

export interface CameraDevice {
  /** `/dev/video0`. */
  readonly address: string;
  /** As its driver calls it. */
  readonly name: string;
  readonly isAccessible: boolean;
}

/** What is plugged in, in the order of its numbers. */
export async function cameraDevices(machine: Machine): Promise<CameraDevice[]> {
  const names = (await machine.list('/dev')).filter((name) => /^video\d+$/.test(name)).sort();
  const found: CameraDevice[] = [];
  for (const device of names) {
    const name = (await machine.readText(`/sys/class/video4linux/${device}/name`))?.trim() ?? 'unnamed';
    const address = `/dev/${device}`;
    found.push({ address, name, isAccessible: await machine.isAccessible(address) });
  }
  return found;
}

export async function checkCameraDevices(machine: Machine): Promise<Finding> {
  const base = { id: 'cameras', title: 'Camera devices' };
  const devices = await cameraDevices(machine);
  if (devices.length === 0)
    return {
      ...base,
      status: 'absent',
      value: 'no /dev/video*',
      meaning: 'clips, folders of images and network cameras (rtsp://, http://) work all the same',
    };
  const value = devices.map(({ address, name }) => `${address} (${name})`).join(', ');
  const closed = devices.filter(({ isAccessible }) => !isAccessible).map(({ address }) => address);
  if (closed.length === 0) return { ...base, status: 'ok', value };
  return {
    ...base,
    status: 'problem',
    value,
    meaning: `this user may not open ${closed.join(', ')}`,
    remedy: 'sudo usermod -aG video $USER, then log in again',
  };
}
