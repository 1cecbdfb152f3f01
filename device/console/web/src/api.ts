/** The device's HTTP API, as the page uses it. */
import type { AskEvent, AskInput } from '../../api/ask-schemas.js';
import type { DeviceState, Picture, SessionInfo, TimelineEvent } from '../../api/schemas.js';
import type { TrialEvent, TrialFailure, TrialRequest } from '../../api/watch-schemas.js';

export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let csrf = '';
let onSignedOut = () => {};

/** Called when the device no longer knows this browser. */
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (csrf !== '') headers.set('x-scenebus-csrf', csrf);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers, credentials: 'same-origin' });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(
      0,
      'UNREACHABLE',
      'The device cannot be reached. It may be restarting; this page reconnects automatically.',
    );
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => undefined)) as
    | { error?: { code: string; message: string } }
    | undefined;
  if (response.status === 401 && path !== '/api/session') onSignedOut();
  const { code = 'FAILED', message = `The device answered ${response.status}.` } = body?.error ?? {};
  throw new ApiError(response.status, code, message);
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await call(path, signal === undefined ? {} : { signal })).json()) as T;
}

export async function send<T>(method: 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<T> {
  const init = body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await call(path, { method, ...init });
  return (response.status === 204 ? undefined : await response.json()) as T;
}

/** The newest of a camera. */
export async function picture(camera: string, signal: AbortSignal): Promise<Blob> {
  return await (await call(`/api/cameras/${encodeURIComponent(camera)}/snapshot`, { signal })).blob();
}

export async function session(): Promise<SessionInfo> {
  return keep(await get<SessionInfo>('/api/session'));
}

export async function signIn(body: { token: string } | { role: string; password: string }): Promise<SessionInfo> {
  return keep(await send<SessionInfo>('POST', '/api/session', body));
}

function keep(info: SessionInfo): SessionInfo {
  csrf = info.csrf ?? '';
  return info;
}

export async function sendPicture(file: Blob): Promise<Picture> {
  const response = await call('/api/pictures', { method: 'POST', headers: { 'content-type': file.type }, body: file });
  return (await response.json()) as Picture;
}

export interface FrameAddress {
  readonly id: string;
  readonly run?: string | undefined;
}

/** Where the model looks for a thing: a PNG for over the picture; how sure it is that it is there, if it can tell. */
export async function heatMap(
  label: string,
  frame: FrameAddress,
  camera: string | null | undefined,
): Promise<{ readonly png: Blob; readonly presence: number | undefined }> {
  const { id, run } = frame;
  const body = { label, frame: { id, ...(run === undefined ? {} : { run }) }, ...(camera ? { camera } : {}) };
  const response = await call('/api/heat-maps', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const presence = response.headers.get('x-scenebus-presence');
  return { png: await response.blob(), presence: presence === null ? undefined : Number(presence) };
}

/** What the device sends while it works; leaving the loop ends the work. */
async function* work<Event>(path: string, body: object, signal: AbortSignal): AsyncGenerator<Event> {
  const response = await call(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  try {
    let text = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const data = /^data: (.*)$/m.exec(block)?.[1];
        if (data !== undefined) yield JSON.parse(data) as Event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** The answer in pieces. */
export function ask(input: AskInput, signal: AbortSignal): AsyncGenerator<AskEvent> {
  return work('/api/ask', input, signal);
}

/** What a watch would find, picture by picture. */
export function tryWatch(input: TrialRequest, signal: AbortSignal): AsyncGenerator<TrialEvent | TrialFailure> {
  return work('/api/watch-trials', input, signal);
}

export interface Follower {
  readonly onState: (state: DeviceState) => void;
  readonly onEvent: (event: TimelineEvent) => void;
  readonly onReach: (isReached: boolean) => void;
}

/** What happens, as it happens; comes back by itself. Returns what ends it. */
export function follow({ onState, onEvent, onReach }: Follower): () => void {
  const source = new EventSource('/api/events');
  source.addEventListener('open', () => onReach(true));
  source.addEventListener('error', () => {
    onReach(false);
    // A refusal ends an EventSource for good: find out whether it was one.
    if (source.readyState === EventSource.CLOSED) void get('/api/state').catch(() => {});
  });
  source.addEventListener('state', ({ data }: MessageEvent<string>) => onState(JSON.parse(data) as DeviceState));
  source.addEventListener('event', ({ data }: MessageEvent<string>) => onEvent(JSON.parse(data) as TimelineEvent));
  return () => source.close();
}

export function frameAddress(
  id: string,
  about: { run?: string | undefined; camera?: string | null | undefined; isThumbnail?: boolean | undefined } = {},
): string {
  const query = new URLSearchParams();
  if (about.run !== undefined) query.set('run', about.run);
  if (about.camera) query.set('camera', about.camera);
  if (about.isThumbnail) query.set('size', 'thumbnail');
  return `/api/frames/${encodeURIComponent(id)}?${query}`;
}
