/** Finds the heads of a model that look at what a prompt asks for, and keeps them in its folder. */
import { join } from 'node:path';
import { openCheckpoint } from '#sdk/checkpoint/index.js';
import { SdkError } from '#sdk/core/errors.js';
import type { OnProgress } from '#sdk/core/logger.js';
import type { CallOptions } from '#sdk/core/types.js';
import type { HeadId } from '#sdk/engine/engine.js';
import { type Attended, type AttentionCalibration, locateQuestion } from '#sdk/grounding/attention/index.js';
import type { Attend, Grounder } from '#sdk/grounding/index.js';
import { decodeImage } from '#sdk/image/index.js';
import { type LoadModelOptions, loadModel } from '#sdk/model/load-model.js';
import { readKnownScenes } from '../scores/known-scenes.js';
import { changeManifest } from '../scores/manifest-file.js';
import { drawScenes, type NamedPicture } from './drawn-scenes.js';
import { fitReading, type GroundingRates, type Look, ratesOf } from './fit.js';
import { type ContrastPair, chooseHeads, type HeadScore, onlyHeads, scoreHeads } from './head-scores.js';

export type { GroundingRates } from './fit.js';
export type { HeadScore } from './head-scores.js';

export interface CalibrateGroundingOptions extends CallOptions {
  /** Model folder; its `scenebus.json` gets the heads. */
  readonly directory: string;
  /** Folder with `scenes.jsonl` and the pictures, as of `calibrateScores`. Default: simple things that are drawn. */
  readonly data?: string | undefined;
  /** At most so many pictures. Default 64. */
  readonly pictures?: number | undefined;
  /** At most so many heads. Default 4. */
  readonly heads?: number | undefined;
  /** Heads that are not to be taken. */
  readonly exclude?: readonly HeadId[] | undefined;
  /** false: nothing is written into the model folder. Default true. */
  readonly keep?: boolean | undefined;
  readonly model?: Pick<LoadModelOptions, 'backend' | 'threads' | 'cacheDirectory' | 'numerics'> | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface GroundingCalibration {
  readonly attention: AttentionCalibration;
  /** Of all heads, the best first. */
  readonly heads: readonly HeadScore[];
  /** Of every second picture, which neither heads nor reading were fitted to. */
  readonly rates: GroundingRates;
}

const PICTURES = 64;
const LEAST_PICTURES = 8;
const HEADS = 4;
const MOST_HEADS = 16;
/** Of each picture. */
const MOST_PRESENT = 2;
const MOST_ABSENT = 2;
const SEED = 1;

/**
 * Heads are chosen by how they look alone: at patches, at one place, and at another place for another name in the same
 * picture. Places that are known only set where boxes end and judge the result; names that are not in a picture set when
 * a thing counts as absent.
 *
 * @throws SdkError ERR_CONFIG_INVALID for too few pictures with two names, ERR_MODEL_UNSUPPORTED when no head tells
 * names apart, ERR_ENGINE_INCOMPATIBLE for a backend without attention; as `loadModel`
 */
export async function calibrateGrounding(options: CalibrateGroundingOptions): Promise<GroundingCalibration> {
  const { directory, data, keep = true, exclude = [], model: modelOptions = {}, onProgress, signal } = options;
  const { manifest, model: shape } = await openCheckpoint(directory, { signal });
  const { crossAttentionLayers, attentionHeads } = shape.architecture.text;
  const all = crossAttentionLayers
    .flatMap((layer) => Array.from({ length: attentionHeads }, (_, head): HeadId => ({ layer, head })))
    .filter(({ layer, head }) => !exclude.some((each) => each.layer === layer && each.head === head));
  if (all.length === 0) throw invalid('Expected heads to choose from, but all of the model are excluded.');
  const most = options.heads ?? HEADS;
  if (most < 1 || most > MOST_HEADS) throw invalid(`Expected 1 to ${MOST_HEADS} heads but received ${most}.`);
  const count = options.pictures ?? PICTURES;
  const pictures = data === undefined ? drawn(count) : await known(data, count);
  if (pictures.length < LEAST_PICTURES) {
    throw invalid(
      `Expected at least ${LEAST_PICTURES} pictures with two things of different names, but received ${pictures.length}.`,
    );
  }
  const probe = new Probe();
  await using model = await loadModel(directory, { ...modelOptions, grounder: probe, attentionTaps: true, signal });
  const pairs: ContrastPair[] = [];
  const looks: Look[][] = [];
  for (const [i, picture] of pictures.entries()) {
    const { image, objects, absent } = await picture(signal);
    const names = [...new Set(objects.map(({ label }) => label))].slice(0, MOST_PRESENT);
    const asked = [...names, ...absent.slice(0, MOST_ABSENT)];
    const questions = asked.map((label) => locateQuestion(manifest.prompts.locate, label));
    const attended = await probe.look(questions, all, (question) =>
      model.ask(image, question, { maxNewTokens: 1, signal }),
    );
    // Every second one judges.
    if (i % 2 === 0)
      pairs.push({ target: attended[0]!, contrast: attended[1]! }, { target: attended[1]!, contrast: attended[0]! });
    looks.push(
      asked.map((label, k) => ({
        label,
        attended: attended[k]!,
        boxes: objects.filter((each) => each.label === label).map(({ box }) => box),
      })),
    );
    onProgress?.({ phase: 'pictures', done: i + 1, total: pictures.length, unit: 'steps' });
  }
  const scores = scoreHeads(all, pairs);
  const chosen = chooseHeads(scores, most);
  if (!(chosen[0] !== undefined && chosen[0].score > 0)) {
    const message = `Expected heads of ${directory} that look at different places for different names, but there are none.`;
    throw new SdkError('ERR_MODEL_UNSUPPORTED', message);
  }
  const wanted = chosen.map((head) => all.findIndex((each) => each.layer === head.layer && each.head === head.head));
  const ofChosen = looks.map((of) => of.map((look) => ({ ...look, attended: onlyHeads(look.attended, wanted) })));
  const reading = fitReading(ofChosen.filter((_, i) => i % 2 === 0).flat());
  const attention = { heads: chosen.map(({ layer, head }) => ({ layer, head })), ...reading };
  const judging = ofChosen.filter((_, i) => i % 2 === 1).flat();
  if (keep) await changeManifest(directory, 'scenebus.json', () => ({ attention }));
  return { attention, heads: scores, rates: ratesOf(judging, attention) };
}

/** Takes part in answers as a grounder, in order to look with any heads; finds nothing. */
class Probe implements Grounder {
  readonly source = 'attention';
  #work: ((attend: Attend | undefined) => Promise<void>) | undefined;
  #request: Parameters<Grounder['ground']>[0] | undefined;

  async look(
    questions: readonly string[],
    heads: readonly HeadId[],
    ask: (question: string) => Promise<unknown>,
  ): Promise<Attended[]> {
    const found: Attended[] = [];
    this.#work = async (attend) => {
      if (attend === undefined) {
        const message = 'Expected a backend that hands out attention. Choose --backend cpu, onnx or tensorrt.';
        throw new SdkError('ERR_ENGINE_INCOMPATIBLE', message);
      }
      for (const question of questions) found.push(await attend(this.#request!.image, question, heads));
    };
    await ask(questions[0]!);
    return found;
  }

  async ground(request: Parameters<Grounder['ground']>[0]): Promise<[]> {
    this.#request = request;
    await this.#work?.(request.attend);
    return [];
  }
}

type Picture = (signal: AbortSignal | undefined) => Promise<NamedPicture>;

function drawn(count: number): Picture[] {
  return drawScenes(count, SEED).map((scene) => async () => scene);
}

async function known(folder: string, count: number): Promise<Picture[]> {
  const scenes = await readKnownScenes(folder);
  const labels = [...new Set(scenes.flatMap(({ objects }) => objects.map(({ label }) => label)))].sort();
  const usable = scenes.filter(({ objects }) => new Set(objects.map(({ label }) => label)).size > 1).slice(0, count);
  return usable.map(({ image, objects }, turn) => async (signal) => {
    const others = labels.filter((label) => objects.every((each) => each.label !== label));
    return {
      image: await decodeImage(join(folder, image), { signal }),
      objects: objects.map(({ label, box: [x1, y1, x2, y2] }) => ({ label, box: { x1, y1, x2, y2 } })),
      // Other ones for every picture, without chance.
      absent: Array.from(
        { length: Math.min(MOST_ABSENT, others.length) },
        (_, k) => others[(turn * 7 + k) % others.length]!,
      ),
    };
  });
}

function invalid(message: string): SdkError {
  return new SdkError('ERR_CONFIG_INVALID', message);
}
