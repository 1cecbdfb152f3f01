/** Scores of answers against what is known about a scene. */
import type { Box, GroundedObject } from '#sdk/core/types.js';
import { intersectionOverUnion } from '#sdk/geometry/box.js';
import type { Question, Scene } from './scenes.js';

/** In the order of the table; the keys of the JSON line. */
export const MEASURES = [
  'exists',
  'colour',
  'count',
  'countOf',
  'leftRight',
  'lampOn',
  'signExact',
  'locate@0.5',
  'locateMeanIoU',
  'listF1@0.5',
  'captionF1',
  'absentSaid',
] as const;
export type Measure = (typeof MEASURES)[number];
export type MeasureTable = Record<Measure, number>;

export interface ScoredAnswer {
  readonly text: string;
  readonly objects: readonly GroundedObject[];
}

/** Hits, things said, things that are there. */
interface PairCount {
  hits: number;
  said: number;
  there: number;
}

const f1 = ({ hits, said, there }: PairCount): number => (said + there === 0 ? 1 : (2 * hits) / (said + there));

/** `A red cup.` and `red cup` are the same answer; so are `Yes.` and `yes`. */
function plain(text: string): string {
  return text.trim().toLowerCase().replace(/\.$/, '').replace(/^an? /, '');
}

/** Sums over scenes. */
export class Scores {
  readonly #right = new Map<string, { right: number; asked: number }>();
  readonly #overlaps: number[] = [];
  readonly #list: PairCount = { hits: 0, said: 0, there: 0 };
  readonly #caption: PairCount = { hits: 0, said: 0, there: 0 };
  readonly #confusion = new Map<string, number>();
  readonly #heldOut = { named: 0, there: 0 };

  add(scene: Scene, question: Question, answer: ScoredAnswer): void {
    const said = plain(answer.text);
    switch (question.task) {
      case 'exists':
        this.#mark(question.task, said === (question.answer ? 'yes' : 'no'));
        break;
      case 'lampOn':
        this.#mark(question.task, said === (question.answer ? 'on' : 'off'));
        break;
      case 'colour':
      case 'leftRight':
        this.#mark(question.task, said === (question.answer ?? 'nothing'));
        break;
      case 'count':
      case 'countOf':
        this.#mark(question.task, said === String(question.answer));
        break;
      case 'signExact':
        this.#mark(question.task, answer.text.trim() === question.answer); // to the letter
        break;
      case 'absentSaid':
        this.#mark(question.task, saysAbsent(answer.text));
        break;
      case 'locate': {
        const found = answer.objects[0];
        this.#overlaps.push(found ? intersectionOverUnion(found.box, toBox(question.relativeBox)) : 0);
        break;
      }
      case 'list':
        this.#addList(scene, answer.objects);
        break;
      case 'caption':
        this.#addCaption(scene, answer.text);
        break;
    }
  }

  /** A measure that was never asked is NaN. */
  table(): MeasureTable {
    const share = (task: string) => {
      const counts = this.#right.get(task);
      return counts ? counts.right / counts.asked : Number.NaN;
    };
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    return {
      exists: share('exists'),
      colour: share('colour'),
      count: share('count'),
      countOf: share('countOf'),
      leftRight: share('leftRight'),
      lampOn: share('lampOn'),
      signExact: share('signExact'),
      'locate@0.5': mean(this.#overlaps.map((overlap) => (overlap >= 0.5 ? 1 : 0))),
      locateMeanIoU: mean(this.#overlaps),
      'listF1@0.5': f1(this.#list),
      captionF1: f1(this.#caption),
      absentSaid: share('absentSaid'),
    };
  }

  /** How many questions each measure rests on (objects for the F1 measures). */
  counts(): Record<Measure, number> {
    const asked = (task: string) => this.#right.get(task)?.asked ?? 0;
    const shares = Object.fromEntries(MEASURES.map((measure) => [measure, asked(measure)])) as Record<Measure, number>;
    const located = this.#overlaps.length;
    return {
      ...shares,
      'locate@0.5': located,
      locateMeanIoU: located,
      'listF1@0.5': this.#list.there,
      captionF1: this.#caption.there,
    };
  }

  /** Classes taken for others in captions, the most frequent first. */
  confusion(): { readonly there: string; readonly said: string; readonly times: number }[] {
    return [...this.#confusion]
      .map(([key, times]) => ({ there: key.split(' ')[0]!, said: key.split(' ')[1]!, times }))
      .sort((a, b) => b.times - a.times || a.there.localeCompare(b.there));
  }

  /** Objects of colour and class pairs that training never showed, and how many of them captions named. */
  heldOut(): { readonly named: number; readonly there: number } {
    return { ...this.#heldOut };
  }

  #mark(task: string, right: boolean): void {
    const counts = this.#right.get(task) ?? { right: 0, asked: 0 };
    counts.asked++;
    if (right) counts.right++;
    this.#right.set(task, counts);
  }

  #addList(scene: Scene, objects: readonly GroundedObject[]): void {
    const left = [...scene.objects];
    for (const { label, box } of objects) {
      const match = left.findIndex(
        (each) => each.label === label && intersectionOverUnion(box, toBox(each.box)) >= 0.5,
      );
      if (match === -1) continue;
      left.splice(match, 1);
      this.#list.hits++;
    }
    this.#list.said += objects.length;
    this.#list.there += scene.objects.length;
  }

  #addCaption(scene: Scene, text: string): void {
    const said = new Set(Array.from(text.matchAll(/\ban? (\w+ \w+)/gi), (match) => match[1]!.toLowerCase()));
    const there = new Set(scene.objects.map((object) => `${object.colour} ${object.class}`));
    const missing = [...there].filter((pair) => !said.has(pair));
    const wrong = [...said].filter((pair) => !there.has(pair));
    this.#caption.hits += there.size - missing.length;
    this.#caption.said += said.size;
    this.#caption.there += there.size;
    for (const object of scene.objects.filter(({ heldOut }) => heldOut)) {
      this.#heldOut.there++;
      if (said.has(`${object.colour} ${object.class}`)) this.#heldOut.named++;
    }
    // One pair missing and one wrong pair of the same colour: a class taken for another.
    for (const [colour, thing] of missing.map((pair) => pair.split(' '))) {
      for (const [otherColour, other] of wrong.map((pair) => pair.split(' '))) {
        if (colour !== otherColour) continue;
        const key = `${thing} ${other}`;
        this.#confusion.set(key, (this.#confusion.get(key) ?? 0) + 1);
      }
    }
  }
}

function toBox([x1, y1, x2, y2]: readonly [number, number, number, number]): Box {
  return { x1, y1, x2, y2 };
}

/** `{"label":"cup","box":null}` */
function saysAbsent(text: string): boolean {
  try {
    const value = JSON.parse(text) as { box?: unknown } | null;
    return value !== null && typeof value === 'object' && value.box === null;
  } catch {
    return false;
  }
}
