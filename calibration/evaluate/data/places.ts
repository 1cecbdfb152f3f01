/** What has a place in a picture: references of RefCOCO and gRefCOCO; and captions of COCO. */
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { Box } from '#sdk/core/types.js';
import { checkLayout, LAYOUTS, readDocument } from './files.js';
import { type DataItem, type DataSet, type DataSource, dataError } from './items.js';
import { noSuchSplit } from './questions.js';

const id = z.union([z.string(), z.number()]).transform(String);
const sentence = z.object({ sent_id: id, sent: z.string() });
const reference = {
  ref_id: id,
  image_id: id,
  split: z.string(),
  file_name: z.string().optional(),
  sentences: z.array(sentence).min(1),
};
const refs = z.array(z.object({ ...reference, ann_id: id }));
const grefs = z.array(z.object({ ...reference, ann_id: z.array(id), no_target: z.boolean().optional() }));
const instances = z.object({
  images: z.array(z.object({ id, file_name: z.string(), width: z.number().positive(), height: z.number().positive() })),
  annotations: z.array(
    z.object({ id, image_id: id, bbox: z.tuple([z.number(), z.number(), z.number().min(0), z.number().min(0)]) }),
  ),
});

/**
 * RefCOCO, RefCOCO+ and RefCOCOg as lichengunc/refer publishes them: `file` is `refs(unc).p` (a pickle; or the same as
 * JSON), `annotations` is `instances.json`, by default the one beside it. Every sentence is asked for. Boxes become
 * fractions of width and height.
 */
export async function readReferences(source: DataSource): Promise<DataSet<Box>> {
  const { file, split = 'val', signal } = source;
  const all = checkLayout(file, LAYOUTS.refs, refs, await readDocument(file, { signal }));
  const chosen = ofSplit(file, all, split);
  const { annotations = join(dirname(file), 'instances.json') } = source;
  const known = checkLayout(annotations, LAYOUTS.instances, instances, await readDocument(annotations, { signal }));
  const images = new Map(known.images.map((image) => [image.id, image]));
  const boxes = new Map(known.annotations.map((each) => [each.id, each]));
  const items = chosen.flatMap((ref) => {
    const [image, annotation] = [images.get(ref.image_id), boxes.get(ref.ann_id)];
    if (image === undefined || annotation === undefined || annotation.image_id !== ref.image_id)
      throw dataError(file, `${annotations} lacks the picture or the box of reference ${ref.ref_id}`);
    const [x, y, width, height] = annotation.bbox;
    const expected = {
      x1: x / image.width,
      y1: y / image.height,
      x2: (x + width) / image.width,
      y2: (y + height) / image.height,
    };
    return ref.sentences.map(({ sent_id, sent }) => ({
      id: sent_id,
      imageNames: [image.file_name],
      question: sent,
      expected,
    }));
  });
  return { items, leftOut: {} };
}

/**
 * gRefCOCO as henghuiding/gRefCOCO publishes it (`grefs(unc).json`): expressions of one thing, of several, and of none
 * (`no_target`, or `ann_id` [-1]). Expected is whether there is such a thing. Pictures as RefCOCO's.
 */
export async function readPresence({ file, split = 'val', signal }: DataSource): Promise<DataSet<boolean>> {
  const all = checkLayout(file, LAYOUTS.grefs, grefs, await readDocument(file, { signal }));
  const items = ofSplit(file, all, split).flatMap(({ ref_id, image_id, file_name, sentences, ann_id, no_target }) => {
    const isThere = !(no_target ?? ann_id.every((each) => each === '-1'));
    const digits = image_id.padStart(12, '0');
    // The name of a reference has the number of the thing behind that of the picture.
    const named = file_name?.replace(/^(COCO_\w+_\d+)_\d+(\.\w+)$/, '$1$2');
    const imageNames = [...(named === undefined ? [] : [named]), `COCO_train2014_${digits}.jpg`, `${digits}.jpg`];
    return sentences.map(({ sent_id, sent }) => ({
      id: `${ref_id}/${sent_id}`,
      imageNames,
      question: sent,
      expected: isThere,
    }));
  });
  return { items, leftOut: {} };
}

function ofSplit<Ref extends { readonly split: string }>(file: string, all: readonly Ref[], split: string): Ref[] {
  const chosen = all.filter((ref) => ref.split === split);
  if (chosen.length === 0 && all.length > 0) throw noSuchSplit(file, split, [...new Set(all.map((ref) => ref.split))]);
  return chosen;
}

const captions = z.object({
  images: z.array(z.object({ id, file_name: z.string() })),
  annotations: z.array(z.object({ id, image_id: id, caption: z.string() })),
});

/** COCO captions (`captions_val2014.json`, `captions_val2017.json`): all captions of a picture are its references. */
export async function readCaptions({ file, signal }: DataSource): Promise<DataSet<readonly string[]>> {
  const { images, annotations } = checkLayout(file, LAYOUTS.captions, captions, await readDocument(file, { signal }));
  const byImage = new Map<string, string[]>(images.map((image) => [image.id, []]));
  const seen = new Set<string>();
  for (const { id: key, image_id, caption } of annotations) {
    if (seen.has(key)) throw dataError(file, `the id ${JSON.stringify(key)} comes twice`, { id: key });
    seen.add(key);
    const list = byImage.get(image_id);
    if (list === undefined)
      throw dataError(file, `caption ${key} is of picture ${image_id}, which is not among its pictures`);
    list.push(caption);
  }
  const items: DataItem<readonly string[]>[] = [];
  let without = 0;
  for (const { id: key, file_name } of images) {
    const expected = byImage.get(key)!;
    if (expected.length === 0) without++;
    else items.push({ id: key, imageNames: [file_name], question: '', expected });
  }
  return { items, leftOut: without > 0 ? { 'pictures without captions': without } : {} };
}
