/** Scenes of the demo model's world as data sets in public layouts, so that it is measured as any other model is. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeImage } from '#sdk/image/index.js';
import type { DataSource } from './data/items.js';
import type { Question, Scene } from './scenes.js';
import type { TaskName } from './task-names.js';

export interface DemoDataSet {
  readonly task: TaskName;
  readonly data: DataSource;
  /** The demo model was taught questions, and nothing of how answers are wanted. Default: the task's own. */
  readonly prompt?: string | undefined;
}

interface Asked {
  readonly scene: Scene;
  readonly question: Question;
  /** From 1. */
  readonly imageId: number;
  readonly id: number;
}

const WRITTEN: ReadonlySet<Question['task']> = new Set(['colour', 'count', 'countOf', 'leftRight', 'lampOn']);

/** Writes the annotation files beside the pictures. */
export async function writeDemoDataSets(scenes: readonly Scene[], folder: string): Promise<DemoDataSet[]> {
  const asked = scenes.flatMap((scene, i) =>
    scene.questions.map((question, q) => ({ scene, question, imageId: i + 1, id: (i + 1) * 1000 + q })),
  );
  const of = (...tasks: Question['task'][]) => asked.filter(({ question }) => tasks.includes(question.task));
  const write = async (name: string, value: unknown): Promise<string> => {
    const file = join(folder, name);
    await writeFile(file, typeof value === 'string' ? value : JSON.stringify(value));
    return file;
  };
  const prompt = '{question}';
  const images = folder;
  return [
    {
      ...{ task: 'vqa', prompt },
      data: {
        file: await write('vqa.json', textVqa(asked.filter(({ question }) => WRITTEN.has(question.task)))),
        images,
      },
    },
    { task: 'docvqa', prompt, data: { file: await write('docvqa.json', docVqa(of('signExact'))), images } },
    { task: 'pope', prompt, data: { file: await write('pope.json', pope(of('exists'))), images } },
    {
      task: 'refcoco',
      data: {
        file: await write('refs.json', references(of('locate'))),
        annotations: await write('instances.json', await instances(of('locate'), scenes, folder)),
        images,
      },
    },
    { task: 'absent', data: { file: await write('grefs.json', presence(of('locate', 'absentSaid'))), images } },
    { task: 'caption', data: { file: await write('captions.json', captions(of('caption'), scenes)), images } },
  ];
}

const textVqa = (asked: readonly Asked[]) => ({
  data: asked.map(({ id, scene, question }) => ({
    question_id: id,
    image_id: scene.image.replace(/\.\w+$/, ''),
    question: question.question,
    answers: new Array<string>(10).fill(question.reference),
  })),
});

const docVqa = (asked: readonly Asked[]) => ({
  data: asked.map(({ id, scene, question }) => ({
    ...{ questionId: id, question: question.question, image: scene.image, answers: [question.reference] },
  })),
});

const pope = (asked: readonly Asked[]): string =>
  asked
    .map(({ id, scene, question: { question, reference } }) => {
      const label = /^yes/i.test(reference) ? 'yes' : 'no';
      return JSON.stringify({ question_id: id, image: scene.image, text: question, label });
    })
    .join('\n');

const labelOf = (question: Question): string => ('label' in question ? question.label : '');

function references(asked: readonly Asked[]) {
  return asked.map(({ id, imageId, question }) => ({
    ...{ ref_id: id, ann_id: id, image_id: imageId, split: 'val' },
    sentences: [{ sent_id: id, sent: labelOf(question) }],
  }));
}

async function instances(asked: readonly Asked[], scenes: readonly Scene[], folder: string) {
  const sizes = await Promise.all(scenes.map(({ image }) => decodeImage(join(folder, image))));
  return {
    images: scenes.map(({ image }, i) => ({
      ...{ id: i + 1, file_name: image, width: sizes[i]!.width, height: sizes[i]!.height },
    })),
    annotations: asked.flatMap(({ id, imageId, question }) => {
      if (question.task !== 'locate') return [];
      const { width, height } = sizes[imageId - 1]!;
      const [x1, y1, x2, y2] = question.relativeBox;
      const bbox = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height];
      return [{ id, image_id: imageId, bbox }];
    }),
  };
}

function presence(asked: readonly Asked[]) {
  return asked.map(({ id, imageId, scene, question }) => ({
    ...{ ref_id: id, image_id: imageId, split: 'val', file_name: scene.image },
    ...{ ann_id: [question.task === 'locate' ? id : -1], no_target: question.task !== 'locate' },
    sentences: [{ sent_id: id, sent: labelOf(question) }],
  }));
}

function captions(asked: readonly Asked[], scenes: readonly Scene[]) {
  return {
    images: scenes.map(({ image }, i) => ({ id: i + 1, file_name: image })),
    annotations: asked.map(({ id, imageId, question }) => ({ id, image_id: imageId, caption: question.reference })),
  };
}
