/** The two native addons, each loaded in a process of its own: what does not fit the machine may end the process. */

import type { Machine } from '../machine.js';
import type { Finding } from './finding.js';

export const BUILD_REMEDY = 'run `npm run build:native` (an installed package: `npx scenebus setup`)';
const nativeModule = new URL('../../../sdk/native/index.js', import.meta.url).href;

/** Loads an addon and prints what `expression` says about it as JSON. */
function inspect(machine: Machine, loader: 'engineAddon' | 'captureAddon', expression: string) {
  const script = `const { ${loader} } = await import(process.argv[1]); const addon = ${loader}();
    console.log(JSON.stringify(${expression}));`;
  return machine.run(process.execPath, ['--input-type=module', '-e', script, nativeModule]);
}

/** The engine addon's answer as JSON in the last line of the output. */
export function inspectEngineAddon(machine: Machine, expression: string) {
  return inspect(machine, 'engineAddon', expression);
}

function failure(output: string | undefined): string {
  const lines = output?.split('\n') ?? [];
  const reason =
    lines.find((line) => /\.node: (?!does not exist)/.test(line)) ?? lines.find((line) => /Error/.test(line));
  if (lines.some((line) => line.includes('does not exist')) && !reason?.includes('.node: ')) return 'not built';
  return reason?.trim() ?? 'the process that loaded it ended';
}

export async function checkEngineAddon(machine: Machine): Promise<Finding> {
  const base = { id: 'engine-addon', title: 'Engine addon' };
  const loaded = await inspect(machine, 'engineAddon', 'Object.keys(addon).length');
  if (loaded?.code === 0) return { ...base, status: 'ok', value: 'loads' };
  return {
    ...base,
    status: 'problem',
    value: failure(loaded?.output),
    meaning: 'pictures cannot be prepared for a model: no model can run',
    remedy: BUILD_REMEDY,
  };
}

interface OpenCvBuild {
  readonly version: string;
  readonly backends: readonly string[];
}

const OPENCV_BACKENDS = [
  ['FFMPEG', 'FFmpeg', 'most clips and network streams cannot be read'],
  ['GSTREAMER', 'GStreamer', 'no CSI cameras, and RTSP only through FFmpeg'],
  ['V4L2', 'V4L2', 'no USB cameras, except through GStreamer'],
] as const;

export async function checkCaptureAddon(machine: Machine): Promise<Finding> {
  const base = { id: 'capture-addon', title: 'Capture addon' };
  const loaded = await inspect(
    machine,
    'captureAddon',
    '(({version, backends}) => ({version, backends}))(addon.openCvBuild())',
  );
  if (loaded?.code !== 0)
    return {
      ...base,
      status: 'problem',
      value: failure(loaded?.output),
      meaning: 'no camera and no clip can be opened; images in files still work',
      remedy: `install OpenCV (Debian: libopencv-videoio-dev), then ${BUILD_REMEDY}`,
    };
  const { version, backends } = JSON.parse(loaded.output.trim().split('\n').at(-1) ?? '{}') as OpenCvBuild;
  const present = OPENCV_BACKENDS.filter(([id]) => backends.includes(id)).map(([, name]) => name);
  const lacks = OPENCV_BACKENDS.filter(([id]) => !backends.includes(id)).map(
    ([, name, effect]) => `no ${name}: ${effect}`,
  );
  const value = `OpenCV ${version} with ${present.join(', ') || 'no video backend'}`;
  if (lacks.length === 0) return { ...base, status: 'ok', value };
  return { ...base, status: 'absent', value, meaning: lacks.join('; ') };
}
