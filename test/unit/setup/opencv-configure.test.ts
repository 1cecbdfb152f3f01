/** What the native build finds of OpenCV, and what it says when that is not enough: package files of several versions. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { packageRoot } from '#sdk/native/index.js';

const folder = mkdtempSync(path.join(tmpdir(), 'scenebus-opencv-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const hasCmake = spawnSync('cmake', ['--version']).status === 0;

/** As OpenCV installs it: components by name, and a version file that knows its own major number only. */
function installOpenCv(version: string, modules: readonly string[], headers: readonly string[] = []): string {
  const place = path.join(folder, `${version}-${modules.join('-')}-${headers.length}`);
  const include = path.join(place, 'include');
  for (const header of headers) {
    const file = path.join(include, 'opencv2', header);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, '');
  }
  mkdirSync(include, { recursive: true });
  const found = modules.map((name) => `set(OpenCV_${name}_FOUND TRUE)`);
  const missing = `foreach(wanted IN LISTS OpenCV_FIND_COMPONENTS)
  if(OpenCV_FIND_REQUIRED_\${wanted} AND NOT OpenCV_\${wanted}_FOUND)
    set(OpenCV_FOUND FALSE)
  endif()
endforeach()`;
  const lines = [`set(OpenCV_VERSION ${version})`, `set(OpenCV_INCLUDE_DIRS "${include}")`, ...found, missing];
  const libraries = modules.map((name) => `opencv_${name}`).join(' ');
  writeFileSync(path.join(place, 'OpenCVConfig.cmake'), [...lines, `set(OpenCV_LIBS ${libraries})`, ''].join('\n'));
  writeFileSync(
    path.join(place, 'OpenCVConfig-version.cmake'),
    `set(PACKAGE_VERSION ${version})
set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(PACKAGE_FIND_VERSION_MAJOR EQUAL ${version.split('.')[0]} AND PACKAGE_FIND_VERSION VERSION_LESS PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
`,
  );
  return place;
}

function configure(finder: 'FindOpenCVCapture' | 'FindOpenCVLens', openCv: string, standard = 17): string {
  const script = path.join(folder, `${finder}.cmake`);
  const results = ['OpenCV_FOUND', 'OpenCVCapture_PROBLEM', 'OpenCV_LIBS']
    .concat(['OpenCVLens_FOUND', 'OpenCVLens_LIBS', 'OpenCVLens_ARUCO'])
    .map((name) => `message("${name}=\${${name}}")`);
  const file = path.join(packageRoot(), 'native', 'cmake', `${finder}.cmake`);
  writeFileSync(script, [`include("${file}")`, ...results, ''].join('\n'));
  // Nothing of this machine's own.
  const alone = ['CMAKE_SYSTEM_PATH', 'SYSTEM_ENVIRONMENT_PATH', 'CMAKE_ENVIRONMENT_PATH'];
  const options = alone.map((name) => `-DCMAKE_FIND_USE_${name}=OFF`);
  const where = [`-DOpenCV_DIR=${openCv}`, `-DCMAKE_CXX_STANDARD=${standard}`];
  const { stderr, status } = spawnSync('cmake', [...options, ...where, '-P', script], { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  return stderr;
}

const CAPTURE = ['core', 'imgproc', 'imgcodecs', 'videoio'];

describe.runIf(hasCmake)('the capture addon', () => {
  test.each(['4.5.4', '4.8.0', '5.0.0'])('takes OpenCV %s', (version) => {
    const said = configure('FindOpenCVCapture', installOpenCv(version, CAPTURE));
    expect(said).toMatch(/OpenCV_FOUND=(1|TRUE)/);
    expect(said).toContain('OpenCVCapture_PROBLEM=\n');
    expect(said).toContain('opencv_videoio');
  });

  test('names the module that an OpenCV was built without', () => {
    const place = installOpenCv('5.0.0', ['core', 'imgproc']);
    const said = configure('FindOpenCVCapture', place);
    expect(said).toContain('OpenCV_FOUND=FALSE');
    expect(said).toContain(`OpenCVCapture_PROBLEM=OpenCV 5.0.0 in ${place} lacks videoio: build it with`);
  });

  test('refuses an OpenCV before 4.5, and 5 in an older C++', () => {
    expect(configure('FindOpenCVCapture', installOpenCv('4.2.0', CAPTURE))).toContain(
      'OpenCVCapture_PROBLEM=OpenCV 4.2.0 is too old, 4.5 or newer is needed',
    );
    expect(configure('FindOpenCVCapture', installOpenCv('5.0.0', CAPTURE), 14)).toContain(
      'OpenCVCapture_PROBLEM=OpenCV 5.0.0 needs C++17, but CMAKE_CXX_STANDARD is 14',
    );
  });
});

describe.runIf(hasCmake)('the lens addon', () => {
  test('finds calibration where OpenCV 4 has it, and where 5 does', () => {
    const four = installOpenCv('4.8.0', ['core', 'imgproc', 'calib3d', 'objdetect'], ['objdetect/aruco_detector.hpp']);
    const five = installOpenCv(
      '5.0.0',
      ['core', 'imgproc', '3d', 'calib', 'objdetect'],
      ['objdetect/aruco_detector.hpp'],
    );
    expect(configure('FindOpenCVLens', four)).toContain(
      'OpenCVLens_LIBS=opencv_core;opencv_imgproc;opencv_calib3d;opencv_objdetect\nOpenCVLens_ARUCO=TRUE',
    );
    expect(configure('FindOpenCVLens', five)).toContain(
      'OpenCVLens_LIBS=opencv_core;opencv_imgproc;opencv_3d;opencv_calib;opencv_objdetect\nOpenCVLens_ARUCO=TRUE',
    );
    expect(configure('FindOpenCVLens', installOpenCv('5.0.0', ['core', 'imgproc']))).toContain(
      'OpenCVLens_FOUND=FALSE',
    );
  });
});
