/** Calibrating the lens of a camera: one at a time, over its live picture. */
import { formatCameraInfo } from 'scenebus';
import type { DisposalStack } from 'scenebus/service';
import { drawBoard, parseBoard } from '#calibration/camera/index.js';
import { HttpError } from '../../http/http-error.js';
import { boardQuery, lensProgressSchema, lensResultSchema, lensStartSchema } from '../api/calibration-schemas.js';
import { type Route, route } from '../api/route.js';
import { cameraParams } from '../api/schemas.js';
import { LensCalibration } from '../calibration/lens-calibration.js';
import { requireFeed } from './asked-frames.js';
import type { ConsoleServices } from './services.js';

const PATH = '/api/cameras/:camera/calibration';

export function calibrationRoutes(services: ConsoleServices, resources: DisposalStack): Route[] {
  const { device, state, signal } = services;
  let current: LensCalibration | undefined;
  resources.defer(async () => await current?.[Symbol.asyncDispose]());
  const requireCurrent = (camera: string): LensCalibration => {
    if (current?.camera === camera) return current;
    throw new HttpError(404, 'CALIBRATION_UNKNOWN', `Camera ${camera} is not being calibrated; start with PUT.`);
  };
  return [
    route({
      method: 'GET',
      path: '/api/calibration-board',
      role: 'admin',
      summary: 'A board to print, at its size: PNG',
      query: boardQuery,
      maxPerMinute: 30,
      response: { type: 'bytes', mediaType: 'image/png' },
      handle: async ({ query: { board, squareMillimetres } }) =>
        await drawBoard(parseBoard(board, { squareMillimetres })),
    }),
    route({
      method: 'PUT',
      path: PATH,
      role: 'admin',
      summary: 'Begin to look for a calibration board in what a camera sees; ends what was begun before',
      params: cameraParams,
      body: lensStartSchema,
      maxPerMinute: 30,
      response: { type: 'json', schema: lensProgressSchema },
      handle: async ({ params, body: { board, squareMillimetres, lens } }) => {
        const { id } = requireFeed(services, params.camera);
        const parsed = parseBoard(board, { squareMillimetres });
        const before = current;
        current = new LensCalibration({
          camera: id,
          board: parsed,
          lens,
          feed: () => (state.isPrivate(id) ? undefined : device.feeds().find((feed) => feed.id === id)),
          signal,
        });
        const begun = current.progress();
        await before?.[Symbol.asyncDispose]();
        return begun;
      },
    }),
    route({
      method: 'GET',
      path: PATH,
      role: 'admin',
      summary: 'How far the calibration is: coverage of the picture, and what to do next',
      params: cameraParams,
      maxPerMinute: 600,
      response: { type: 'json', schema: lensProgressSchema },
      handle: async ({ params }) => requireCurrent(params.camera).progress(),
    }),
    route({
      method: 'POST',
      path: `${PATH}/result`,
      role: 'admin',
      summary: "The lens from what was seen so far, with ROS's camera_info",
      params: cameraParams,
      maxPerMinute: 30,
      response: { type: 'json', schema: lensResultSchema },
      handle: async ({ params }) => {
        const { lens, rmsPixels, views, leftOut, warnings } = await requireCurrent(params.camera).session.solve();
        const { width, height, fx, fy, accuracy, distortionModel } = lens;
        return {
          ...{ width, height, fx, fy, fxSigma: accuracy?.fx ?? null, distortionModel, rmsPixels },
          views: views.length,
          leftOut: leftOut.length,
          warnings: [...warnings],
          cameraInfo: formatCameraInfo(lens, params.camera),
        };
      },
    }),
    route({
      method: 'DELETE',
      path: PATH,
      role: 'admin',
      summary: 'End the calibration; the device forgets what it has seen',
      params: cameraParams,
      response: { type: 'empty' },
      handle: async ({ params }) => {
        const ended = requireCurrent(params.camera);
        current = undefined;
        await ended[Symbol.asyncDispose]();
        return undefined;
      },
    }),
  ];
}
