/**
 * Pictures of what is looked for, in two stages: words of the descriptions choose candidates, the model's own likelihood of
 * the text about each picture puts them in order. Without pictures or a model the first stage stands alone, and says so.
 */
import {
  type CallOptions,
  decodeImage,
  isSdkError,
  type LikelihoodOptions,
  type MatchingModel,
  rankImages,
  SdkError,
} from 'scenebus';
import type { FrameReference } from '../events/events.js';
import type { Journal } from './journal.js';
import type { FoundScene, SceneSearch } from './query.js';

export interface FindRequest extends Omit<SceneSearch, 'limit'> {
  /** Frames wanted. Default 5. */
  readonly limit?: number | undefined;
  /** Pictures that the model looks at. Default 32: each costs the encoding of a picture. */
  readonly candidates?: number | undefined;
}

export interface FoundFrame {
  readonly camera: string | null;
  readonly frame: FrameReference;
  readonly run: string;
  /** What was said of it. */
  readonly description: string;
  /** Natural logarithm for each token (see `rankImages`), or of words BM25; comparable within one search. */
  readonly score: number;
  /** Path of a small JPEG in the device's console; null: the picture is not kept. */
  readonly thumbnail: string | null;
}

export interface Found {
  readonly frames: readonly FoundFrame[];
  /** `likelihood`: by the model, looking at the pictures. `words`: by the descriptions alone. */
  readonly rankedBy: 'likelihood' | 'words';
  /** Pictures that the model looked at. */
  readonly looked: number;
  /** What a person should know of it. */
  readonly notices: readonly string[];
}

export interface FindOptions extends CallOptions, Pick<LikelihoodOptions, 'priority' | 'caller' | 'deadlineMs'> {
  /** undefined: words alone; `notices` says why. */
  readonly model: MatchingModel | undefined;
  /** Of cameras that nobody may look through now nothing is found. */
  readonly isHidden?: ((camera: string) => boolean) | undefined;
}

export type FrameFinder = Pick<Journal, 'findScenes' | 'frame'>;

export const FIND_LIMITS = { frames: 50, candidates: 256 };
const DEFAULTS = { limit: 5, candidates: 32 };
const NOT_KEPT = 'Set journal.frames: true to keep them.';

/**
 * @throws SdkError ERR_ARGUMENT_INVALID for what is no search; ERR_JOURNAL_UNAVAILABLE; what `likelihood` throws
 */
export async function findFrames(journal: FrameFinder, request: FindRequest, options: FindOptions): Promise<Found> {
  const { limit = DEFAULTS.limit, candidates = DEFAULTS.candidates, ...search } = request;
  if (!/[\p{L}\p{N}]/u.test(request.text))
    throw new SdkError('ERR_ARGUMENT_INVALID', 'Expected words to look for but received none.');
  requireRange('limit', limit, FIND_LIMITS.frames);
  requireRange('candidates', candidates, FIND_LIMITS.candidates);
  const found = await journal.findScenes({ ...search, limit: Math.max(candidates, limit) });
  const visible = found.filter(({ event }) => event.camera === null || options.isHidden?.(event.camera) !== true);
  const scenes = onceEach(visible);
  const byWords = scenes.filter(({ wordScore }) => wordScore !== null);
  const kept = scenes.filter(({ isKept }) => isKept).slice(0, candidates);
  const alone = (why: string): Found => {
    const frames = byWords.slice(0, limit).map((scene) => frameOf(scene, scene.wordScore!));
    return {
      frames,
      rankedBy: 'words',
      looked: 0,
      notices: [`${why} The order is by the words of descriptions alone.`],
    };
  };
  const { model, priority, caller, deadlineMs, signal } = options;
  if (kept.length === 0) return alone(`No picture of what was found is kept. ${NOT_KEPT}`);
  if (model === undefined) return alone('There is no model.');
  const unreadable: string[] = [];
  let ranked: Awaited<ReturnType<typeof rankImages<FoundScene>>>;
  try {
    const open = ({ event }: FoundScene) => pictureOf(journal, event.frame!.id, event.run, unreadable);
    ranked = await rankImages(model, request.text, kept, open, { priority, caller, deadlineMs, signal });
  } catch (error) {
    // A remote model tells no likelihoods.
    if (!isSdkError(error, 'ERR_REQUEST_UNSUPPORTED')) throw error;
    return alone(error.message);
  }
  const frames = ranked.slice(0, limit).map(({ source, score }) => frameOf(source, score));
  const notices: string[] = [];
  const lost = byWords.filter(({ isKept }) => !isKept).length;
  if (lost > 0)
    notices.push(`${lost} descriptions with such words have no picture any more and are left out. ${NOT_KEPT}`);
  if (unreadable.length > 0)
    notices.push(
      `${unreadable.length} pictures could not be read and are left out: ${unreadable.slice(0, 3).join(', ')}.`,
    );
  return { frames, rankedBy: 'likelihood', looked: ranked.length, notices };
}

/** One that retention removed meanwhile, or whose bytes are damaged, is no reason to find nothing. */
async function pictureOf(journal: FrameFinder, id: string, run: string, unreadable: string[]) {
  const picture = await journal.frame(id, { run });
  try {
    if (picture !== undefined) return await decodeImage(picture.jpeg);
  } catch {
    // Said in a notice.
  }
  unreadable.push(id);
  return undefined;
}

/** Several descriptions of one frame are one find: the first, which fits best. */
function onceEach(scenes: readonly FoundScene[]): FoundScene[] {
  const seen = new Set<string>();
  return scenes.filter(({ event }) => {
    const key = `${event.run} ${event.frame?.id}`;
    if (event.frame === null || seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

function frameOf({ event, isKept }: FoundScene, score: number): FoundFrame {
  const { camera, run, body } = event;
  const frame = event.frame!;
  const { answer } = body as { readonly answer?: { readonly text?: string } };
  const about = new URLSearchParams({ run, ...(camera === null ? {} : { camera }), size: 'thumbnail' });
  const thumbnail = isKept ? `/api/frames/${encodeURIComponent(frame.id)}?${about}` : null;
  return { camera, frame, run, description: answer?.text ?? '', score, thumbnail };
}

function requireRange(name: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= most) return;
  throw new SdkError('ERR_ARGUMENT_INVALID', `Expected 1 to ${most} for ${name} but received ${value}.`);
}
