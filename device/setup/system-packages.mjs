/**
 * Which system packages a purpose needs, which of them are missing, and how to get them. Everything here is a pure
 * function of a `probe` and a `machine`, so that it is tested without apt. Plain JavaScript without dependencies: this
 * runs before `npm ci` and before the compiler.
 */

/** Smallest versions that the build accepts. */
export const MINIMUM_NODE_MAJOR = 20;

/** @typedef {'demo' | 'test'} Purpose */
/**
 * @typedef {object} Probe What can be asked of a machine.
 * @property {(name: string) => boolean} command a program of this name can be started
 * @property {(path: string) => boolean} file
 * @property {Readonly<Record<string, string | undefined>>} environment
 * @property {string} multiarch Debian's library folder name: x86_64-linux-gnu
 */
/**
 * @typedef {object} Need
 * @property {string} what in words
 * @property {string} why
 * @property {readonly Purpose[]} purposes
 * @property {readonly string[]} packages Debian names
 * @property {(probe: Probe) => boolean} isPresent
 */

const ARM64 = 'aarch64-linux-gnu';
const opencvHeader = 'opencv2/core/version.hpp';

/** A whole installation, which CMake finds by OpenCV's own package file: Debian's libopencv-dev, JetPack's, one's own. */
function hasOpenCvPackageFile({ file, multiarch }) {
  return ['/usr', '/usr/local'].some((prefix) =>
    ['opencv4', 'opencv5'].some(
      (name) =>
        file(`${prefix}/include/${name}/${opencvHeader}`) &&
        ['lib/cmake', `lib/${multiarch}/cmake`, 'lib64/cmake'].some((folder) =>
          file(`${prefix}/${folder}/${name}/OpenCVConfig.cmake`),
        ),
    ),
  );
}

/** The modules that are used, from component packages; native/cmake/FindOpenCVComponents.cmake finds them. */
function hasOpenCvComponents({ file, multiarch }) {
  const hasLibrary = (name) => file(`/usr/lib/${multiarch}/libopencv_${name}.so`);
  return (
    ['opencv4', 'opencv5'].some((name) => file(`/usr/include/${name}/${opencvHeader}`)) &&
    ['core', 'imgproc', 'imgcodecs', 'videoio'].every(hasLibrary)
  );
}

/** @type {readonly Need[]} */
export const NEEDS = [
  {
    what: 'a C++17 compiler',
    why: 'builds the two native addons',
    purposes: ['demo', 'test'],
    packages: ['g++'],
    isPresent: ({ command, environment }) => environment.CXX !== undefined || ['c++', 'g++', 'clang++'].some(command),
  },
  {
    what: 'CMake',
    why: 'drives the native build',
    purposes: ['demo', 'test'],
    packages: ['cmake'],
    isPresent: ({ command }) => command('cmake'),
  },
  {
    what: 'Ninja or Make',
    why: 'runs the native build',
    purposes: ['demo', 'test'],
    packages: ['ninja-build'],
    isPresent: ({ command }) => command('ninja') || command('make'),
  },
  {
    what: 'OpenCV 4.5 or newer with headers',
    why: 'reads cameras and video files',
    purposes: ['demo', 'test'],
    // Brings the other modules that are used; libopencv-dev would bring a hundred packages more.
    packages: ['libopencv-videoio-dev'],
    isPresent: (probe) =>
      probe.environment.OpenCV_DIR !== undefined || hasOpenCvPackageFile(probe) || hasOpenCvComponents(probe),
  },
  {
    what: "OpenCV's calib3d and ArUco markers with headers",
    why: 'cameras are calibrated with boards that the tests draw',
    purposes: ['test'],
    packages: ['libopencv-calib3d-dev', 'libopencv-contrib-dev'],
    isPresent: ({ environment, file }) =>
      environment.OpenCV_DIR !== undefined ||
      ['/usr/include/opencv4', '/usr/local/include/opencv4'].some(
        (folder) =>
          file(`${folder}/opencv2/calib3d.hpp`) &&
          (file(`${folder}/opencv2/aruco.hpp`) || file(`${folder}/opencv2/objdetect/aruco_detector.hpp`)),
      ),
  },
  {
    what: "ROS's parsers of camera calibrations",
    why: 'what a calibration writes is read by them',
    purposes: ['test'],
    packages: ['camera-calibration-parsers-tools'],
    isPresent: ({ file }) => file('/usr/lib/camera_calibration_parsers/convert'),
  },
  {
    what: 'the Mosquitto broker',
    why: 'the bus is tested against a real MQTT 5 broker',
    purposes: ['test'],
    packages: ['mosquitto'],
    isPresent: ({ command }) => command('mosquitto'),
  },
  {
    what: 'the Mosquitto clients',
    why: 'tests listen to the bus with a foreign client',
    purposes: ['test'],
    packages: ['mosquitto-clients'],
    isPresent: ({ command }) => command('mosquitto_sub') && command('mosquitto_rr'),
  },
  {
    what: 'paho-mqtt for Python',
    why: 'the Python example of the bus is tested',
    purposes: ['test'],
    packages: ['python3-paho-mqtt'],
    isPresent: ({ file }) => file('/usr/lib/python3/dist-packages/paho'),
  },
  {
    what: 'Chromium',
    why: 'the console and the bus client are tested in a browser',
    purposes: ['test'],
    packages: ['chromium'],
    isPresent: ({ command }) => command('chromium'),
  },
  {
    what: 'FFmpeg',
    why: 'tests make clips and network cameras with it',
    purposes: ['test'],
    packages: ['ffmpeg'],
    isPresent: ({ command }) => command('ffmpeg'),
  },
  {
    what: 'GStreamer plugins',
    why: 'the camera pipelines are tested with a synthetic source',
    purposes: ['test'],
    packages: ['gstreamer1.0-plugins-base', 'gstreamer1.0-plugins-good'],
    isPresent: ({ file, multiarch }) =>
      ['libgstvideotestsrc.so', 'libgstjpeg.so'].every((plugin) =>
        file(`/usr/lib/${multiarch}/gstreamer-1.0/${plugin}`),
      ),
  },
  // CMake leaves the tests for 64-bit Arm out where it does not find these. A host of that kind runs them as its own.
  {
    what: 'a C++ compiler for 64-bit Arm',
    why: 'the Arm kernels are compiled on every machine',
    purposes: ['test'],
    packages: ['g++-aarch64-linux-gnu'],
    isPresent: ({ command, multiarch }) => multiarch === ARM64 || command('aarch64-linux-gnu-g++'),
  },
  {
    what: 'the QEMU user emulator',
    why: 'runs the tests of the Arm kernels',
    purposes: ['test'],
    packages: ['qemu-user'],
    isPresent: ({ command, multiarch }) => multiarch === ARM64 || command('qemu-aarch64'),
  },
];

/**
 * @param {Purpose} purpose
 * @param {Probe} probe
 * @returns {Need[]}
 */
export function missingNeeds(purpose, probe) {
  return NEEDS.filter((need) => need.purposes.includes(purpose) && !need.isPresent(probe));
}

/**
 * @typedef {object} Machine
 * @property {boolean} hasApt
 * @property {boolean} isRoot
 * @property {boolean} hasSudo
 * @property {boolean} isInteractive sudo may ask for a password
 * @property {boolean} hasPackageLists `apt-get update` has been run at some time
 */
/**
 * `apt`: commands to run. `manual`: the machine cannot be set up from here; `reason` says why.
 * @typedef {{ kind: 'none' }
 *   | { kind: 'apt', packages: string[], update: string[], install: string[], updateFirst: boolean }
 *   | { kind: 'manual', packages: string[], reason: string }} Plan
 */

/**
 * @param {readonly Need[]} missing
 * @param {Machine} machine
 * @returns {Plan}
 */
export function planInstallation(missing, machine) {
  const packages = [...new Set(missing.flatMap((need) => need.packages))];
  if (packages.length === 0) return { kind: 'none' };
  if (!machine.hasApt) return { kind: 'manual', packages, reason: 'apt-get was not found on this machine' };
  if (!machine.isRoot && !machine.hasSudo)
    return { kind: 'manual', packages, reason: 'installing needs root, and sudo was not found' };

  const privilege = machine.isRoot ? [] : machine.isInteractive ? ['sudo'] : ['sudo', '-n'];
  // `env` works the same with and without sudo, which drops the caller's environment.
  const apt = [...privilege, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q', '-o', 'DPkg::Lock::Timeout=300'];
  return {
    kind: 'apt',
    packages,
    updateFirst: !machine.hasPackageLists,
    update: [...apt, 'update'],
    install: [...apt, 'install', '-y', '--no-install-recommends', ...packages],
  };
}

/**
 * Lines for the reader: what is missing, why it is needed, what happens now.
 * @param {readonly Need[]} missing
 * @param {Plan} plan
 * @returns {string[]}
 */
export function describePlan(missing, plan) {
  if (plan.kind === 'none') return [];
  const width = Math.max(...missing.map((need) => need.what.length));
  const lines = [
    'These are missing:',
    ...missing.map((need) => `  ${need.what.padEnd(width)}  ${need.why}  (${need.packages.join(', ')})`),
  ];
  if (plan.kind === 'apt') return [...lines, `Installing with apt-get: ${plan.packages.join(' ')}`];
  return [
    ...lines,
    `Cannot install them: ${plan.reason}.`,
    'Install them yourself and run the same command again. On Debian and Ubuntu, as root:',
    `  apt-get install --no-install-recommends ${plan.packages.join(' ')}`,
    'Elsewhere the names differ; what counts is the list above.',
  ];
}

/**
 * @param {string} version `process.version`
 * @returns {string | null} what is wrong, in words
 */
export function nodeVersionProblem(version) {
  const major = Number.parseInt(version.replace(/^v/, ''), 10);
  if (major >= MINIMUM_NODE_MAJOR) return null;
  return `Expected Node ${MINIMUM_NODE_MAJOR} or newer, but this is ${version}. Install a newer one (https://nodejs.org).`;
}
