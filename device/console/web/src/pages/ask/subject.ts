/** What a question is about: what a camera sees when it is asked, or one frame. */
import type { FrameInfo } from '../../../../api/schemas.js';
import { hashQuery, pageAddress } from '../../hash-query.js';

export interface EarlierTurn {
  readonly question: string;
  readonly answer: string;
}

export interface CameraSubject {
  readonly kind: 'camera';
  readonly camera: string;
}

export interface FrameSubject {
  readonly kind: 'frame';
  readonly frame: FrameInfo;
  /** null: a picture from outside. */
  readonly camera: string | null;
  readonly run?: string | undefined;
  /** What was asked and answered about it, oldest first. */
  readonly turns: readonly EarlierTurn[];
}

export type Subject = CameraSubject | FrameSubject;

export function keyOf(subject: Subject): string {
  return subject.kind === 'camera' ? `camera ${subject.camera}` : `frame ${subject.run ?? ''} ${subject.frame.id}`;
}

/** For people. */
export function nameOf(subject: Subject): string {
  if (subject.kind === 'camera') return `${subject.camera} now`;
  const { frame, camera } = subject;
  const at = new Date(frame.capturedAtMs).toLocaleTimeString();
  return camera === null ? `your picture, ${at}` : `${camera} at ${at}`;
}

/** The frame that another page handed over in the address. */
export function handedSubject(): FrameSubject | undefined {
  const query = hashQuery();
  const id = query.get('frame');
  const [width, height, at] = ['width', 'height', 'at'].map((name) => Number(query.get(name)));
  if (id === null || !width || !height || at === undefined || !Number.isFinite(at)) return undefined;
  const frame = { id, width, height, capturedAtMs: at };
  return { kind: 'frame', frame, camera: query.get('camera'), run: query.get('run') ?? undefined, turns: [] };
}

/** Where the page Ask is opened on this frame. */
export function askAddress(
  frame: FrameInfo,
  camera: string | null,
  run: string | undefined,
  question?: string,
): string {
  const { id, width, height, capturedAtMs } = frame;
  return pageAddress('ask', { frame: id, width, height, at: capturedAtMs, camera, run, question });
}
