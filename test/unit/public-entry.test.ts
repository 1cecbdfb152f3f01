import { expect, test } from 'vitest';

/** Types come and go with the signatures; a name that people import is a promise. */
test('offers the names that people use at `scenebus`, and leaves the rest to the other entries', async () => {
  const names = Object.keys(await import('scenebus'));
  expect(names.sort()).toEqual([
    'ChangeGate',
    'ERROR_CODES',
    'LIMITS',
    'SdkError',
    'boxToPixels',
    'cameraFromVideoCapture',
    'checkAnswerSchema',
    'choice',
    'count',
    'createImageProcessor',
    'createModelRouter',
    'createTextGrounder',
    'createTracker',
    'decodeImage',
    'encodeJpeg',
    'formatCameraInfo',
    'frameFromMat',
    'intersectionOverUnion',
    'isSdkError',
    'lensForSize',
    'loadModel',
    'locateObjects',
    'number',
    'openCamera',
    'openCheckpoint',
    'openDetector',
    'parseCameraInfo',
    'rankImages',
    'rankTexts',
    'silentLogger',
    'version',
    'yesNo',
  ]);
});
