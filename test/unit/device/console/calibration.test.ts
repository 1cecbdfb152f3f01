/** The calibration of a camera over the console's API; with pictures of boards it is tested in a browser. */
import { expect, test } from 'vitest';
import { startConsole } from '../../../support/console.js';

const PATH = '/api/cameras/cam/calibration';
const put = (body: object) => ({
  method: 'PUT',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

test('looks for the board until it is told to stop, says what it sees, and makes no lens of nothing', async () => {
  await using served = await startConsole();
  expect((await served.json('admin', PATH)).status).toBe(404);
  expect(await served.json('admin', PATH, put({ board: 'charuco:7x5', lens: 'fisheye' }))).toMatchObject({
    status: 200,
    body: { isLooking: true, views: 0, guidance: 'Hold the board before the camera.' },
  });
  await expect.poll(async () => (await served.json('admin', PATH)).body).toMatchObject({ refused: { 'no-board': 1 } });
  expect(await served.json('admin', `${PATH}/result`, { method: 'POST' })).toMatchObject({
    status: 422,
    body: { error: { code: 'ERR_CALIBRATION_FAILED', message: expect.stringContaining('at least 5') } },
  });
  await served.context.hub.emit('setting', { setting: 'privacy', value: true }, { camera: 'cam' });
  await expect
    .poll(async () => (await served.json('admin', PATH)).body)
    .toMatchObject({ guidance: 'The camera shows nothing: its privacy is on, or it is gone.' });
  expect((await served.fetch('admin', PATH, { method: 'DELETE' })).status).toBe(204);
  expect((await served.json('admin', PATH)).status).toBe(404);
});

test('refuses boards that are none, and draws one to print', async () => {
  await using served = await startConsole();
  for (const board of ['charuco:1x1', 'charuco:99x99', 'line:3x3'])
    expect((await served.json('admin', PATH, put({ board }))).status, board).toBe(400);
  const drawn = await served.fetch('admin', '/api/calibration-board?board=chessboard:9x6&squareMillimetres=25');
  expect(drawn.headers.get('content-type')).toBe('image/png');
  expect(
    Buffer.from(await drawn.arrayBuffer())
      .subarray(1, 4)
      .toString(),
  ).toBe('PNG');
});
